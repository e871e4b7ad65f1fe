"""What ends in one sentence for the user, and what in a traceback for whoever mends it."""

import errno
import os
import re
from dis import opmap
from pathlib import Path
from traceback import walk_tb

import lightning
from torch.distributed import DistNetworkError

GRAFT = Path(__file__).parent
LIGHTNING = Path(lightning.__file__).parent
LIBRARIES = (LIGHTNING.parent, Path(os.__file__).parent)

FULL = {errno.ENOSPC, errno.EDQUOT}
SYSTEM = {
    *FULL,
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}
"""What is wrong with a disk or a path. That a file is not there is left out: it may be a bug."""


def refused(error: BaseException | None) -> str | None:
    """The sentence in which a run ends; None where a library or a bug failed."""
    while error is not None:
        if said := by_system(error) or by_worker(error) or by_raise(error):
            return " ".join(said.split())
        error = error.__cause__  # jsonargparse wraps what a constructor refuses
    return None


def by_system(error: BaseException) -> str | None:
    """What the operating system refuses: a path, or a port."""
    if isinstance(error, OSError) and error.errno in SYSTEM:
        remedy = "make room there" if error.errno in FULL else "correct it"
        return (
            f"{error.filename or 'A file'} cannot be written or read ({error.strerror}): {remedy}, or choose another "
            "place with --trainer.default_root_dir, --trainer.logger.save_dir, --checkpoint.dirpath, "
            "--predictions.folder or --cache."
        )
    if isinstance(error, DistNetworkError) and (port := re.search(r"port: (\d+).*EADDRINUSE", str(error))):
        return (
            f"Port {port[1]}, over which the processes are to talk, is taken by another program, perhaps another run: "
            "set the environment variable MASTER_PORT to a free one."
        )
    return None


def by_worker(error: BaseException) -> str | None:
    """What a `raise` of Graft's said in a process that loads data: torch hands its traceback over as a text."""
    _, found, text = str(error).rpartition("Traceback (most recent call last):\n")
    frames = re.findall(r'  File "(.+)", line \d+, in .+\n    (.+)', text)
    said = re.search(r"(?ms)^\w[\w.]*: (.+)", text)  # frames are indented
    if not found or not frames or not said:
        return None
    file, line = frames[-1]
    return said[1] if Path(file).is_relative_to(GRAFT) and line.startswith("raise ") else None


def by_raise(error: BaseException) -> str | None:
    """What a `raise` of Graft's says, or one of Lightning's about the configuration: with no code of ours in between.

    Where Python or torch could not run a line, the traceback does not end at a `raise`.
    """
    frames = [(frame.f_code, frame.f_lasti) for frame, _ in walk_tb(error.__traceback__)]
    if not frames:
        return None
    raiser, position = frames[-1]
    if raiser.co_code[position] != opmap["RAISE_VARARGS"]:
        return None
    if Path(raiser.co_filename).is_relative_to(GRAFT):
        return str(error)
    if not Path(raiser.co_filename).is_relative_to(LIGHTNING) or any(is_ours(code.co_filename) for code, _ in frames):
        return None
    if "No supported gpu backend" in str(error):
        return "No GPU is found here, but trainer.accelerator asks for one: give cpu or auto, or check the driver."
    return f"Lightning refuses this configuration: {error}"


def is_ours(file: str) -> bool:
    """Whether a line of this file may be what is wrong: it is no library's, and more than the command line."""
    path = Path(file)
    if path.is_relative_to(GRAFT):
        return path != GRAFT / "cli.py"
    return not file.startswith("<") and not any(path.is_relative_to(library) for library in LIBRARIES)
