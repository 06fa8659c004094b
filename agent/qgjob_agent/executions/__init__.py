"""Executions: the supervisor that owns a process tree, the folder between it and the daemon, and the end."""
