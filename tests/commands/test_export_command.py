"""The command: every format from a checkpoint alone, tried before it is called done; whole, or not there."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from graft.backbones import build_sam
from graft.commands import export as command
from graft.export import onnx
from graft.export.sam import SamTask
from graft.quiet import hushed
from graft.run import open_run
from tests.commands.test_export import same
from tests.e2e import class_folders, graft, refused

SAM = """
model:
  class_path: graft.modules.SamSegmentation
  init_args: {backbone: tiny, image_size: 64, checkpoint: FOLDER/tiny.pth}
data:
  class_path: graft.data.PolypPhantoms
  init_args: {root: FOLDER/phantoms, train_count: 2, val_count: 2, test_count: 1, height: 40, width: 56, num_workers: 0}
adapt:
  adapter: {class_path: graft.adapters.SerialLoRA, init_args: {rank: 4}}
  where: [image_encoder]
  train: [mask_decoder]
"""
CLIP = """
model:
  class_path: graft.modules.ClipClassification
  init_args: {backbone: tiny, head: linear}
data:
  class_path: graft.data.FolderClassification
  init_args: {root: FOLDER/classes, num_workers: 0}
adapt:
  adapter: {class_path: graft.adapters.LoRA, init_args: {rank: 2}}
  where: [vision_model]
  train: [head]
"""
TRAINER = """
checkpoint: {dirpath: FOLDER/checkpoints, monitor: null}
pictures: {count: 0}
trainer: {accelerator: cpu, devices: 1, max_steps: 2, log_every_n_steps: 1, logger: false, enable_progress_bar: false}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoints of a small run of each task."""
    checkpoints = {}
    for name, config in {"sam": SAM, "clip": CLIP}.items():
        folder = tmp_path_factory.mktemp(name)
        torch.save(build_sam("tiny").state_dict(), folder / "tiny.pth")
        class_folders(folder)
        (folder / "config.yaml").write_text((config + TRAINER).replace("FOLDER", str(folder)))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)  # where a run without a logger leaves its configuration
            graft("fit", "--config", folder / "config.yaml")
        checkpoints[name] = folder / "checkpoints" / "last.ckpt"
    return checkpoints


def export(run: Path, to: str, output: Path, *more: object) -> None:
    graft("export", "--ckpt_path", run, "--to", to, "--output", output, *more)


@torch.no_grad()
def asked(made: dict[str, Any], batch: dict[str, Tensor], run: Path) -> Tensor:
    """Logits of whatever the printed lines have made."""
    if "session" in made:
        names = [each.name for each in made["session"].get_inputs()]
        return torch.from_numpy(made["session"].run(None, {name: batch[name].numpy() for name in names})[0])
    if "module" in made:
        return made["module"](batch)
    task = command.task_of(open_run(run))
    return task.network(made)(*task.inputs(batch).values())


@pytest.mark.parametrize(
    ("kind", "to"),  # SAM as ONNX takes half a minute: see test_export_onnx
    [(kind, to) for kind in ("sam", "clip") for to in command.FORMATS if (kind, to) != ("sam", "onnx")],
)
def test_what_is_printed_answers_as_the_run(
    runs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, to: str
) -> None:
    output = tmp_path / "new folder" / "it's exported"
    export(runs[kind], to, output)
    said, _, lines = capfd.readouterr().out.partition(f"{command.LOADING}\n")
    checked = re.search(r"Checked on 2 images of the val split of \w+: at most (\S+) of the largest logit", said)
    assert checked
    assert float(checked[1]) < 1e-5
    assert [path.name for path in output.parent.iterdir()] == [output.name]

    made: dict[str, Any] = {}
    with hushed("onnxscript"):
        exec(lines, made)
    run = open_run(runs[kind])
    batch = command.task_of(run).random(3)  # another number than was tried, with padding
    with torch.no_grad():
        expected = run.module(batch)
    assert same(asked(made, batch, runs[kind]), expected, 1e-5)


def test_every_format_is_an_option() -> None:
    assert list(command.FORMATS) == list(get_args(get_type_hints(command.export)["to"]))


def test_without_its_data_a_run_is_checked_on_random_images(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = runs["clip"].parents[1] / "classes"
    classes.rename(tmp_path / "gone")
    try:
        export(runs["clip"], "adapter", tmp_path / "adapter")
    finally:
        (tmp_path / "gone").rename(classes)
    assert "Checked on 2 random images, since the run's data cannot be read here (" in capsys.readouterr().out


def test_what_is_there_stays_unless_it_may_be_overwritten(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder, foreign = tmp_path / "file", tmp_path / "folder", tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("three years of work")
    for path, kind, to in ((file, "sam", "native"), (folder, "clip", "native")):
        for _ in range(2):
            export(runs[kind], to, path, "--overwrite=true")
        before = path.stat().st_mtime_ns
        told = refused(capsys, "export", "--ckpt_path", runs[kind], "--to", to, "--output", path)
        assert told == f"{path} exists already: give another --output, or --overwrite true to replace it."
        assert path.stat().st_mtime_ns == before
    told = refused(
        capsys, "export", "--ckpt_path", runs["sam"], "--to=peft", "--output", foreign, "--overwrite", "true"
    )
    assert told.startswith(f"{foreign} is a folder that no export has written (it has no graft.json)")
    assert sorted(path.name for path in tmp_path.rglob("*.*") if path.suffix in (".part", ".old")) == []
    assert (foreign / "thesis.txt").read_text() == "three years of work"


def test_what_answers_otherwise_is_not_kept(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SamTask.state

    def wrong(task: SamTask) -> dict[str, Tensor]:
        return {name: 1.01 * tensor if name.endswith("qkv.weight") else tensor for name, tensor in right(task).items()}

    monkeypatch.setattr(SamTask, "state", wrong)
    told = refused(capsys, "export", "--ckpt_path", runs["sam"], "--to=native", "--output", tmp_path / "sam.pth")
    assert re.search(r"sam.pth is not written: .+ differs .+ by \S+ of the largest logit, on 2 images", told)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_of_the_backbone_are_refused(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = runs["sam"].parents[1] / "tiny.pth"
    state = torch.load(weights)
    torch.save(state | {"image_encoder.pos_embed": state["image_encoder.pos_embed"] + 1}, weights)
    try:
        told = refused(capsys, "export", "--ckpt_path", runs["sam"], "--to=peft", "--output", tmp_path / "peft")
    finally:
        torch.save(state, weights)
    assert told.startswith("This checkpoint was trained on other weights of tiny than those loaded here")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_refused_in_a_sentence(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(to: str, output: Path = tmp_path / "output", run: Path = runs["sam"]) -> str:
        return refused(capsys, "export", "--ckpt_path", run, "--to", to, "--output", output)

    (tmp_path / "file").touch()
    assert "file/below cannot be written (" in told("native", tmp_path / "file" / "below")
    assert told("native", run=tmp_path / "none.ckpt").startswith(f"There is no checkpoint {tmp_path / 'none.ckpt'}")
    monkeypatch.setattr(onnx, "LARGEST", 1000)
    assert "and a file of ONNX holds less than" in told("onnx")
    for library, to in {"peft": "peft", "onnxruntime": "onnx"}.items():
        monkeypatch.setitem(sys.modules, library, None)
        assert told(to) == f"{library} is an extra: run `pip install -e '.[export]'`."
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_says_what_the_formats_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        graft("export", "--help")
    said = " ".join(capsys.readouterr().out.split())
    for to in command.FORMATS:
        assert f"{to}: " in said


WRITER = """
import itertools, pathlib, sys, time
from graft.export.output import CARD
from graft.whole import whole

def write(path, content):
    with path.open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(content)
            time.sleep(0.0005)

root = pathlib.Path(sys.argv[1])
for number in itertools.count():
    content = number.to_bytes(4, "big") * 5000
    with whole(root / "file") as beside:
        write(beside, content)
    with whole(root / "folder") as beside:
        beside.mkdir(exist_ok=True)
        for name in (CARD, "weights"):
            write(beside / name, content)
"""


def test_whatever_kills_it_leaves_no_half(tmp_path: Path) -> None:
    rounds, there = 8, 0
    for number in range(rounds):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        until = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.07 + 0.013 * number)
        assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        whole = [tmp_path / "file", *(tmp_path / "folder").glob("*")]
        kept = [path.read_bytes() for path in whole if path.exists()]
        assert len(kept) in (0, 1, 3) if (tmp_path / "file").exists() else len(kept) in (0, 2)
        for content in kept:
            assert len(content) == 20 * 4 * 5000
            assert content == content[:4] * (20 * 5000)
        there += bool(kept)
        assert len({path.read_bytes() for path in (tmp_path / "folder").glob("*")}) <= 1  # of one writing
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert there > 1  # some were killed when something whole was there
