"""All methods on one real task at equal steps: LiteMedSAM at 128 px on Kvasir-SEG, each at three learning rates.

    python benchmarks/methods.py --root DIR [--methods lora dora] [--rates 0.3 1 3] [--table] [--write]
    python benchmarks/methods.py fit --config FILE ...                              # one cell: fit, then what it costs

A method is its file in configs/methods; of its recipe everything holds but learning rate and schedule: 1e-3 times each
of the rates for all that is trained, with a linear warm-up and a cosine. Cells that the output file holds are not run
again. Beside Dice stand, for each method: its adapters' parameters and bytes in a file, the time of a training step in
units of the same step with nothing adapted and a gradient through the whole network, and the process's peak memory.
"""

import argparse
import shlex
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from grid import Scores, insert, markdown, measure, read, run_missing, split

CONFIGS = Path(__file__).parents[1] / "configs"
METHODS = sorted(path.stem for path in (CONFIGS / "methods").glob("*.yaml"))
RESULTS, PLOT = CONFIGS.parent / "docs" / "results.md", CONFIGS.parent / "docs" / "images" / "methods.png"
RATE, STEPS, PAIRS = 1e-3, 60, 5


def run(method: str, rate: float, root: Path, extra: list[str]) -> Scores:
    """Train one cell in a process of its own."""
    files = ["sam_polyp.yaml", "embedded/kvasir.yaml", f"methods/{method}.yaml"]
    options = [argument for name in files for argument in ("--config", str(CONFIGS / name))]
    options += ["--data.root", str(root), "--pictures.count", "0", "--model.lr_scheduler", "null"]
    options += ["--model.warmup", "0.1", "--model.optimizer.lr", str(RATE * rate), "--trainer.max_steps", str(STEPS)]
    options += ["--trainer.val_check_interval", str(STEPS), "--trainer.enable_progress_bar", "false"]
    metrics, seconds = measure("methods", [__file__, "fit", *options, *extra])
    cost = {name.removeprefix("cost/"): values[-1] for name, values in metrics.items() if name.startswith("cost/")}
    return {"dice": metrics["val/dice"][-1], "seconds": seconds, **cost}


def fit_and_cost(arguments: list[str]) -> None:
    """`main.py fit`, then the cost of what it trained, in the same log."""
    from safetensors.torch import save  # here and below: a grid itself needs no torch

    from graft.adapters.files import trained
    from graft.callbacks import Baseline
    from graft.callbacks.meters import peak_gb
    from graft.cli import main as graft

    del Baseline.on_train_start  # the untouched model is the same whatever the method
    done: Any = graft(arguments)
    held = {name: tensor for name, tensor in trained(done.model.model).items() if ".adapter." in name}
    parameters = [p.numel() for name, p in done.model.model.named_parameters() if ".adapter." in name]
    cost: dict[str, float] = {
        "parameters": sum(parameters),
        "bytes": len(save({k: v.detach() for k, v in held.items()})),
    }
    cost["peak_gb"] = peak_gb(done.model.device)
    done.trainer.logger.log_metrics({f"cost/{k}": v for k, v in {**cost, "ratio": step_ratio(done)}.items()})
    done.trainer.logger.save()


def step_ratio(done: Any) -> float:
    """Time of a forward and backward pass over that of the floor, in turn, the median of some pairs."""
    from graft.modules import SamSegmentation

    floor: Any = SamSegmentation(done.model.backbone, image_size=done.model.image_size)
    floor.model.requires_grad_(False).eval().mask_decoder.requires_grad_(True)
    floor.model.image_encoder.patch_embed.register_forward_hook(lambda *passed: passed[2].detach().requires_grad_())
    batch = next(iter(done.datamodule.train_dataloader()))
    ratios = []
    for _ in range(PAIRS + 1):
        seconds = []
        for module in (done.model, floor):
            module.log = lambda *_, **__: None
            start = time.perf_counter()
            module.training_step(batch, 0).backward()
            seconds.append(time.perf_counter() - start)
            module.zero_grad()
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])  # the first pair warms up


def best(found: dict[str, Scores], method: str, rates: list[float]) -> Scores:
    """The cell of the rate with the highest Dice."""
    return max((found[f"{method}: {rate:g}"] for rate in rates), key=lambda cell: cell["dice"])


def table(found: dict[str, Scores], methods: list[str], rates: list[float]) -> str:
    """A row for each method that has all its cells, the best first."""
    columns = [f"lr x {rate:g}" for rate in rates]
    rows = [["method", "best Dice", *columns, "parameters", "file, kB", "step : floor", "peak, GB"]]
    for method in sorted(methods, key=lambda method: -best(found, method, rates)["dice"]):
        cell = best(found, method, rates)
        each = [f"{found[f'{method}: {rate:g}']['dice']:.3f}" for rate in rates]
        cost = [f"{cell['parameters']:,.0f}", f"{cell['bytes'] / 1e3:,.0f}", f"{cell['ratio']:.2f}"]
        rows.append([method, f"{cell['dice']:.3f}", *each, *cost, f"{cell['peak_gb']:.2f}"])
    return markdown(*rows)


def plot(found: dict[str, Scores], methods: list[str], rates: list[float]) -> None:
    """Dice against parameters, on a logarithmic scale."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for method in methods:
        cell = best(found, method, rates)
        axes.scatter(cell["parameters"], cell["dice"], color="#c0392b" if "serial" in method else "#34495e")
        axes.annotate(method, (cell["parameters"], cell["dice"]), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlabel="trained parameters of the adapters", ylabel="Dice, best of the learning rates")
    axes.grid(alpha=0.3)
    figure.savefig(PLOT, dpi=150)


def main() -> None:
    """Run what is missing, then print the table of what is complete."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--root", type=Path, required=True, help="folder of Kvasir-SEG, with train.txt and val.txt")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.3, 1.0, 3.0], help=f"in units of {RATE:g}")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/methods.json"), help="where the scores are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--write", action="store_true", help=f"put table and plot into docs/{RESULTS.name}")
    given, extra = parser.parse_known_args()
    if given.write:
        split(RESULTS, "methods")  # before hours of runs, not after them
    cells = {f"{m}: {rate:g}": partial(run, m, rate, given.root, extra) for rate in given.rates for m in given.methods}
    failed = 0 if given.table else run_missing(given.out, cells)
    found = read(given.out)
    whole = [method for method in given.methods if all(f"{method}: {rate:g}" in found for rate in given.rates)]
    command = shlex.join(["python", "benchmarks/methods.py", "--root", "DIR", "--methods", *whole, *extra])
    text = f"{table(found, whole, given.rates)}\n\n```\n{command}\n```"
    print(text)
    if given.write:
        plot(found, whole, given.rates)
        insert(RESULTS, "methods", f"![Dice against trained parameters](images/{PLOT.name})\n\n{text}")
    if failed:
        raise SystemExit(f"error: {failed} of {len(cells)} cells failed, as said above; the same command tries again.")


if __name__ == "__main__":
    fit_and_cost(sys.argv[1:]) if sys.argv[1:2] == ["fit"] else main()
