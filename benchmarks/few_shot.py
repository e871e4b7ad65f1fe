"""Few-shot classification: a run for each set, number of shots, seed and method, and the test split's top-1 accuracy.

    python benchmarks/few_shot.py --sets DTD EuroSAT --shots 1 4 16 --seeds 0 1 2 [--root DIR] [--table] [--write]
    python benchmarks/few_shot.py --sets Digits --trainer.max_steps 400             # without a GPU or downloads
    python benchmarks/few_shot.py fit --config FILE ...                             # one cell: fit, then test

Each cell trains as its set's configuration says, but for 500 steps a shot and without validation: nothing is chosen,
the last weights are tested. Other options are passed on to all runs; a method's own win. A cell with the same options
and configuration as one in the output file is not repeated; after a change of the code move that file away.
"""

import argparse
import json
import shlex
import statistics
import sys
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml
from grid import Scores, insert, markdown, measure, read, run_missing, split, spread

CONFIGS = Path(__file__).parents[1] / "configs"
RESULTS = CONFIGS.parent / "docs" / "results.md"
SETS = {yaml.safe_load(path.read_text())["data"]["class_path"]: [path] for path in sorted(CONFIGS.glob("clip_*.yaml"))}
SETS = {data.removeprefix("graft.data."): files for data, files in SETS.items()}  # each set's configuration files
SETS["Digits"] = [CONFIGS / "clip_food101.yaml", CONFIGS / "embedded" / "clip_digits.yaml"]
STEPS = 500  # a shot, as in CLIP-LoRA, https://arxiv.org/abs/2405.18541
METHODS = {  # rank, dropout and learning rate are those of the set's configuration where nothing is said
    "zero-shot": ["--trainer.max_steps", "0"],  # a fresh adapter is the identity
    "linear probe": [
        *("--adapt.adapter", "null", "--adapt.train", "[head]", "--model.head", "linear", "--data.augment", "null"),
        *("--model.optimizer.lr", "0.3"),  # the head's weights are as large as the logit scale
    ],
    "LoRA": ["--adapt.adapter", "LoRA"],
    "Serial LoRA": ["--adapt.adapter", "SerialLoRA"],
}


class Cell(NamedTuple):
    """One run."""

    set: str
    method: str
    shots: int
    seed: int

    def only(self) -> "Cell":
        """The run that gives its score: that of zero-shot depends on neither shots nor seed."""
        return self._replace(shots=1, seed=0) if self.method == "zero-shot" else self


def options(cell: Cell, root: Path | None, extra: list[str]) -> list[str]:
    """A cell's command line, but for the configuration files."""
    cache = ["--cache", str(root.resolve())] if root else []
    data = ["--data.shots", str(cell.shots), "--data.seed", str(cell.seed), "--seed_everything", str(cell.seed)]
    steps = ["--trainer.max_epochs", "-1", "--trainer.max_steps", str(STEPS * cell.shots)]
    quick = ["--trainer.limit_val_batches", "0", "--trainer.enable_progress_bar", "false"]
    return [*cache, *data, *steps, *quick, *extra, *METHODS[cell.method]]


def key(cell: Cell, root: Path | None, extra: list[str]) -> str:
    """The cell's name and all that decides its score; of the configuration files a digest of what they say."""
    said = json.dumps([yaml.safe_load(path.read_text()) for path in SETS[cell.set]], sort_keys=True)
    name = f"{cell.set}, {cell.method}, shots {cell.shots}, seed {cell.seed}"
    return f"{name}: {sha256(said.encode()).hexdigest()[:16]} {shlex.join(options(cell, root, extra))}"


def run(cell: Cell, root: Path | None, extra: list[str]) -> Scores:
    """Train and test one cell in a process of its own."""
    files = [argument for path in SETS[cell.set] for argument in ("--config", str(path))]
    metrics, seconds = measure("few-shot", [__file__, "fit", *files, *options(cell, root, extra)])
    if "test/accuracy" not in metrics:
        raise RuntimeError(f"it logged no test/accuracy, but {', '.join(metrics) or 'nothing'}")
    return {"accuracy": metrics["test/accuracy"][-1], "seconds": seconds}


def fit_and_test(arguments: list[str]) -> None:
    """`main.py fit`, and the test of the weights after the last step."""
    from graft.cli import main as graft  # here: a grid itself needs no torch

    done = graft(arguments)
    done.trainer.test(done.model, done.datamodule, verbose=False)


def table(found: dict[Cell, float], given: argparse.Namespace) -> str:
    """A row for each set and method, a column for each number of shots, then the averages over the sets."""
    rows = [["set", "method", *(f"{shots} shot{'s' * (shots > 1)}" for shots in given.shots)]]
    means: dict[tuple[str, int], list[float]] = {}  # of the sets that have all their runs
    for name, method in product(given.sets, given.methods):
        rows.append([name, method])
        for shots in given.shots:
            cells = dict.fromkeys(Cell(name, method, shots, seed).only() for seed in given.seeds)
            scores = [found[cell] for cell in cells if cell in found]
            rows[-1].append(spread(scores, len(cells)))
            if len(scores) == len(cells):
                means.setdefault((method, shots), []).append(statistics.mean(scores))
    for method in given.methods if len(given.sets) > 1 else []:
        complete = [means.get((method, shots), []) for shots in given.shots]
        averages = [[statistics.mean(each)] if len(each) == len(given.sets) else [] for each in complete]
        rows.append(["average", method, *(spread(average, 1) for average in averages)])
    return markdown(*rows)


def report(found: dict[Cell, float], given: argparse.Namespace, extra: list[str]) -> str:
    """The table, what it shows, and the command that makes it."""
    typed = ["--sets", *given.sets, "--shots", *given.shots, "--seeds", *given.seeds, "--methods", *given.methods]
    command = shlex.join(["python", "benchmarks/few_shot.py", *map(str, typed), *extra])
    own = "; ".join(f"{method} `{shlex.join(METHODS[method])}`" for method in given.methods)
    return (
        f"{table(found, given)}\n\nTop-1 accuracy on the test split after the last step, in percent: mean ± standard "
        f"deviation over the seeds {', '.join(map(str, given.seeds))}; zero-shot trains nothing and has one number a "
        f"set. On top of each set's configuration: {own}.\n\n```\n{command}\n```"
    )


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--sets", nargs="+", choices=SETS, required=True)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 4, 16], help="training images of a class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the shots and of the training")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--root", type=Path, help="holds the sets' folders (default: the cache)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/few_shot.json"), help="where the scores are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{RESULTS.name}")
    given, extra = parser.parse_known_args()
    if given.write:
        split(RESULTS, "few-shot")  # before hours of runs, not after them
    grid = product(given.seeds, given.sets, given.shots, given.methods)
    cells = dict.fromkeys(Cell(name, method, shots, seed).only() for seed, name, shots, method in grid)
    keys = {cell: key(cell, given.root, extra) for cell in cells}
    runs = {} if given.table else {keys[cell]: partial(run, cell, given.root, extra) for cell in cells}
    failed = run_missing(given.out, runs)
    kept = read(given.out)
    text = report({cell: kept[key]["accuracy"] for cell, key in keys.items() if key in kept}, given, extra)
    print(text)
    if given.write:
        insert(RESULTS, "few-shot", text)
    if failed:
        raise SystemExit(f"error: {failed} of {len(cells)} cells failed, as said above; the same command tries again.")


if __name__ == "__main__":
    fit_and_test(sys.argv[1:]) if sys.argv[1:2] == ["fit"] else main()
