"""Archives that nobody vouches for."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

UNREADABLE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, RuntimeError, EOFError, ValueError, IndexError),
)
"""What zipfile raises for those that are damaged, encrypted, or made by something else."""
