"""Kill training runs with SIGKILL at random moments, go on from what they left, and look for the smallest difference.

    python benchmarks/kills.py --kills 50

One run is left alone: the reference, of which every checkpoint is kept. Then the same run is started again and again,
killed after a random time, and started from its last checkpoint, until it ends; then from the beginning, until there
were enough kills. After each kill every file by a checkpoint's name must load, and be the reference's after the same
batch, bit for bit: weights, optimizer, schedule, random states, position. So must the last of a run that ended.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from graft.checkpoint_io import WholeFiles

ROOT = Path(__file__).parents[1]


class Moment(Callback):
    """Writes what a run is doing into a file, for whoever kills it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.path.write_text("training")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.path.write_text("between steps")

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        self.path.write_text("validation")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.path.write_text("between steps")


def command(folder: Path, name: str, steps: int, ckpt_path: Path | None) -> list[str]:
    """A small run with everything that could go wrong: dropout, augmentation, workers, accumulation, LoRA+."""
    configs = [f"--config={ROOT / 'configs' / part}" for part in ("sam_polyp.yaml", "embedded/sam_polyp.yaml")]
    model = ["--model.backbone=tiny", "--model.image_size=64"]
    data = [f"--data.root={folder / 'phantoms'}", "--data.train_count=38", "--data.val_count=6", "--data.batch_size=4"]
    data += ["--data.height=40", "--data.width=56", "--data.num_workers=1"]
    adapt = ["--adapt.adapter=LoRA", "--adapt.adapter.dropout=0.2", "--adapt.rules=[{class_path: LoRAPlus}]"]
    trainer = ["--trainer.accumulate_grad_batches=2", "--trainer.max_epochs=-1", f"--trainer.max_steps={steps}"]
    trainer += ["--trainer.val_check_interval=7", "--trainer.check_val_every_n_epoch=null", "--trainer.accelerator=cpu"]
    trainer += ["--trainer.callbacks=benchmarks.kills.Moment", f"--trainer.callbacks.path={folder / 'moment'}"]
    trainer += ["--trainer.logger.save_dir", str(folder), "--trainer.enable_progress_bar=false", "--pictures.count=0"]
    kept = [f"--checkpoint.dirpath={folder / name}", "--checkpoint.every_n_train_steps=1"]
    kept += ["--checkpoint.save_top_k=-1", "--checkpoint.monitor=null"] if name == "reference" else []
    more = [] if ckpt_path is None else [f"--ckpt_path={ckpt_path}"]
    return [sys.executable, "main.py", "fit", *configs, *model, *data, *adapt, *trainer, *kept, *more]


def difference(one: Any, other: Any, name: str = "") -> str:
    """The name of the first value that is not the same in both, bit for bit; nothing where there is none."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next(filter(None, (difference(one[key], other[key], f"{name}/{key}") for key in one)), "")
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(*pair, f"{name}/{k}") for k, pair in pairs)), "")
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return "" if torch.equal(one, other) else name
    return "" if one == other else name


def state(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds but for paths, scores and the configuration."""
    checkpoint = WholeFiles().load_checkpoint(path)
    kept = ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "exact_resume", "graft")
    position = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return {name: checkpoint[name] for name in kept} | {"position": position}


def batches(checkpoint: dict[str, Any]) -> int:
    """How many batches were trained before a checkpoint."""
    return int(checkpoint["position"]["total"]["ready"])


def start(folder: Path, name: str, steps: int, ckpt_path: Path | None = None) -> "subprocess.Popen[bytes]":
    """Begin a run, or go on with it."""
    log = (folder / "output.txt").open("ab")
    (folder / "moment").write_text("start-up")
    return subprocess.Popen(command(folder, name, steps, ckpt_path), cwd=ROOT, stdout=log, stderr=log)


def wait_for_writing(process: "subprocess.Popen[bytes]", kept: Path) -> None:
    """Return when a checkpoint is being written, or the run has ended."""
    while process.poll() is None:
        if any(kept.glob("*.part")):
            return


def campaign(folder: Path, kills: int, steps: int, seed: int) -> Counter[str]:
    """Kill and go on, as often as asked; what was seen, counted.

    Raises:
        SystemExit: A run failed, a checkpoint does not load, or differs from the reference's.
    """
    since = time.perf_counter()
    if start(folder, "reference", steps).wait():
        raise SystemExit(f"the reference failed:\n{(folder / 'output.txt').read_text()}")
    seconds = time.perf_counter() - since
    reference = {batches(state(path)): path for path in (folder / "reference").glob("best-*.ckpt")}
    seen: Counter[str] = Counter({"checkpoints of the reference": len(reference)})
    draw, last = random.Random(seed), folder / "killed" / "last.ckpt"
    while seen["kills"] < kills:
        process = start(folder, "killed", steps, last if last.exists() else None)
        try:
            code = process.wait(draw.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            if seen["kills"] % 5 == 4:  # a moment of milliseconds, which chance alone would seldom hit
                wait_for_writing(process, last.parent)
            process.send_signal(signal.SIGKILL)
            process.wait()
            moment = "writing" if any(last.parent.glob("*.part")) else (folder / "moment").read_text()
            seen.update(["kills", f"  killed in {moment or 'between steps'}"])
        else:
            if code:
                raise SystemExit(f"a resumed run failed:\n{(folder / 'output.txt').read_text()[-5000:]}")
            seen.update(["runs that reached their end"])
        for path in last.parent.glob("*.ckpt"):
            left = state(path)
            if batches(left) not in reference:  # saved after a validation amid an accumulation: what follows will show
                seen.update(["checkpoints with no counterpart in the reference"])
                continue
            if name := difference(state(reference[batches(left)]), left):
                raise SystemExit(f"{path} differs from {reference[batches(left)]} in {name}")
            seen.update(["checkpoints compared"])
        for path in last.parent.glob("*.part"):
            path.unlink()
        if process.returncode == 0:
            shutil.rmtree(last.parent)
    seen["differences"] = 0
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of a run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))  # which stays where something was wrong
    seen = campaign(folder, given.kills, given.steps, given.seed)
    shutil.rmtree(folder)
    for name, count in seen.items():
        print(f"{name:<50} {count:>5}")


if __name__ == "__main__":
    main()
