"""Where contents lie in the blob store."""

from __future__ import annotations


def of_org(org_id: str) -> str:
    """The folder of all contents of an org."""
    return f"orgs/{org_id}/sha256"


def blob_path(org_id: str, digest: str) -> str:
    """A content: with its org, so that a digest opens nothing of another one."""
    return f"{of_org(org_id)}/{digest[:2]}/{digest}"
