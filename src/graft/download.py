"""Fetch a file once: resumed where it broke off, checked before it bears its name, shared by all processes."""

import hashlib
import os
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock
from tqdm import tqdm

ATTEMPTS = 5
FIRST_WAIT = 1.0  # seconds before the second attempt; doubles with each further one
TIMEOUT = 30.0  # seconds without a byte until a connection counts as dead
CHUNK = 1 << 20  # bytes
TRANSIENT = frozenset({408, 416, 429})  # worth another attempt, as 5xx is; 416 after its part has been dropped


class DownloadError(RuntimeError):
    """A file could not be fetched, or is not the file that was expected."""


def cache_dir() -> Path:
    """The folder for fetched and generated files: $GRAFT_CACHE, or ~/.cache/graft where that is not set."""
    return Path(os.environ.get("GRAFT_CACHE") or "~/.cache/graft").expanduser()


def download(url: str, path: Path, *, sha256: str | None = None, md5_prefix: str | None = None) -> Path:
    """Fetch a file unless it is there. A checksum is computed once for each file and remembered beside it.

    Args:
        url: Where from.
        path: Where to; folders are made. Beside it appear `.part` (the bytes so far), `.lock` and `.seal` (what was
            checked).
        sha256: Expected checksum, 64 hexadecimal digits.
        md5_prefix: First digits of the expected MD5, for sources that publish no more.

    Returns:
        `path`, whose bytes are complete and as expected.

    Raises:
        DownloadError: The server refuses or fails for good, the bytes are wrong, or the file cannot be written.
    """
    checks = {name: digits for name, digits in (("sha256", sha256), ("md5", md5_prefix)) if digits}
    try:
        if _is_there(path, checks):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not _is_there(path, checks):  # another process may have fetched it while this one waited
                part = path.with_name(f"{path.name}.part")
                _fetch(url, part)
                if wrong := _mismatch(part, checks):
                    part.unlink()
                    raise DownloadError(
                        f"{url} sent wrong bytes, now removed: {wrong}. Try again, or check the address."
                    )
                part.replace(path)
                _seal(path, checks)
    except OSError as error:
        reason = error.strerror or error
        raise DownloadError(
            f"{path} cannot be written ({reason}): make room there, or choose another folder."
        ) from error
    return path


def _is_there(path: Path, checks: dict[str, str]) -> bool:
    """Whether the file exists with the bytes expected; a file with other bytes is the user's to judge."""
    if not path.exists():
        return False
    seal = path.with_name(f"{path.name}.seal")
    if checks and not (seal.exists() and seal.read_text() == _state(path, checks)):
        if wrong := _mismatch(path, checks):
            raise DownloadError(f"{path} is not the file expected: {wrong}. Delete it to fetch it again.")
        _seal(path, checks)
    return True


def _seal(path: Path, checks: dict[str, str]) -> None:
    """Remember that a file was checked: a checkpoint of gigabytes takes seconds to read, every time."""
    with suppress(OSError):  # a shared folder may be read-only
        path.with_name(f"{path.name}.seal").write_text(_state(path, checks))


def _state(path: Path, checks: dict[str, str]) -> str:
    stat = path.stat()
    return f"{checks} {stat.st_size} {stat.st_mtime_ns}"


def _mismatch(path: Path, checks: dict[str, str]) -> str:
    """What is wrong with the bytes, or nothing."""
    for name, expected in checks.items():
        digest = hashlib.new(name, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        if not digest.hexdigest().startswith(expected.lower()):
            return f"the {name} is {digest.hexdigest()}, expected {expected}"
    return ""


def _fetch(url: str, part: Path) -> None:
    """Fetch all bytes into `part`, in as many attempts as allowed."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        try:
            return _read(url, part)
        except HTTPError as error:
            error.close()
            failure = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in TRANSIENT:
                raise DownloadError(f"{url} cannot be fetched: {failure}. Check the address.") from error
            if error.code == 416:  # the part is no beginning of this file
                part.unlink(missing_ok=True)
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            failure = str(error)
    raise DownloadError(
        f"{url} cannot be fetched: {failure}, {ATTEMPTS} attempts. Run again to go on where it stopped."
    )


def _read(url: str, part: Path) -> None:
    """Append to `part` what it lacks, or start afresh where the server sends the whole file all the same."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "graft"} | ({"Range": f"bytes={start}-"} if start else {})
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        resumed = response.status == 206
        start = start if resumed else 0
        total = start + int(length) if (length := response.headers["Content-Length"]) else None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    received = part.stat().st_size
    if total is not None and received != total:
        raise ConnectionError(f"{received} of {total} bytes arrived")
