"""Scores against the rank: a run for each method, rank and seed (Figure 5 of Serial LoRA, arXiv 2503.17750).

    python benchmarks/rank_sweep.py                                  # a tiny CLIP on digits, without downloads
    python benchmarks/rank_sweep.py --task kvasir --root DIR --methods SerialLoRA LoRA DoRA --ranks 4 8 16

Each cell trains as its task's configuration says, at the same learning rate for all methods and ranks and with
alpha = rank; its score is that of all validation images after the last step: nothing is chosen by it. Other options are
passed on to all runs. A cell with the same options and configuration as one in the output file is not repeated; after a
change of the code move that file away.
"""

import argparse
import json
import shlex
import statistics
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from grid import Scores, insert, markdown, measure, read, run_missing, split, spread

from graft.drawing import COLORS, GREY, SMALL, TEXT, panels, save

CONFIGS = Path(__file__).parents[1] / "configs"
RESULTS = CONFIGS.parent / "docs" / "results.md"
PICTURE = RESULTS.parent / "images" / "rank_sweep.png"


class Task(NamedTuple):
    """What is trained, and which score counts."""

    files: list[Path]
    metric: str
    score: str
    options: list[str]


TASKS = {
    "digits": Task(
        [CONFIGS / "clip_food101.yaml", CONFIGS / "embedded" / "clip_digits.yaml"],
        "val/accuracy",
        "top-1 accuracy",
        # of the demo's 14 epochs three take half a minute; its rate of 1e-2, chosen for r = 8, is too much for r = 32
        ["--trainer.max_epochs", "3", "--model.optimizer.lr", "3e-3"],
    ),
    "kvasir": Task([CONFIGS / "sam_polyp.yaml", CONFIGS / "embedded" / "kvasir.yaml"], "val/dice", "Dice", []),
}


class Cell(NamedTuple):
    """One run."""

    task: str
    method: str
    rank: int
    seed: int


def options(cell: Cell, root: Path | None, extra: list[str]) -> list[str]:
    """A cell's command line, but for the configuration files."""
    data = ["--data.root", str(root.resolve())] if root else []
    seeds = ["--seed_everything", str(cell.seed), "--data.seed", str(cell.seed)]
    adapter = ["--adapt.adapter", cell.method, "--adapt.adapter.rank", str(cell.rank)]
    quick = ["--trainer.enable_progress_bar", "false", "--pictures.count", "0"]
    return [*data, *seeds, *quick, *TASKS[cell.task].options, *extra, *adapter]


def key(cell: Cell, root: Path | None, extra: list[str]) -> str:
    """The cell's name and all that decides its score; of the configuration files a digest of what they say."""
    said = json.dumps([yaml.safe_load(path.read_text()) for path in TASKS[cell.task].files], sort_keys=True)
    name = f"{cell.task}, {cell.method}, rank {cell.rank}, seed {cell.seed}"
    return f"{name}: {sha256(said.encode()).hexdigest()[:16]} {shlex.join(options(cell, root, extra))}"


def run(cell: Cell, root: Path | None, extra: list[str]) -> Scores:
    """Train and score one cell in a process of its own."""
    task = TASKS[cell.task]
    files = [argument for path in task.files for argument in ("--config", str(path))]
    metrics, seconds = measure("rank-sweep", ["main.py", "fit", *files, *options(cell, root, extra)])
    if task.metric not in metrics:
        raise RuntimeError(f"it logged no {task.metric}, but {', '.join(metrics) or 'nothing'}")
    return {"score": metrics[task.metric][-1], "seconds": seconds}


def curves(found: dict[Cell, float], given: argparse.Namespace) -> dict[str, dict[int, list[float]]]:
    """The scores of all seeds there are, by method and rank."""
    return {
        method: {
            rank: [found[cell] for seed in given.seeds if (cell := Cell(given.task, method, rank, seed)) in found]
            for rank in given.ranks
        }
        for method in given.methods
    }


def table(scores: dict[str, dict[int, list[float]]], seeds: int) -> str:
    """A row for each method, a column for each rank."""
    ranks = next(iter(scores.values()))
    head = ["method", *(f"r = {rank}" for rank in ranks)]
    rows = [[method, *(spread(each, seeds) for each in row.values())] for method, row in scores.items()]
    return markdown(head, *rows)


def draw(scores: dict[str, dict[int, list[float]]], label: str) -> Any:
    """Each method's mean over the rank as a line, the range of its seeds as a band, each seed as a dot."""
    figure, ((axes,),) = panels(1, 1, 5.2, 3.2)
    ends = {}
    for color, (method, row) in zip(COLORS, scores.items(), strict=False):
        row = {rank: [100 * score for score in each] for rank, each in row.items() if each}
        if not row:
            continue
        means = [statistics.mean(each) for each in row.values()]
        axes.fill_between([*row], [*map(min, row.values())], [*map(max, row.values())], color=color, alpha=0.14, lw=0)
        axes.plot([*row], means, color=color, lw=1.6, marker="o", ms=4, clip_on=False, zorder=3)
        for rank, each in row.items():
            axes.plot([rank] * len(each), each, ".", color=color, ms=3, alpha=0.6, mew=0)
        ends[method] = (max(row), means[-1], color)
    ranks = sorted({rank for row in scores.values() for rank in row})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, ranks)
    axes.minorticks_off()
    axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.6)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    gap, last = 0.06 * (high - low), float("-inf")
    for method, (rank, mean, color) in sorted(ends.items(), key=lambda end: end[1][1]):
        last = max(mean, last + gap)  # names that would lie on each other are moved apart
        axes.annotate(method, (rank, last), (8, 0), textcoords="offset points", color=color, size=TEXT, va="center")
    axes.set_xlabel("rank")
    axes.set_title(f"{label}, %", loc="left", size=TEXT)
    seeds = max(len(each) for row in scores.values() for each in row.values())
    figure.supxlabel(f"line: mean of {seeds} seeds; band: their range", size=SMALL, color=GREY, x=0.99, ha="right")
    return figure


def report(scores: dict[str, dict[int, list[float]]], given: argparse.Namespace, extra: list[str]) -> str:
    """The picture, the table, what they show, and the command that makes them."""
    task = TASKS[given.task]
    typed = ["--methods", *given.methods, "--ranks", *given.ranks, "--seeds", *given.seeds]
    root = ["--root", "DIR"] if given.root else []
    command = shlex.join(["python", "benchmarks/rank_sweep.py", "--task", given.task, *root, *map(str, typed), *extra])
    files = " and ".join(f"`configs/{path.relative_to(CONFIGS)}`" for path in task.files)
    seeds = ", ".join(map(str, given.seeds))
    own = f" with `{shlex.join(task.options)}`" if task.options else ""
    return (
        f"![{task.score} against the rank](images/{PICTURE.name})\n\n{table(scores, len(given.seeds))}\n\n"
        f"{task.score[0].upper()}{task.score[1:]} on the validation images after the last step, in percent: mean ± "
        f"standard deviation over the seeds {seeds}. All ran {files}{own}, at the same learning rate for all methods "
        f"and ranks, and with alpha = rank (scale 1).\n\n```\n{command}\n```"
    )


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--task", choices=TASKS, default="digits")
    parser.add_argument("--root", type=Path, help="folder of the task's data; that of Kvasir-SEG must be given")
    parser.add_argument("--methods", nargs="+", default=["SerialLoRA", "LoRA"], help="adapters with a rank")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/rank_sweep.json"), help="where scores are kept")
    parser.add_argument("--picture", type=Path, help="also draw them into this file, .png or .svg")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"put table and picture into docs/{RESULTS.name}")
    given, extra = parser.parse_known_args()
    if given.task == "kvasir" and not given.root:
        parser.error("--task kvasir needs --root, the folder of Kvasir-SEG")
    if given.write:
        split(RESULTS, "rank-sweep")  # before hours of runs, not after them
    cells = [Cell(given.task, *each) for each in product(given.methods, given.ranks, given.seeds)]
    cells.sort(key=lambda cell: cell.seed)  # a grid that is stopped has whole curves of fewer seeds
    keys = {cell: key(cell, given.root, extra) for cell in cells}
    runs = {} if given.table else {keys[cell]: partial(run, cell, given.root, extra) for cell in cells}
    failed = run_missing(given.out, runs)
    kept = read(given.out)
    scores = curves({cell: kept[key]["score"] for cell, key in keys.items() if key in kept}, given)
    text = report(scores, given, extra)
    print(text)
    for path in {given.picture, PICTURE if given.write else None} - {None}:
        save(draw(scores, TASKS[given.task].score), path)
    if given.write:
        insert(RESULTS, "rank-sweep", text)
    if failed:
        raise SystemExit(f"error: {failed} of {len(cells)} cells failed, as said above; the same command tries again.")


if __name__ == "__main__":
    main()
