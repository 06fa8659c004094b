"""The `qgjob` command."""
