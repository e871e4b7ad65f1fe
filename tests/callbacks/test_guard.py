"""A loss or a gradient that is no number stops the run before it reaches the weights; a lack of memory is explained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graft.callbacks import Checkpoints, Guard
from graft.data import PolypPhantoms
from graft.modules import SamSegmentation
from tests.modules.small import SIDE, serial, trainer


class Failing(SamSegmentation):
    """Fails at the third step, in a way that is asked for."""

    way = ""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 2 and self.way:
            self.names = batch["path"]
            self.before = {name: p.detach().clone() for name, p in self.named_parameters() if p.requires_grad}
            zero = loss * 0
            if self.way == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return {"nan": loss / zero * zero, "inf": loss / zero, "gradient": loss + zero.sqrt()}[self.way]
        return loss


def fit(folder: Path, way: str, train_count: int = 8, **options: Any) -> None:
    module = Failing("tiny", SIDE, None)
    module.way = way
    data = PolypPhantoms(
        folder, train_count, val_count=2, test_count=1, height=40, width=56, batch_size=2, num_workers=0
    )
    checkpoints = Checkpoints(folder / "kept", save_last=True, every_n_train_steps=1)
    trainer(folder, serial(), Guard(), checkpoints, enable_checkpointing=True, max_epochs=1, **options).fit(
        module, data
    )


@pytest.mark.parametrize("way", ["nan", "inf", "gradient"])
def test_what_is_no_number_never_reaches_the_weights(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Failing] = []
    monkeypatch.setattr(Failing, "on_fit_start", lambda self: built.append(self), raising=False)
    with pytest.raises(FloatingPointError) as error:
        fit(tmp_path, way)
    (module,) = built
    value = "inf" if way == "inf" else "nan"
    what = "gradient" if way == "gradient" else "loss"
    last = tmp_path / "kept" / "last.ckpt"
    assert str(error.value).startswith(f"The {what} is {value} at step 3 (epoch 0), on {', '.join(module.names)}.")
    assert f"{last} is the last good checkpoint" in str(error.value)
    now = dict(module.named_parameters())
    kept = torch.load(last)
    assert kept["global_step"] == 2
    for name, weight in module.before.items():
        assert torch.equal(now[name], weight)
        assert torch.equal(kept["state_dict"][name], weight)


def test_scaled_gradients_may_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scaler of 16-bit gradients finds its scale by skipping such steps."""
    seen: list[str] = []
    monkeypatch.setattr(Guard, "check", lambda self, trainer, what, value: seen.append(what))
    guard, plugin = Guard(), type("Plugin", (), {"scaler": object()})()
    guard.on_before_optimizer_step(type("Trainer", (), {"precision_plugin": plugin})(), None, None)  # type: ignore[arg-type]
    assert not seen


def test_a_lack_of_memory_is_explained_with_numbers(tmp_path: Path) -> None:
    with pytest.raises(MemoryError) as error:
        fit(tmp_path, "memory", accumulate_grad_batches=3)
    assert str(error.value) == (
        "cpu has not enough memory for a batch of 2 at image_size 64. Try, in this order: --data.batch_size 1 with "
        "--trainer.accumulate_grad_batches 6 (the same gradient); --model.gradient_checkpointing true (the same "
        "gradient, for one more forward pass); a smaller backbone."
    )
