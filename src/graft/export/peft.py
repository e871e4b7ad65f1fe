"""peft: what the adapters add to the weights as pairs of LoRA (or of DoRA), in a folder that PEFT reads.

Other trained parts, and whatever else differs from the published weights, are a second file, trained.safetensors.
"""

from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from graft.adapters.spec import spec
from graft.export.format import Format
from graft.export.output import write_card
from graft.export.pairs import Pair, moved_biases, pairs
from graft.export.task import TRAINED

LEAVES = {"down": "lora_A.weight", "up": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
"""What PEFT calls the parts of a pair, in its file."""


class Peft(Format):
    """A folder with adapter_config.json and adapter_model.safetensors."""

    def write(self, path: Path) -> None:
        try:
            from peft import LoraConfig
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("peft is an extra: run `pip install -e '.[export]'`.") from error
        model = self.task.module.model
        if not spec(model):
            raise ValueError("This run trained no adapter, so there is nothing for PEFT: give --to native or adapter.")
        found, dtype = pairs(model), next(model.parameters()).dtype
        ranks = {name: len(pair.down) for name, pair in found.items()}
        rank = Counter(ranks.values()).most_common(1)[0][0]
        others = {name: each for name, each in ranks.items() if each != rank}
        path.mkdir()
        base = self.task.write_base(path)
        config = LoraConfig(
            r=rank,
            lora_alpha=rank,  # the ups hold the scale
            rank_pattern=others,
            alpha_pattern=dict(others),
            target_modules=[*found],
            use_dora=any(pair.magnitude is not None for pair in found.values()),
            base_model_name_or_path=base,
            inference_mode=True,
        )
        config.save_pretrained(str(path))
        save_file(named(found, dtype), path / "adapter_model.safetensors")
        if beyond := self.beyond(dtype):
            save_file(beyond, path / TRAINED)
        write_card(path, self.task.card())

    def beyond(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """What is of no adapter and differs from the published weights, or is a bias that an adapter moves."""
        state, moved = self.task.state(), moved_biases(self.task.module.model)
        tensors = {name: state[name] for name in self.task.beyond()} | moved
        return {name: tensor.detach().to(dtype).contiguous() for name, tensor in tensors.items()}

    def lines(self, path: Path) -> str:
        name = self.task.model_name()
        base = self.task.base_lines(path, (path / TRAINED).exists())
        return f"{base}\nfrom peft import PeftModel\n\n{name} = PeftModel.from_pretrained({name}, {str(path)!r})\n"


def named(found: dict[str, Pair], dtype: torch.dtype) -> dict[str, Tensor]:
    """Pairs as PEFT keeps them in its file."""
    tensors: dict[str, Tensor] = {}
    for name, pair in found.items():
        for part, leaf in LEAVES.items():
            if (tensor := getattr(pair, part)) is not None:
                tensors[f"base_model.model.{name}.{leaf}"] = tensor.detach().to(dtype).contiguous()
    return tensors
