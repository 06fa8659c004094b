"""Devices judged by what comes of their work, in one session and against the fleet."""
