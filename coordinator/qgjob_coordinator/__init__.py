"""The coordinator: the control plane of qgjob."""
