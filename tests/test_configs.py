"""Every experiment in configs/ runs, from the first step to the prediction, and says what it does."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from graft.adapters.spec import spec
from tests.e2e import BASE, CONFIGS, graft, prediction_folder, resolved, tiny

UNDER = {"clip_digits.yaml": CONFIGS / "clip_food101.yaml"}
EXPERIMENTS = {
    str(path.relative_to(CONFIGS)): [path] if path.parent == CONFIGS else [UNDER.get(path.name, BASE), path]
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if path.parent.name != "methods"  # test_method_configs.py
}
"""By name, the files of each experiment in the order they are given."""


@pytest.fixture(params=EXPERIMENTS)
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return [arg for path in EXPERIMENTS[request.param] for arg in ("--config", str(path))]


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """What a file says, value by value."""
    if not isinstance(value, dict):
        return {path: value}
    return {key: leaf for name, below in value.items() for key, leaf in leaves(below, (*path, name)).items()}


def same(said: Any, found: Any) -> bool:
    """Whether a list or value is found as it was said; classes in lists gain arguments that were left to default."""
    if isinstance(said, list):
        return isinstance(found, list) and len(said) == len(found) and all(map(same, said, found))
    if isinstance(said, dict):
        return isinstance(found, dict) and all(name in found and same(said[name], found[name]) for name in said)
    return type(said) is type(found) and said == found


def all_that_a_file_says_is_in(config: dict[str, Any], file: Path) -> None:
    for path, said in leaves(yaml.safe_load(file.read_text())).items():
        found = config
        for name in path:
            assert name in found, f"{'.'.join(path)} was dropped"
            found = found[name]
        assert same(said, found), f"{'.'.join(path)} is {found!r}, but the file says {said!r}"


def test_what_a_file_says_is_what_runs(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    all_that_a_file_says_is_in(resolved(capsys, "fit", *files), Path(files[-1]))


ALIKE = {f"clip_{name}.yaml" for name in ("caltech101", "eurosat", "fgvc_aircraft", "food101", "oxford_pets")}
ALIKE |= {f"clip_{name}.yaml" for name in ("stanford_cars", "sun397", "ucf101")}
"""Experiments that differ from clip_dtd.yaml only in their data, of which the sets' own tests ask everything."""


@pytest.mark.parametrize(
    "files",
    [pytest.param(name, marks=pytest.mark.all) if name in ALIKE else name for name in EXPERIMENTS],
    indirect=True,
)
def test_an_experiment_runs_from_fit_to_predict_and_resumes(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = resolved(capsys, "fit", *files)
    small = tiny(config, tmp_path)
    run = graft("fit", *files, *small)
    assert run.trainer.global_step == 2
    checkpoint = Path(str(run.trainer.log_dir)) / "checkpoints" / "last.ckpt"
    assert spec(type(run.model).load_from_checkpoint(checkpoint).model) == spec(run.model.model)
    log = Path(run.trainer.log_dir or "")
    last, saved = log / "checkpoints" / "last.ckpt", ["--config", log / "config.yaml"]
    monitor = config["checkpoint"]["monitor"]
    at_the_end = run.trainer.callback_metrics[monitor]

    validated = graft("validate", *files, *small, "--ckpt_path", last)
    assert torch.equal(validated.trainer.callback_metrics[monitor], at_the_end)

    tested = graft("test", *saved, "--ckpt_path", last)  # the saved configuration is enough
    assert monitor.replace("val/", "test/") in tested.trainer.callback_metrics

    sizes = prediction_folder(tmp_path / "new")
    graft("predict", *saved, "--ckpt_path", last, "--data.predict_root", tmp_path / "new", "--predictions.folder=out")
    {"SamSegmentation": masks_are_there, "ClipClassification": classes_are_there}[type(run.model).__name__](sizes)

    resumed = graft("fit", *saved, "--ckpt_path", last, "--trainer.max_steps=4")
    assert resumed.trainer.global_step == 4
    assert resumed.trainer.fit_loop.epoch_loop.batch_progress.total.completed == 4  # two before, two now


def masks_are_there(sizes: dict[str, tuple[int, int]]) -> None:
    """A mask and an overlay for each image, at its original size."""
    found = {path.name: np.asarray(Image.open(path)) for path in Path("out").iterdir()}
    assert {name: picture.shape for name, picture in found.items()} == {
        **{f"{name}_mask.png": (height, width) for name, (width, height) in sizes.items()},
        **{f"{name}_overlay.png": (height, width, 3) for name, (width, height) in sizes.items()},
    }
    for name in sizes:
        assert set(np.unique(found[f"{name}_mask.png"])) <= {0, 255}


def classes_are_there(sizes: dict[str, tuple[int, int]]) -> None:
    """A row for each image, with a class and its probability."""
    with Path("out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(Path(row["image"]).stem for row in rows) == sorted(sizes)
    assert all(row["class"] and 0 < float(row["probability"]) <= 1 for row in rows)
