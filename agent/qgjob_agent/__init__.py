"""The agent: the daemon on a device host."""

__version__ = "0.1.0"
