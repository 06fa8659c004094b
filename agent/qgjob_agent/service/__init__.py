"""The agent as a service of its host: systemd on Linux, launchd on macOS."""
