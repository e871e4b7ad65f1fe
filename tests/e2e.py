"""Runs of the whole command line, made small: a tiny backbone, generated data, a few steps on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from PIL import Image

from graft.callbacks import Adapt
from graft.cli import GraftCLI, main
from graft.data.segmentation.phantom import phantom
from tests.layouts import LAYOUTS
from tests.layouts import draw as draw_class

CONFIGS = Path(__file__).parents[1] / "configs"
BASE = CONFIGS / "sam_polyp.yaml"

COUNTS = {"train": 4, "val": 3, "test": 2}
HEIGHT, WIDTH = 40, 56

TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": -1,
    "max_steps": 2,
    "accumulate_grad_batches": 1,
    "val_check_interval": 2,
    "check_val_every_n_epoch": "null",
    "log_every_n_steps": 1,
}


def graft(*args: object) -> GraftCLI:
    """Run a command in this process."""
    return main([str(arg) for arg in args])


def options(prefix: str, values: dict[str, Any]) -> list[str]:
    """Values as command-line arguments."""
    return [f"--{prefix}.{name}={value}" for name, value in values.items()]


def tiny(config: dict[str, Any], folder: Path, steps: int = 4) -> list[str]:
    """Arguments that make any experiment small: for its class of model, its class of data, and its trainer.

    Args:
        config: The experiment's resolved configuration.
        folder: Where its data are generated.
        steps: Steps that a schedule must last.
    """
    model, data = (config[part]["class_path"].rsplit(".", 1)[-1] for part in ("model", "data"))
    args = [*MODELS[model], *DATA[data](folder), "--data.batch_size=2", "--data.num_workers=0", "--pictures.count=1"]
    if "total_steps" in ((config["model"]["init_args"].get("lr_scheduler") or {}).get("init_args") or {}):
        args.append(f"--model.lr_scheduler.init_args.total_steps={steps}")
    return [*args, *options("trainer", TRAINER)]


def draw(root: Path, images: str, masks: str, suffix: str) -> Path:
    """Phantoms of a set's own layout, with lists that say how it is split."""
    (root / images).mkdir(parents=True)
    (root / masks).mkdir()
    for split, count in COUNTS.items():
        names = [f"{split}{index}" for index in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names))
        for index, name in enumerate(names):
            image, mask = phantom(np.random.default_rng((len(split), index)), HEIGHT, WIDTH)
            Image.fromarray(image).save(root / images / f"{name}{suffix}")
            Image.fromarray(mask).save(root / masks / f"{name}{suffix}")
    return root


def kvasir(folder: Path) -> list[str]:
    return [f"--data.root={draw(folder / 'Kvasir-SEG', 'images', 'masks', '.jpg')}"]


def cvc(folder: Path) -> list[str]:
    return [f"--data.root={draw(folder / 'CVC-ClinicDB', 'Original', 'Ground Truth', '.tif')}"]


def own_folder(folder: Path) -> list[str]:
    return [f"--data.root={draw(folder / 'mine', 'images', 'masks', '.png')}"]


def phantoms(folder: Path) -> list[str]:
    counts = {f"{split}_count": count for split, count in COUNTS.items()}
    return options("data", {"root": folder / "phantoms", "height": HEIGHT, "width": WIDTH, **counts})


def class_folders(folder: Path) -> list[str]:
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        for label, name in enumerate(("red", "green", "dark_blue")):
            for number in range(count):
                draw_class(folder / "classes" / split / name / f"{name}{number}.jpg", label)
    return [f"--data.root={folder / 'classes'}"]


def digits(folder: Path) -> list[str]:
    return [f"--data.root={folder / 'digits'}"]


def published(name: str) -> Callable[[Path], list[str]]:
    """The data of a published classification set, in small."""

    def make(folder: Path) -> list[str]:
        LAYOUTS[name](folder / name)
        return [f"--data.root={folder / name}", "--data.shots=2"]

    return make


MODELS = {
    "SamSegmentation": ["--model.backbone=tiny", "--model.image_size=64"],
    "ClipClassification": ["--model.backbone=tiny"],
}
DATA: dict[str, Callable[[Path], list[str]]] = {
    "KvasirSEG": kvasir,
    "CVCClinicDB": cvc,
    "FolderSegmentation": own_folder,
    "PolypPhantoms": phantoms,
    "FolderClassification": class_folders,
    "Digits": digits,
    **{name: published(name) for name in LAYOUTS},
}


def prediction_folder(folder: Path) -> dict[str, tuple[int, int]]:
    """Images of different sizes, with a box and a point for each. Returns each name's width and height."""
    sizes = {"wide": (100, 50), "tall": (33, 70)}
    folder.mkdir()
    for name, (width, height) in sizes.items():
        image, _ = phantom(np.random.default_rng(width), height, width)
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "prompts.csv").write_text(
        "image,x0,y0,x1,y1,x,y\nwide.png,10,20,100,50,50,25\ntall.png,3,7,30,60,11,35\n"
    )
    return sizes


class Begun(Callback):
    """Leaves a file where others can see that the training goes on."""

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        Path("begun").touch()


def resolved(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    """The configuration that a command would run, as `--print_config` says."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        graft(*args, "--print_config")
    assert exit_.value.code == 0
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one sentence in which a command ends."""
    with pytest.raises(SystemExit) as exit_:
        graft(*args)
    assert exit_.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert lines[-1:] == errors, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0].removeprefix("error: ")


def adapted(cli: GraftCLI) -> torch.nn.Module:
    """The backbone of a command that was stopped before it ran, adapted as it would have been."""
    (adapt,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, Adapt))
    adapt.setup(cli.trainer, cli.model, "fit")
    model = cli.model.model
    assert isinstance(model, torch.nn.Module)
    return model
