"""Serial LoRA and LoRA against training the decoder alone: LiteMedSAM at 128 px on Kvasir-SEG, three seeds each.

    python benchmarks/kvasir.py --root DIR [--seeds 0 1 2] [--out benchmarks/kvasir.json]

Runs `python main.py fit` once for each row and seed, one after the other, and prints a table. A run whose score is in
the output file already is not repeated, so an interrupted grid goes on where it stopped.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

from grid import Scores, markdown, measure, read, run_missing

CONFIGS = ["--config", "configs/sam_polyp.yaml", "--config", "configs/embedded/kvasir.yaml"]
ROWS = {
    "no adapter (decoder alone)": ["--adapt.adapter", "null"],
    "Serial LoRA, r = 8": ["--adapt.adapter", "graft.adapters.SerialLoRA", "--adapt.adapter.rank", "8"],
    "LoRA, r = 8, on q, k, v, o": ["--adapt.adapter", "graft.adapters.LoRA", "--adapt.adapter.rank", "8"],
}
SEEDS = (0, 1, 2)


def run(options: list[str], seed: int, root: Path, extra: list[str]) -> Scores:
    """One training run: its scores on all validation images, before and after, and its seconds."""
    seeds = ["--seed_everything", str(seed), "--data.seed", str(seed)]
    command = ["main.py", "fit", *CONFIGS, "--data.root", str(root), *seeds, *options, *extra]
    metrics, seconds = measure("kvasir", command)
    return {"before": metrics["val/dice"][0], "dice": metrics["val/dice"][-1], "seconds": seconds}


def table(results: dict[str, Scores]) -> str:
    """Markdown: mean and range of Dice over the seeds, and the gain over the control, seed by seed."""
    rows = [["method", "Dice, mean", "seeds", "gain over the control"]]
    control = next(iter(ROWS))
    for row in ROWS:
        seeds = [seed for seed in SEEDS if f"{row}/{seed}" in results and f"{control}/{seed}" in results]
        if seeds:
            scores = [results[f"{row}/{seed}"]["dice"] for seed in seeds]
            gains = [score - results[f"{control}/{seed}"]["dice"] for score, seed in zip(scores, seeds, strict=True)]
            each = ", ".join(f"{score:.4f}" for score in scores)
            gain = "-" if row == control else f"{statistics.mean(gains):+.4f} ({min(gains):+.4f} to {max(gains):+.4f})"
            rows.append([row, f"{statistics.mean(scores):.4f}", each, gain])
    return markdown(*rows)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of Kvasir-SEG, with train.txt and val.txt")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/kvasir.json"), help="where the scores are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="which seeds to run")
    arguments, extra = parser.parse_known_args()
    cells = {
        f"{row}/{seed}": partial(run, options, seed, arguments.root, extra)
        for seed in arguments.seeds
        for row, options in ROWS.items()
    }
    failed = run_missing(arguments.out, cells)
    print(table(read(arguments.out)))
    if failed:
        raise SystemExit(f"error: {failed} of {len(cells)} runs failed, as said above; the same command tries again.")


if __name__ == "__main__":
    main()
