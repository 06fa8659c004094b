"""Sizes as people read them. Pure."""

_KB, _MB = 1000, 1_000_000


def size_words(size_bytes: int) -> str:
    """`459 B`, `12 kB`, `3.0 MB`."""
    if size_bytes >= _MB:
        return f"{size_bytes / _MB:.1f} MB"
    return f"{size_bytes / _KB:.0f} kB" if size_bytes >= _KB else f"{size_bytes} B"
