"""What grids of runs share: one command after the other, each one's scores kept as soon as it ends.

A file of scores is one JSON object that gives each cell's scores by its key. Files are written beside and renamed, so
that a file by its name is always complete.
"""

import csv
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from graft.whole import whole

Scores = dict[str, float]


def read(path: Path) -> dict[str, Scores]:
    """The scores by key; none where there is no file yet.

    Raises:
        SystemExit: The file is something else, or damaged.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        return {key: {name: float(value) for name, value in scores.items()} for key, scores in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise SystemExit(
            f"error: {path} is no file of scores, which is a JSON object of objects of numbers ({error}): repair it, "
            "or move it away to begin anew."
        ) from error


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")


def measure(name: str, command: list[str]) -> tuple[dict[str, list[float]], float]:
    """Run a Python script that takes the options of `main.py`: each metric's values as logged, and the seconds.

    Args:
        name: What the log folder begins with.
        command: The script and its options.

    Raises:
        RuntimeError: It failed; what it had to say it has said on stderr.
    """
    folder = Path("lightning_logs") / f"{name}-{time.time_ns()}"
    logger = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(folder)]
    start = time.perf_counter()
    code = subprocess.run([sys.executable, *command, *logger], stdout=subprocess.DEVNULL).returncode
    seconds = time.perf_counter() - start
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")
    metrics: dict[str, list[float]] = {}
    for path in folder.rglob("metrics.csv"):
        with path.open() as file:
            for row in csv.DictReader(file):
                for metric, value in row.items():
                    if value:
                        metrics.setdefault(metric, []).append(float(value))
    return metrics, seconds


def run_missing(path: Path, cells: Mapping[str, Callable[[], Scores]]) -> int:
    """Run the cells that a file of scores does not hold, and add each one's as soon as it is there.

    Args:
        path: The file.
        cells: What runs each, by key: its name, and perhaps after a colon what else its score depends on.

    Returns:
        How many failed. They are not in the file, so that the next time they are run again.

    Raises:
        SystemExit: Ctrl-C.
    """
    missing = [key for key in cells if key not in read(path)]
    try:
        done = [attempt(path, key, cells[key]) for key in missing]
    except KeyboardInterrupt:
        print(f"\nStopped; {path} holds what is done, and the same command goes on.", file=sys.stderr)
        raise SystemExit(130) from None
    return done.count(False)


def attempt(path: Path, key: str, cell: Callable[[], Scores]) -> bool:
    """Run one cell and keep its scores; whether it went well."""
    name = key.partition(": ")[0]
    try:
        scores = cell()
    except RuntimeError as error:  # of this cell: the others do not depend on it
        print(f"error: {name}: {error}; the grid goes on without it.", file=sys.stderr, flush=True)
        return False
    write(path, json.dumps({**read(path), key: scores}, indent=1))  # read again: another grid may write to it
    print(f"{name}: {scores}", flush=True)
    return True


def spread(scores: list[float], expected: int) -> str:
    """Mean and sample standard deviation, in percent; how many there are, if fewer than expected."""
    if not scores:
        return "-"
    around = f" ± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{100 * statistics.mean(scores):.1f}{around}" + (f" (n = {len(scores)})" if len(scores) < expected else "")


def markdown(*rows: list[str]) -> str:
    """A table whose first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def split(path: Path, name: str) -> tuple[str, str]:
    """A file up to its line `<!-- name: begin -->`, and from its line `<!-- name: end -->` on.

    Raises:
        SystemExit: The file has not exactly these two, in this order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    lines = path.read_bytes().decode().splitlines(keepends=True) if path.exists() else []
    stripped = [line.strip() for line in lines]
    if stripped.count(begin) != 1 or stripped.count(end) != 1 or stripped.index(begin) > stripped.index(end):
        raise SystemExit(
            f"error: {path} must hold the line {begin} once and, below it, the line {end} once: add them where the "
            "table is to be."
        )
    return "".join(lines[: stripped.index(begin) + 1]), "".join(lines[stripped.index(end) :])


def insert(path: Path, name: str, text: str) -> None:
    """Put a text between the two lines of a file that `split` finds; the rest stays as it is."""
    before, after = split(path, name)
    write(path, f"{before}\n{text}\n\n{after}")
