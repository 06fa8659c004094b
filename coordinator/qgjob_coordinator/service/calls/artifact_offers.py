"""What agents offer of an attempt's files: checked, named, compared with what is kept. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.errors import ConflictError, InvalidError, NotFoundError, TooLargeError
from qgjob_coordinator.model.artifacts import ArtifactKind, Bounds, Evidence, LeftOut, OfferedFile
from qgjob_coordinator.service import validation

MAX_LEFT_OUT = 20
MAX_ATTEMPT = 2**31 - 1
MAX_TOKEN = 256
OWNER_DIGITS = 16
PREFIX_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Offer:
    """What an agent announces before the bytes; nothing of it is checked yet."""

    job_id: object
    attempt: object
    token: object
    files: Sequence[tuple[object, ArtifactKind | None, object, object]]
    left_out: Sequence[tuple[object, object, object]] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """An offer that is well formed. `owner` names the lease."""

    org_id: str
    ulid: str
    attempt: int
    owner: str
    files: tuple[OfferedFile, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """A push whose header was taken. `wanted` are places of its files that are not kept yet, in order."""

    org_id: str
    ulid: str
    attempt: int
    files: tuple[OfferedFile, ...]
    wanted: tuple[int, ...]
    prefix: str
    left_out: tuple[LeftOut, ...]
    unnoted: list[OfferedFile] = field(default_factory=list)
    """Whose bytes are there, and which the store does not name yet."""

    @property
    def job_id(self) -> str:
        """The public id of its job."""
        return f"{self.org_id}~{self.ulid}"

    def path(self, file: OfferedFile) -> str:
        """Where a file of it lies in the blob store."""
        return blob_path(self.org_id, self.ulid, self.attempt, file.digest)


def folder_of(org_id: str, ulid: str) -> str:
    """Where all evidence of a job lies in the blob store."""
    return f"orgs/{org_id}/jobs/{ulid}"


def blob_path(org_id: str, ulid: str, attempt: int, digest: str) -> str:
    """Where a file lies: by its content, so that no other one can take its place."""
    return f"{folder_of(org_id, ulid)}/{attempt}/{digest}"


def checked(offer: Offer, bounds: Bounds) -> Checked:
    """The offer, if an attempt may have so much. Raises InvalidError, TooLargeError."""
    org_id, ulid = validation.split_job_id(offer.job_id)
    attempt = validation.check_int("attempt", offer.attempt, 1, MAX_ATTEMPT)
    token = validation.check_given("token", offer.token, MAX_TOKEN)
    files = _checked_files(offer)
    check_bounds(attempt, (), files, bounds)
    owner = hashlib.sha256(token.encode()).hexdigest()[:OWNER_DIGITS]
    return Checked(org_id, ulid, attempt, owner, tuple(files), tuple(_left_out(offer)))


def begun(offer: Checked, evidence: Evidence, bounds: Bounds) -> Push:
    """What of an offer is wanted, by what is kept of its job.

    Files of an agent that had lost the attempt, so that another one has its number, get names of their own.

    Raises ConflictError (a name has another content), TooLargeError.
    """
    attempt = offer.attempt
    prefix = "" if dict(evidence.owners)[attempt] == offer.owner else f"late-{offer.owner[:PREFIX_DIGITS]}/"
    named = tuple(OfferedFile(prefix + f.name, f.kind, f.digest, f.size_bytes) for f in offer.files)
    missing = wanted_places(named, evidence, attempt)
    there = [a.file for a in evidence.artifacts if a.attempt == attempt]
    check_bounds(attempt, there, [named[place] for place in missing], bounds)
    return Push(offer.org_id, offer.ulid, attempt, named, missing, prefix, offer.left_out)


def wanted_places(files: Sequence[OfferedFile], evidence: Evidence, attempt: int) -> tuple[int, ...]:
    """Places of the files that are not kept yet. Raises ConflictError where a name has another content."""
    kept = {a.file.name: a.file for a in evidence.artifacts if a.attempt == attempt}
    for place, each in enumerate(files):
        there = kept.get(each.name, each)
        if there.digest != each.digest:
            has = f"attempt {attempt} has another file of the name {validation.shown(each.name)} ({there.digest})"
            raise ConflictError(f"{has}; what is kept never changes", field=f"files[{place}].name")
    return tuple(place for place, each in enumerate(files) if each.name not in kept)


def check_bounds(attempt: int, there: Sequence[OfferedFile], more: Sequence[OfferedFile], bounds: Bounds) -> None:
    """Whether an attempt that has these files may have more of them. Raises TooLargeError."""
    has = Bounds(sum(each.size_bytes for each in there), len(there))
    size = has.size_bytes + sum(each.size_bytes for each in more)
    if more and (has.files + len(more) > bounds.files or size > bounds.size_bytes):
        raise overfull(attempt, has, more, bounds)


def overfull(attempt: int, has: Bounds, more: Sequence[OfferedFile], bounds: Bounds) -> TooLargeError:
    """The error of an attempt that has so much already, and would have more than `bounds` with these files."""
    files, size = has.files + len(more), has.size_bytes + sum(each.size_bytes for each in more)
    before = f", with {has.files} files of {has.size_bytes} bytes that it has" if has.files else ""
    if files > bounds.files:
        most = f"at most {bounds.files} of an attempt are kept"
        return TooLargeError(f"files: attempt {attempt} would have {files} files{before}; {most}", field="files")
    most = f"at most {bounds.size_bytes} of an attempt are kept (ARTIFACTS_MAX_MB of the coordinator)"
    return TooLargeError(f"files: attempt {attempt} would have {size} bytes{before}; {most}", field="files")


def removed(job_id: object) -> NotFoundError:
    """What was kept of the job is gone, and nothing is added to it any more."""
    return NotFoundError(f"what was kept of job {job_id} has been removed by its age", field="job_id")


def _checked_files(offer: Offer) -> list[OfferedFile]:
    files = [_checked_file(f"files[{i}]", *each) for i, each in enumerate(offer.files)]
    known: set[str] = set()
    for i, each in enumerate(files):
        if each.name in known:
            raise InvalidError(f"files[{i}].name", f"{validation.shown(each.name)} is there twice")
        known.add(each.name)
    return files


def _checked_file(field: str, name: object, kind: ArtifactKind | None, digest: object, size: object) -> OfferedFile:
    path = validation.check_path(f"{field}.name", name)
    if path.endswith("/"):
        raise InvalidError(f"{field}.name", f"{validation.shown(path)} is a folder; name a file")
    if kind is None:
        raise InvalidError(f"{field}.kind", f"is unknown; use one of {', '.join(ArtifactKind)}")
    known = validation.check_digest(f"{field}.digest", digest)
    return OfferedFile(path, kind, known, validation.check_int(f"{field}.size_bytes", size, 1, validation.MAX_INT))


def _left_out(offer: Offer) -> list[LeftOut]:
    if len(offer.left_out) > MAX_LEFT_OUT:
        raise InvalidError("left_out", f"has {len(offer.left_out)} entries; at most {MAX_LEFT_OUT} are taken")
    return [
        LeftOut(
            validation.check_int(f"left_out[{i}].files", files, 0, validation.MAX_INT),
            validation.check_int(f"left_out[{i}].size_bytes", size, 0, validation.MAX_INT),
            validation.check_given(f"left_out[{i}].reason", reason, validation.MAX_TEXT),
        )
        for i, (files, size, reason) in enumerate(offer.left_out)
    ]
