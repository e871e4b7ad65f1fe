"""LoRA+: the up factor learns faster than the down factor.

    lr_B = ratio x lr_A

Hayou et al., ICML 2024, https://arxiv.org/abs/2402.12354. With `SerialLoRA` this is the "Serial LoRA+" of
https://arxiv.org/abs/2503.17750, which does not state its ratio where it could be read; 16 is that of PEFT's examples.
"""

from typing import Any

from torch import nn

from graft.adapters import Adapter
from graft.rules.base import Rule


class LoRAPlus(Rule):
    """lr_B = ratio x lr_A: a faster learning rate for the up factors (arXiv 2402.12354).

    Args:
        ratio: The learning rate of `up` in units of everything else's.
    """

    def __init__(self, ratio: float = 16.0) -> None:
        if not ratio > 0:
            raise ValueError(f"LoRA+'s ratio is {ratio}; give a number above 0 (1 is plain LoRA).")
        self.ratio = ratio

    def param_groups(self, model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        adapters = [module for module in model.modules() if isinstance(module, Adapter)]
        owned = [named for adapter in adapters for named in adapter.named_parameters(recurse=False)]
        ups = {parameter for name, parameter in owned if name in ("up", "serial_up")}  # Hydra has both
        if not ups:
            raise ValueError(
                "LoRAPlus speeds up the factor `up`, but no adapter of this model trains one: give another "
                "adapt.adapter, such as LoRA, or drop the rule."
            )
        rest = [group | {"params": [p for p in group["params"] if p not in ups]} for group in groups]
        fast = [
            group | {"params": chosen, "name": f"{group['name']}_up", "lr_ratio": self.ratio}
            for group in groups
            if (chosen := [p for p in group["params"] if p in ups])
        ]
        return [group for group in rest + fast if group["params"]]
