"""One page about one or several runs, to be read in a browser, sent by mail, or printed."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from graft.callbacks.summary import relative
from graft.report.examine import examine
from graft.report.logged import read
from graft.report.page import page, write


def report(*runs: Path, output: Path = Path("report.html")) -> None:
    """Write one page about one or several runs: curves, scores, best and worst images, cost, configuration.

    The page holds all that it shows, and is read without a network. Images are those of the validation split, as the
    best checkpoint sees them.

    Args:
        runs: Log folders, such as lightning_logs/version_0, or checkpoints in them.
        output: The page, an HTML file.

    Raises:
        ValueError: The page cannot be written there.
    """
    if output.is_dir():
        raise ValueError(f"--output is {output}, which is a folder; give a file, such as {output / 'report.html'}.")
    found = [read(run) for run in runs]
    examined = [examine(run) for run in found]
    write(page(found, examined), output)
    console = Console(soft_wrap=True, highlight=False)
    for run, told in zip(found, examined, strict=True):
        for reason in told.missing:
            console.print(f"[yellow]left out[/] of {escape(str(run.folder))}: {escape(reason)}")
    console.print(f"{escape(str(relative(output)))} ({output.stat().st_size / 1e6:.1f} MB)")
