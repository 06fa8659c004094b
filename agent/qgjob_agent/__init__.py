"""The agent: the daemon on a device host."""
