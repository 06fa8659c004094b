"""Reads what app packages say of themselves. Nobody vouches for them, so nothing that they claim is believed unbounded.

No I/O but the given file, no clock.
"""
