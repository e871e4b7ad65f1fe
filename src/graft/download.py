"""Fetch a file once: resumed where it broke off, checked before it bears its name, shared by all processes."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

from filelock import FileLock

from graft.transfer import CHUNK, discard, transfer

ATTEMPTS = 5
FIRST_WAIT = 1.0  # seconds before the second attempt; doubles with each further one
TRANSIENT = frozenset({408, 416, 429})  # worth another attempt, as 5xx is; 416 after its part has been dropped


class DownloadError(RuntimeError):
    """A file could not be fetched, or is not the file that was expected."""


def download(url: str, path: Path, *, sha256: str | None = None) -> Path:
    """Fetch a file unless it is there. A checksum is computed once for each file and remembered beside it.

    Args:
        url: Where from.
        path: Where to; folders are made. Beside it appear `.part` (the bytes so far), `.part.version` (of which version
            of the file), `.lock` and `.seal` (what was checked).
        sha256: Expected checksum, 64 hexadecimal digits.

    Returns:
        `path`, whose bytes are complete and as expected.

    Raises:
        DownloadError: The server refuses or fails for good, the bytes are wrong, or the file cannot be written.
    """
    try:
        if _is_there(path, sha256):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not _is_there(path, sha256):  # another process may have fetched it while this one waited
                part = path.with_name(f"{path.name}.part")
                _fetch(url, part, checked=sha256 is not None)
                if wrong := _mismatch(part, sha256):
                    discard(part)
                    raise DownloadError(
                        f"{url} sent wrong bytes, now removed: {wrong}. Try again, or check the address."
                    )
                part.replace(path)
                discard(part)
                _seal(path, sha256)
    except OSError as error:
        reason = error.strerror or error
        raise DownloadError(
            f"{path} cannot be written ({reason}): make room there, or choose another folder."
        ) from error
    return path


def _is_there(path: Path, sha256: str | None) -> bool:
    """Whether the file exists with the bytes expected; a file with other bytes is the user's to judge."""
    if not path.exists():
        return False
    seal = path.with_name(f"{path.name}.seal")
    if sha256 and not (seal.exists() and seal.read_text() == _state(path, sha256)):
        if wrong := _mismatch(path, sha256):
            raise DownloadError(f"{path} is not the file expected: {wrong}. Delete it to fetch it again.")
        _seal(path, sha256)
    return True


def _seal(path: Path, sha256: str | None) -> None:
    """Remember that a file was checked: a checkpoint of gigabytes takes seconds to read, every time."""
    if sha256:
        with suppress(OSError):  # a shared folder may be read-only
            path.with_name(f"{path.name}.seal").write_text(_state(path, sha256))


def _state(path: Path, sha256: str) -> str:
    stat = path.stat()
    return f"{sha256} {stat.st_size} {stat.st_mtime_ns}"


def _mismatch(path: Path, sha256: str | None) -> str:
    """What is wrong with the bytes, or nothing."""
    if not sha256:
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return "" if digest.hexdigest() == sha256.lower() else f"the sha256 is {digest.hexdigest()}, expected {sha256}"


def _fetch(url: str, part: Path, checked: bool) -> None:
    """Fetch all bytes into `part`, in as many attempts as allowed."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        try:
            return transfer(url, part, checked=checked)
        except HTTPError as error:
            error.close()
            failure = f"the server answered {error.code} {' '.join(error.reason.split())}"
            if error.code < 500 and error.code not in TRANSIENT:
                raise DownloadError(f"{url} cannot be fetched: {failure}. Check the address.") from error
        except ConnectionError as error:
            failure = str(error)
    raise DownloadError(
        f"{url} cannot be fetched: {failure}, {ATTEMPTS} attempts. Run again to go on where it stopped."
    )
