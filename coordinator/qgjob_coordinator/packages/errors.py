"""What can be wrong with a package."""

from __future__ import annotations


class PackageError(Exception):
    """A file is not what its name says, or is broken. The message says what is wrong, as in `has no Info.plist`."""
