"""What the command line adds to the start of Lightning: seconds of the processor, user and system, of whole processes.

    python benchmarks/start_up.py [--pairs 7] [--write]

They run in turn, one process at a time, a bare `import lightning.pytorch` first in each round; each one's difference to
that of its round counts, and the table has the median and the range. The training is configs/sam_polyp.yaml with the
tiny SAM at 64 px and eight generated images, for one step and its validation.
"""

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from grid import insert, markdown, split

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "performance.md"
FLOOR = ["-c", "import lightning.pytorch"]
MAIN = str(ROOT / "main.py")


def fit(folder: str) -> list[str]:
    """A training of one step; its data are generated the first time."""
    files = [f"--config={ROOT / 'configs' / name}" for name in ("sam_polyp.yaml", "embedded/sam_polyp.yaml")]
    small = ["--model.backbone=tiny", "--model.image_size=64", "--data.batch_size=2", f"--data.root={folder}/data"]
    counts = ["--data.train_count=4", "--data.val_count=2", "--data.test_count=2"]
    trainer = ["--trainer.max_steps=1", "--trainer.val_check_interval=1", "--trainer.accelerator=cpu"]
    return [MAIN, "fit", *files, *small, *counts, *trainer, "--trainer.devices=1"]


def seconds(command: list[str], folder: str) -> float:
    """Of the processor, that a Python process takes from its start to its end.

    Raises:
        SystemExit: It failed; what it had to say is said.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(f"{run.stderr}error: {shlex.join(command)} ended with exit code {run.returncode}.")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure in turn, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--pairs", type=int, default=7, help="how often each runs, after once that fills the caches")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{RESULTS.name}")
    given = parser.parse_args()
    if given.write:
        split(RESULTS, "start-up")  # before the runs, not after them
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    with tempfile.TemporaryDirectory() as folder:
        plain = ["--data.augment=null", "--trainer.logger=false", "--pictures.count=0"]
        ways = {
            "`import graft.cli`": ["-c", "import graft.cli"],
            "`main.py --help`": [MAIN, "--help"],
            "`main.py fit --help`": [MAIN, "fit", "--help"],
            "`main.py fit`, one step": fit(folder),
            "`main.py fit`, one step, no augmentation, logger or pictures": [*fit(folder), *plain],
        }
        rounds, floors = [], []
        for number in range(given.pairs + 1):
            floors.append(seconds(FLOOR, folder))
            rounds.append({name: seconds(way, folder) - floors[-1] for name, way in ways.items()})
            print(f"round {number} of {given.pairs}", file=sys.stderr, flush=True)
    rows = [["", "seconds beyond `import lightning.pytorch`"]]
    for name in ways:
        beyond = sorted(each[name] for each in rounds[1:])
        rows.append([name, f"{median(beyond):.2f} ({beyond[0]:.2f} to {beyond[-1]:.2f})"])
    command = f"python benchmarks/start_up.py --pairs {given.pairs}"
    floor = f"`import lightning.pytorch` itself takes {median(floors[1:]):.1f} s."
    text = f"{markdown(*rows)}\n\n{floor}\n\n```\n{command}\n```"
    print(text)
    if given.write:
        insert(RESULTS, "start-up", text)


if __name__ == "__main__":
    main()
