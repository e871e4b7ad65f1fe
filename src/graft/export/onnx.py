"""onnx: images in, logits out, for any runtime that reads ONNX."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.adapters import merge
from graft.export.format import Format
from graft.export.task import run
from graft.quiet import hushed

LARGEST = 2**31  # bytes that one file of ONNX holds


class Onnx(Format):
    """One file: the published network with merged weights, which scales the images itself."""

    def write(self, path: Path) -> None:
        for name in ("onnx", "onnxscript", "onnxruntime"):  # all are asked for now: exporting takes a while
            library(name)
        module = self.task.module
        if (size := sum(p.numel() * p.element_size() for p in module.model.parameters())) >= LARGEST:
            raise ValueError(
                f"The weights take {size / 1e9:.1f} GB, and a file of ONNX holds less than {LARGEST / 1e9:.1f}: give "
                "--to native, or train a smaller backbone."
            )
        merge(module.model)
        network = self.task.network(self.task.published()).eval()
        inputs = self.task.inputs(self.task.random(2 if self.task.batched else 1))
        batch = {0: torch.export.Dim("batch")} if self.task.batched else {}
        shapes = tuple(batch for _ in inputs)
        with torch.no_grad(), hushed("onnxscript"):
            # strict: where a network asks for len(x), the looser tracing fixes the number of images
            graph = torch.export.export(
                network, tuple(inputs.values()), dynamic_shapes=shapes, strict=self.task.batched
            )
            program = torch.onnx.export(graph, input_names=[*inputs], output_names=["logits"], verbose=False)
        assert program is not None
        program.model.metadata_props["graft"] = json.dumps(self.task.card())
        program.save(path, external_data=False)

    def lines(self, path: Path) -> str:
        inputs = self.task.inputs(self.task.random(1))
        many = "B" if self.task.batched else "1"
        asked = ", ".join(f'"{name}": {name}' for name in inputs)
        shapes = {name: ", ".join([many, *map(str, value.shape[1:])]) for name, value in inputs.items()}
        kinds = {name: str(value.dtype).removeprefix("torch.") for name, value in inputs.items()}
        said = "; ".join(f"{name} {kinds[name]} ({shape})" for name, shape in shapes.items())
        return (
            f"import onnxruntime\n\nsession = onnxruntime.InferenceSession({str(path)!r})\n"
            f'# (logits,) = session.run(["logits"], {{{asked}}})  # {said}\n'
        )

    def answer(self, path: Path, inputs: dict[str, Tensor]) -> Tensor:
        """Logits of one image after another: the network was traced with two, and takes any number."""
        session = run(self.lines(path))["session"]
        each = zip(*(value.chunk(len(value)) for value in inputs.values()), strict=True)
        names = [*inputs]
        asked = [dict(zip(names, (value.numpy() for value in values), strict=True)) for values in each]
        return torch.cat([torch.from_numpy(session.run(["logits"], image)[0]) for image in asked])


def library(name: str) -> Any:
    """A library of the extra `export`.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} is an extra: run `pip install -e '.[export]'`.") from error
