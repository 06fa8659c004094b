"""Pictures of what devices show."""

from __future__ import annotations

SCREEN_SECONDS = 5.0
"""A device that hangs may not answer at all."""
_PNG = b"\x89PNG\r\n\x1a\n"


def png_of(data: bytes) -> bytes:
    """The picture in what a tool printed, maybe after warnings. Raises OSError with what stands there instead."""
    begins = data.find(_PNG)
    if begins < 0:
        said = data[:200].decode(errors="replace").strip()
        raise OSError(f"the device gave no picture: {said or 'it printed nothing'}")
    return data[begins:]
