"""Runners carry out attempts: `simulated` in the daemon, `command` in processes of their own."""
