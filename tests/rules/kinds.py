"""Every exported rule, found by itself, with an adapter that it acts on and options with which eight steps show it."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule
from torch import Tensor

import graft.rules
from graft.adapters import Adapter, GatedLoRA, LoRA, SerialLoRA
from graft.callbacks import Adapt, ExactResume
from graft.rules import Rule
from tests.adapters.kinds import ADAPTERS, make
from tests.modules.small import Data, Toy, trainer

RULES: list[type[Rule]] = [
    kind for kind in vars(graft.rules).values() if inspect.isclass(kind) and issubclass(kind, Rule) and kind is not Rule
]

SOON: dict[str, dict[str, Any]] = {
    "BayesianGates": {"strength": 10.0, "lr": 2.0},
    "DiffoRA": {"search": 0.6, "lr": 0.1},
    "IncreLoRA": {"target": 2, "top": 1, "interval": 2, "warmup": 1},
    "LambdaOrthogonality": {"threshold": 0.1},
    "LoCAAlternation": {"coefficients": 1, "locations": 2, "share": 0.8, "ratio": 2.0},
    "ProximalGate": {"threshold": 0.1, "first": 0.0, "begin": 0.25},
    "ReSVD": {"every": 3},
}
"""Options of rules that otherwise have nothing to do in eight steps."""


def soon(kind: type[Rule]) -> Rule:
    """The rule, so that it acts within eight steps."""
    return kind(**SOON.get(kind.__name__, {}))


def suits(kind: type[Rule]) -> type[Adapter]:
    """An adapter that the rule acts on: a well-known one, if it does."""
    return next(adapter for adapter in (LoRA, SerialLoRA, GatedLoRA, *ADAPTERS) if issubclass(adapter, kind.acts_on))


def run(
    folder: Path,
    kind: type[Rule],
    *callbacks: Callback,
    rules: list[Rule] | None = None,
    ckpt_path: Path | None = None,
    data: LightningDataModule | None = None,
    module: Toy | None = None,
    train: Sequence[str] = ("head",),
    **options: Any,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train the toy for eight steps; what it has learned and what the rule remembers then, by name."""
    adapt = Adapt(make(suits(kind), rank=4), train=list(train), rules=[soon(kind)] if rules is None else rules)
    module = module or Toy()
    fit = trainer(folder, adapt, ExactResume(), *callbacks, **{"max_epochs": 4} | options)
    fit.fit(module, data or Data(), ckpt_path=ckpt_path, weights_only=None if ckpt_path is None else True)
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}, adapt.state_dict()
