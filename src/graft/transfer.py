"""Bring the bytes of a file over HTTP into a part of it, which the next connection goes on with."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

CHUNK = 1 << 20  # bytes
TIMEOUT = 30.0  # seconds without a byte until a connection counts as dead
LEAST = 30_000  # bytes in so many seconds; with fewer, one here and one there, it counts as dead too


def transfer(url: str, part: Path, *, checked: bool) -> None:
    """Append to `part` what it lacks, or begin it afresh where it is from another version of the file.

    Args:
        url: Where from.
        part: The bytes so far. `.version` beside it is the server's mark of the version of the file they are from.
        checked: Whether the whole will be held against a checksum: else a part without a mark is not trusted.

    Raises:
        HTTPError: The server refuses.
        ConnectionError: The connection cannot be made, breaks off or stalls.
        OSError: The part cannot be written; what was written stays.
    """
    version = _version(part)
    mark = version.read_text(encoding="utf-8") if version.exists() else ""
    start = part.stat().st_size if part.exists() and (mark or checked) else 0
    headers = {"User-Agent": "graft"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": mark} if mark else {})
    try:
        with _network():
            answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:
            raise
        if error.headers["Content-Range"] == f"bytes */{start}":  # nothing was lacking
            error.close()
            return
        discard(part)  # it is no beginning of this file
        raise
    with answer:
        resumed = start > 0 and answer.status == 206
        if resumed and not _continues(answer, start, mark):
            discard(part)
            raise ConnectionError("the server went on with something else than what it was asked for")
        start = start if resumed else 0
        total = None if answer.length is None else start + answer.length
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            if not resumed:  # after the old bytes have gone and before the new ones come, whenever the process dies
                version.write_text(_mark(answer), encoding="utf-8")
            for chunk in _chunks(answer):
                file.write(chunk)
                bar.update(len(chunk))
    received = part.stat().st_size
    if total is not None and received != total:
        raise ConnectionError(f"{received} of {total} bytes arrived")


def discard(part: Path) -> None:
    """Remove a part and the mark of its version, as far as they are there."""
    part.unlink(missing_ok=True)
    _version(part).unlink(missing_ok=True)


def _version(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _mark(answer: HTTPResponse) -> str:
    """What tells this version of the file from others: its strong ETag, else the date of its last change, else ""."""
    tag = answer.headers["ETag"] or ""
    return tag if tag.startswith('"') else answer.headers["Last-Modified"] or ""


def _continues(answer: HTTPResponse, start: int, mark: str) -> bool:
    """Whether an answer begins at byte `start`, and is of the version marked; what it does not say is believed."""
    place = f"bytes {start}-"
    same = not mark or _mark(answer) in ("", mark)
    return same and answer.headers.get("Content-Range", place).startswith(place)


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    """The bytes as they arrive, as long as enough of them do."""
    since, arrived = time.monotonic(), 0
    while True:
        with _network():
            chunk = answer.read1(CHUNK)
        if not chunk:
            return
        yield chunk
        arrived += len(chunk)
        if (now := time.monotonic()) - since > TIMEOUT:
            if arrived < LEAST:
                raise ConnectionError(f"only {arrived} bytes arrived in {now - since:.0f} seconds")
            since, arrived = now, 0


@contextmanager
def _network() -> Iterator[None]:
    """Tell what the network raises, in its many ways, from what the disk does."""
    try:
        yield
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:  # the last where a redirect leads to no address
        reason = error.reason if isinstance(error, URLError) else error
        message = getattr(reason, "strerror", None) or str(reason)
        raise ConnectionError(" ".join(message.split())) from error  # in one line
