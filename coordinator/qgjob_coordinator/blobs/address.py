"""What BLOB_URL says. Pure; connects to nothing.

PATH or file:///PATH     a folder; one that is not there is made when the first file is kept
s3://BUCKET[/PREFIX]     S3, or what speaks its protocol: AWS_ENDPOINT_URL says where
gs://BUCKET[/PREFIX]     Google Cloud Storage
az://ACCOUNT/CONTAINER[/PREFIX]     Azure Blob Storage
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

FORMS = "a folder, file:///PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://ACCOUNT/CONTAINER/PREFIX"
_REMOTE = ("s3", "gs", "az")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


def folder(url: str) -> Path | None:
    """The folder that it names; None for an object store. Raises ValueError, which says what may stand there."""
    if not url.strip() or "\0" in url:
        raise ValueError(f"is empty; give {FORMS}")
    if not _SCHEME.match(url):
        return Path(url)
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.username or parts.password or parts.port:
        raise ValueError(f"has more than a place in it; give {FORMS}, and credentials in the variables of that service")
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise ValueError("names no folder of this machine; write file:///PATH with three slashes")
        return Path(unquote(parts.path))
    if parts.scheme not in _REMOTE:
        raise ValueError(f"has the scheme {parts.scheme}; give {FORMS}")
    if not parts.netloc or (parts.scheme == "az" and not parts.path.strip("/")):
        raise ValueError(f"names no {'container' if parts.scheme == 'az' else 'bucket'}; give {FORMS}")
    return None


def azure(url: str) -> tuple[str, str, str | None]:
    """Account, container and prefix of an `az` URL that `folder` took."""
    parts = urlsplit(url)
    container, _, prefix = parts.path.strip("/").partition("/")
    return parts.netloc, container, prefix or None
