"""HTTP to programs on this machine."""

from __future__ import annotations

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""As `verify` of a client that speaks no TLS: reading the certificates of all authorities takes it 20 ms of CPU."""
