"""Unpack a zip file that a stranger made."""

import shutil
import stat
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from filelock import FileLock

from graft.download import DownloadError

CHUNK = 1 << 20  # bytes


def extract_zip(archive: Path, folder: Path, *, max_bytes: int) -> Path:
    """Unpack a zip file into a folder, unless that holds something already. All of it appears there, or nothing.

    Args:
        archive: The zip file.
        folder: Where to. The work is done in `.part` beside it, under `.lock`.
        max_bytes: Most bytes that all files together may have, counted as they are written.

    Returns:
        `folder`.

    Raises:
        DownloadError: The archive is damaged or too large, has an entry that is a link or points outside the folder, or
            the folder cannot be written.
    """
    part = folder.with_name(f"{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.exists() and any(folder.iterdir()):
                return folder
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
            try:
                with ZipFile(archive) as source:
                    _unpack(source, part, max_bytes)
                part.replace(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{archive} cannot be unpacked to {folder}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged archive can raise anything
        raise DownloadError(f"{archive} is a damaged archive ({error}): it has to be fetched again.") from error
    return folder


def _unpack(source: ZipFile, folder: Path, room: int) -> None:
    """Write each entry, as long as there is room; the sizes that an archive states are not to be believed."""
    folder.mkdir()
    for entry in source.infolist():
        target = folder / _inner_path(entry)
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(entry) as data, target.open("wb") as file:
            while chunk := data.read(CHUNK):
                room -= len(chunk)
                if room < 0:
                    raise DownloadError(f"{source.filename} unpacks to more than the bytes allowed: it is not trusted.")
                file.write(chunk)


def _inner_path(entry: ZipInfo) -> PurePosixPath:
    """The path of a plain file or folder that stays inside the folder; anything else is refused."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive does not say
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DownloadError(
            f"the archive's entry {entry.filename!r} is a link or leads out of the folder: not unpacked."
        )
    return path
