"""The command line: what is typed is what runs, and what cannot run is refused in a sentence."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from graft.adapters.spec import spec
from graft.backbones import Sam
from graft.cli import GraftCLI
from graft.commands import COMMANDS
from graft.losses import SegmentationLoss
from graft.modules import SamSegmentation
from tests.e2e import BASE, CONFIGS, adapted, graft, options, prediction_folder, refused, resolved, tiny

FILES = ["--config", str(BASE), "--config", str(CONFIGS / "embedded" / "sam_polyp.yaml")]
UNREACHABLE = "http://127.0.0.1:9"


def small(folder: Path) -> list[str]:
    """The demo, made tiny."""
    classes = {"model": {"class_path": "SamSegmentation", "init_args": {}}, "data": {"class_path": "PolypPhantoms"}}
    return [*FILES, *tiny(classes, folder)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A finished run: its arguments and its last checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GRAFT_CACHE", str(folder / "cache"))
        args = [*small(folder), "--trainer.limit_val_batches=1", "--model.optimizer=AdamW", "--model.optimizer.lr=1e-3"]
        cli = graft("fit", *args)
    return args, folder / str(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working folder and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands build everything, and stop before they run."""
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: None)


def never(*_: object, **__: object) -> Any:
    raise AssertionError("this was not to be called")


# what needs a checkpoint


@pytest.mark.parametrize("command", ["test", "predict"])
def test_without_a_checkpoint_nothing_is_built(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("graft.modules.sam_segmentation.build_sam", never)
    sentence = refused(capsys, command, *small(tmp_path))
    assert f"`{command}` needs --ckpt_path" in sentence
    assert not list(tmp_path.iterdir())


# what is typed


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("args", "method", "rank", "targets"),
    [
        ([], "graft.adapters.serial_lora.SerialLoRA", 8, ["q", "k", "v"]),
        (["--adapt.adapter", "LoRA"], "graft.adapters.lora.LoRA", 8, ["q", "k", "v", "o"]),
        (["--adapt.adapter.rank", "16"], "graft.adapters.serial_lora.SerialLoRA", 16, ["q", "k", "v"]),
        (["--adapt.adapter", "LoRA", "--adapt.adapter.rank=4"], "graft.adapters.lora.LoRA", 4, ["q", "k", "v", "o"]),
    ],
)
def test_an_adapter_is_chosen_by_name_and_option(
    args: list[str], method: str, rank: int, targets: list[str], tmp_path: Path
) -> None:
    model = adapted(graft("fit", *small(tmp_path), *args))
    found = [(entry["method"], entry["options"]["rank"], set(entry["targets"])) for entry in spec(model)]
    assert {(name, number) for name, number, _ in found} == {(method, rank)}
    assert set().union(*(names for *_, names in found)) == set(targets)
    assert {p.shape[0] for name, p in model.named_parameters() if name.endswith("down")} == {rank}
    assert all(name.startswith("image_encoder.") for entry in spec(model) for name in entry["where"])


@pytest.mark.usefixtures("stopped")
def test_no_adapter_trains_the_decoder_alone(tmp_path: Path) -> None:
    model = adapted(graft("fit", *small(tmp_path), "--adapt.adapter", "null"))
    assert spec(model) == []
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"mask_decoder"}


def test_two_lines_of_yaml_make_lora_plus(tmp_path: Path) -> None:
    overlay = tmp_path / "plus.yaml"
    overlay.write_text("adapt:\n  rules: [{class_path: graft.rules.LoRAPlus}]\n")
    args = ["--config", str(overlay), "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    cli = graft("fit", *small(tmp_path), *args)
    groups = {group["name"]: group for group in cli.trainer.optimizers[0].param_groups}
    model = cli.model.model
    ups = {id(p) for name, p in model.named_parameters() if name.endswith("adapter.up")}
    assert {id(p) for p in groups["matrices_up"]["params"]} == ups
    assert groups["matrices_up"]["initial_lr"] == pytest.approx(16 * groups["matrices"]["initial_lr"])


@pytest.mark.usefixtures("stopped")
def test_a_printed_configuration_is_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = resolved(capsys, "fit", *small(tmp_path))
    file = tmp_path / "printed.yaml"
    file.write_text(json.dumps(printed))  # JSON is YAML
    assert resolved(capsys, "fit", "--config", file) == printed
    assert spec(adapted(graft("fit", "--config", file)))


def test_help_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        graft("--help")
    assert exit_.value.code == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    listed = [line for line in lines if line and line[0] in {*GraftCLI.subcommands(), *COMMANDS}]
    assert [name for name, what in listed if len(what) > 10] == ["fit", "validate", "test", "predict", *COMMANDS]


def test_help_explains_the_adapters_options(capsys: pytest.CaptureFixture[str]) -> None:
    for args, words in (
        (["--help"], ["--adapt.adapter", "graft.adapters.SerialLoRA", "Projections to adapt, of q, k, v, o, fc1, fc2"]),
        (["--adapt.adapter.help", "SerialLoRA"], ["--adapt.adapter.rank", "Rank r of the pair", "alpha / rank"]),
    ):
        with pytest.raises(SystemExit) as exit_:
            graft("fit", *args)
        assert exit_.value.code == 0
        said = " ".join(capsys.readouterr().out.split())
        assert [word for word in words if word not in said] == []


@pytest.mark.usefixtures("stopped")
def test_the_cache_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    args = [arg for arg in small(tmp_path) if not arg.startswith("--data.root")]
    cli = graft("fit", *args, f"--cache={tmp_path / 'mine'}")
    assert os.environ["GRAFT_CACHE"] == str(tmp_path / "mine")
    cli.datamodule.prepare_data()
    (folder,) = (path for path in (tmp_path / "mine").iterdir() if path.is_dir())
    assert len(list((folder / "images").iterdir())) == 9
    assert not (tmp_path / "cache").exists()


# resuming


def test_what_is_typed_wins_over_the_checkpoint(run: tuple[list[str], Path]) -> None:
    args, last = run
    typed = ["--model.dice_weight=0.25", "--model.warmup=0.75", "--trainer.max_steps=4", "--seed_everything=3"]
    cli = graft("fit", *args, *typed, "--ckpt_path", last)
    assert cli.trainer.global_step == 4
    assert isinstance(cli.model, SamSegmentation)
    assert cli.model.loss.dice_weight == 0.25
    assert cli.model.warmup == 0.75


def test_a_typed_learning_rate_wins_over_the_checkpoint(run: tuple[list[str], Path]) -> None:
    args, last = run
    cli = graft(
        "fit", *args, "--model.optimizer.lr=0.5", "--model.warmup=0", "--trainer.max_steps=4", "--ckpt_path", last
    )
    assert {group["initial_lr"] for group in cli.trainer.optimizers[0].param_groups} == {0.5}


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_a_run_stopped_inside_an_epoch_goes_on(tmp_path: Path) -> None:
    args = [*small(tmp_path), "--trainer.max_epochs=2"]
    first = graft("fit", *args, "--trainer.max_steps=1", "--trainer.val_check_interval=1")
    last = Path(str(first.trainer.log_dir)) / "checkpoints" / "last.ckpt"
    assert graft("fit", *args, "--trainer.max_steps=3", f"--ckpt_path={last}").trainer.global_step == 3


def test_bars_and_loggers_can_be_switched_off(tmp_path: Path) -> None:
    off = ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]
    assert graft("fit", *small(tmp_path), *off).trainer.global_step == 2


def test_a_schedule_without_an_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endless = ["--trainer.max_steps=-1", "--trainer.max_epochs=-1"]
    assert "The default schedule needs an end" in refused(capsys, "fit", *small(tmp_path), *endless)


@pytest.mark.parametrize(("hardware", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bf16_is_used_where_the_hardware_has_it(
    hardware: bool, precision: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or hardware)
    assert resolved(capsys, "fit", *FILES)["trainer"]["precision"] == precision


# predicting


def test_boxes_of_a_table_prompt_the_prediction(
    run: tuple[list[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, last = run
    seen: list[Tensor] = []
    decode = Sam.decode

    def spy(self: Sam, embedding: Tensor, boxes: Tensor | None = None, points: Tensor | None = None) -> Tensor:
        assert boxes is not None
        assert points is None
        seen.append(boxes)
        return decode(self, embedding, boxes, points)

    monkeypatch.setattr(Sam, "decode", spy)
    sizes = prediction_folder(tmp_path / "new")
    where = [f"--data.predict_root={tmp_path / 'new'}", f"--predictions.folder={tmp_path / 'out'}"]
    graft("predict", *args, "--model.prompt=box", *where, "--ckpt_path", last)
    # 33 x 70 pixels become 30 x 64, and 100 x 50 become 64 x 32
    tall = [3 * 30 / 33, 7 * 64 / 70, 30 * 30 / 33, 60 * 64 / 70]
    wide = [10 * 64 / 100, 20 * 32 / 50, 64, 32]
    assert torch.allclose(seen[-1], torch.tensor([tall, wide]))
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(sizes)


# refusals


def test_a_part_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'nonsense'" in refused(capsys, "fit", *small(tmp_path), "--adapt.where=[nonsense]")


def test_a_failing_library_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentationLoss, "__call__", lambda *_: json.loads("{"))
    with pytest.raises(json.JSONDecodeError):
        graft("fit", *small(tmp_path))


def test_a_bug_in_graft_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python or torch raises while a line of Graft's runs is no sentence of Graft's."""
    monkeypatch.setattr("graft.losses.binary", None)
    with pytest.raises(TypeError):
        graft("fit", *small(tmp_path))


def test_missing_weights_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("graft.backbones.weights.SITE", UNREACHABLE)
    monkeypatch.setattr("graft.download.ATTEMPTS", 1)
    said = refused(capsys, "fit", *small(tmp_path), "--model.backbone=vit_b")
    place = tmp_path / "cache" / "sam" / "sam_vit_b_01ec64.pth"
    assert [word for word in (f"{UNREACHABLE}/sam_vit_b_01ec64.pth", str(place), "make demo") if word not in said] == []


def test_a_missing_data_set_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("graft.data.segmentation.kvasir_seg.URL", f"{UNREACHABLE}/kvasir-seg.zip")
    monkeypatch.setattr("graft.download.ATTEMPTS", 1)
    shrink = ["--model.backbone=tiny", "--model.image_size=64", *options("trainer", {"accelerator": "cpu"})]
    said = refused(capsys, "fit", "--config", BASE, *shrink)
    place = tmp_path / "cache" / "Kvasir-SEG"
    words = (f"{UNREACHABLE}/kvasir-seg.zip", str(place / "images"), str(place / "masks"), "make demo")
    assert [word for word in words if word not in said] == []


def test_a_slurm_job_keeps_its_checkpoints_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning goes on from what it finds there: another job's would be the wrong ones."""
    slurm = {"NTASKS": "1", "JOB_NAME": "polyps", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    cli = graft("fit", *small(tmp_path), "--trainer.max_steps=1")
    assert cli.trainer.default_root_dir == "lightning_logs/slurm-7"


def test_ctrl_c_is_answered_with_the_command_that_goes_on(tmp_path: Path) -> None:
    """As a user does it: the command line, a signal, and the command that was printed."""
    main = [sys.executable, str(CONFIGS.parent / "main.py")]
    arguments = [*main, "fit", *small(tmp_path), "--trainer.max_steps=100000", "--trainer.callbacks=tests.e2e.Begun"]
    with subprocess.Popen(
        arguments, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(CONFIGS.parent)}
    ) as run:
        while not Path("begun").exists() and run.poll() is None:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1].decode().strip().splitlines()
    assert run.returncode == 130, said
    step = int(re.fullmatch(r"Stopped after step (\d+) and saved. To go on:", said[-2])[1])  # type: ignore[index]
    command = shlex.split(said[-1])
    assert command[:2] == main
    cli = graft(*command[2:], f"--trainer.max_steps={step + 2}")
    assert cli.trainer.global_step == step + 2


@pytest.mark.parametrize(
    ("fails", "said"),
    [(False, "The loss is nan at step 1 (epoch 0), on "), (True, "cpu has not enough memory for a batch of 2")],
)
def test_a_run_that_cannot_go_on_says_why(
    fails: bool, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: SamSegmentation, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if fails:
            raise torch.OutOfMemoryError
        return self(batch).sum() * float("nan")

    monkeypatch.setattr(SamSegmentation, "training_step", step)
    assert refused(capsys, "fit", *small(tmp_path)).startswith(said)
