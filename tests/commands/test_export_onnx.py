"""What onnxruntime says of an exported model is what the trained one says, for any number of images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graft.adapters import SerialLoRA, inject
from graft.export.onnx import Onnx
from graft.export.sam import SamTask
from graft.modules import SamSegmentation
from tests.adapters.networks import shake
from tests.commands.test_export import same

onnxruntime = pytest.importorskip("onnxruntime")


def exported(task: SamTask, path: Path) -> tuple[Any, Tensor, dict[str, Tensor]]:
    """The session that the printed lines make, what the trained module says of three images, and these."""
    batch = task.random(3)
    with torch.no_grad():
        expected = task.module(batch)
    Onnx(task).write(path)
    made: dict[str, Any] = {}
    exec(Onnx(task).lines(path), made)
    return made["session"], expected, task.inputs(batch)


def says(session: Any, inputs: dict[str, Tensor]) -> Tensor:
    return torch.from_numpy(session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0])


@pytest.mark.parametrize("prompt", ["none", pytest.param("point", marks=pytest.mark.all)])
def test_onnxruntime_says_what_was_trained(tmp_path: Path, prompt: str) -> None:
    module = SamSegmentation("tiny", 64, prompt=prompt, num_classes=2).eval()
    inject(module.model, SerialLoRA(rank=2), where=["image_encoder"])
    shake(module.model)
    session, expected, inputs = exported(SamTask(module), tmp_path / "sam.onnx")
    assert '"num_classes": 2' in session.get_modelmeta().custom_metadata_map["graft"]
    assert [each.name for each in session.get_inputs()] == ["image", "size"] + ["point"] * (prompt == "point")
    if prompt == "none":
        assert same(says(session, inputs), expected, 1e-5)
        assert same(says(session, {name: value[:1] for name, value in inputs.items()}), expected[:1], 1e-5)
    else:
        for number in range(3):
            one = {name: value[number : number + 1] for name, value in inputs.items()}
            assert same(says(session, one), expected[number : number + 1], 1e-5)
