"""Signals are answered between two batches: the run saves, says how to go on, and leaves; or is queued again."""

import os
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from graft.callbacks import Checkpoints
from tests.callbacks.diary import Diary, run

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Disturb(Callback):
    """Sends this process a signal in the middle of an optimizer step, or of a validation."""

    def __init__(self, number: int, step: int = 3, times: int = 1, validation: bool = False) -> None:
        self.number, self.step, self.times, self.validation = number, step, times, validation

    def send(self) -> None:
        for _ in range(self.times):
            os.kill(os.getpid(), self.number)

    def on_before_optimizer_step(self, trainer: Any, *_: Any) -> None:
        if not self.validation and trainer.global_step == self.step - 1:
            self.send()

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        if self.validation and trainer.global_step == self.step:
            self.send()


@pytest.fixture(autouse=True)
def handlers_are_given_back() -> Any:
    before = [signal.getsignal(number) for number in (*CODES, signal.SIGUSR1)]
    yield
    assert [signal.getsignal(number) for number in (*CODES, signal.SIGUSR1)] == before


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Diary, dict[str, torch.Tensor]]:
    """The run that is not disturbed: two epochs of four steps."""
    diary = Diary()
    return diary, run(tmp_path, diary)


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", save_last=True, save_on_train_epoch_end=False)


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(("step", "validation"), [(3, False), (4, True), (4, False)])
def test_a_stopped_run_goes_on_exactly(
    number: int,
    step: int,
    validation: bool,
    whole: tuple[Diary, dict[str, torch.Tensor]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["main.py", "fit", "--config", "my polyps.yaml", "--ckpt_path", "old.ckpt"])
    begun, ended = Diary(), Diary()
    disturb = Disturb(number, step, validation=validation)
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path, begun, callbacks=[checkpoints(tmp_path), disturb])
    assert exit_.value.code == CODES[signal.Signals(number)]
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-2] == f"Stopped after step {step} and saved. To go on:"
    last = Path(shlex.split(said[-1])[-1])
    command = ["main.py", "fit", "--config", "my polyps.yaml", "--ckpt_path", "checkpoints/last.ckpt"]
    assert shlex.split(said[-1])[1:] == command
    weights = run(tmp_path, ended, last)
    assert begun.entries + ended.entries == whole[0].entries
    assert all(torch.equal(weights[name], weight) for name, weight in whole[1].items())


def test_another_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    diary = Diary()
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path, diary, callbacks=[checkpoints(tmp_path), Disturb(signal.SIGINT, times=2)])
    assert exit_.value.code == 1  # Lightning's for an interruption
    assert [entry[3] for entry in diary.entries] == [1, 2]
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("step", [3, 4])
def test_a_preempted_job_is_saved_and_queued_again(
    step: int, whole: tuple[Diary, dict[str, torch.Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = {"NTASKS": "1", "JOB_NAME": "polyps", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/queue"\n')
    (tools / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    begun, ended = Diary(), Diary()
    run(tmp_path, begun, callbacks=[checkpoints(tmp_path), Disturb(signal.SIGUSR1, step)])
    assert begun.entries == whole[0].entries  # it runs on until it is killed
    assert (tmp_path / "queue").read_text() == "requeue 7\n"
    weights = run(tmp_path, ended)  # Lightning finds the checkpoint of its job by itself
    assert (
        ended.entries
        == [entry for entry in whole[0].entries if entry[3] > step or entry[0] == "validation"][-len(ended.entries) :]
    )
    assert ended.entries[0][:4] in {("validation", 0, 4, 3), ("batch", 0, 3, 4)}
    assert all(torch.equal(weights[name], weight) for name, weight in whole[1].items())


def test_the_last_checkpoint_is_the_end(tmp_path: Path) -> None:
    run(tmp_path, Diary(), callbacks=[checkpoints(tmp_path)], max_steps=6, max_epochs=-1)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6
