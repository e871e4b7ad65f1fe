"""Adapt a module's backbone: freeze it, inject an adapter, train what else is named, watch that all of it learns."""

from collections.abc import Callable

from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from graft.adapters import Adapter, inject
from graft.adapters.files import trained
from graft.adapters.spec import method, spec
from graft.callbacks.report import report, titles
from graft.callbacks.rules import FollowRules, backbone
from graft.rules import Rule


class Adapt(FollowRules):
    """Freezes the backbone, injects the adapter, and trains what `train` names.

    Args:
        adapter: The low-rank method, such as SerialLoRA; null trains only what `train` names.
        targets: Projections to adapt, of q, k, v, o, fc1, fc2. null: those of the method's paper.
        where: Parts of the backbone to adapt, by dotted name. null: all of it.
        train: Parts of the backbone to train whole, by dotted name, such as mask_decoder. The rest is frozen.
        rules: How the adapter is trained, where that is a paper's idea, such as LoRAPlus.
    """

    def __init__(
        self,
        adapter: Adapter | None = None,
        targets: list[str] | None = None,
        where: list[str] | None = None,
        train: list[str] | None = None,
        rules: list[Rule] | None = None,
    ) -> None:
        super().__init__(rules)
        self.adapter = adapter
        self.targets = targets
        self.where = where
        self.train = train or []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Runs once for each stage: a backbone that is adapted already, and alike, is left as it is."""
        if meet := getattr(pl_module, "meet", None):
            meet(getattr(trainer, "datamodule", None))
        model = backbone(pl_module)
        setattr(pl_module, "rules", self.rules)  # noqa: B010 (the module's type does not know it)
        if held := spec(model):
            wanted = None if self.adapter is None else [method(self.adapter), self.adapter.options()]
            if [held[0]["method"], held[0]["options"]] != wanted:
                raise ValueError(f"The model holds {' + '.join(titles(model))} already, and adapt.adapter is another.")
        else:
            unreached: Callable[[], set[str]] = getattr(pl_module, "unreached", set)
            names = unreached()  # before injection: behind an `up` of zeros a `down` only seems to get no gradient
            refuse_broken(model)
            model.requires_grad_(False)
            if self.adapter is not None:
                inject(model, self.adapter, self.targets, self.where)
            if stage != "predict":  # a checkpoint says what was trained, and makes a linear head that it holds
                train_whole(model, self.train, names)
        if stage != "predict" and not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError("Nothing is trained: give adapt.adapter a method, or adapt.train a part of the backbone.")
        model.eval()  # frozen BatchNorm and dropout stay as they were pretrained
        for name, module in model.named_modules():
            if isinstance(module, Adapter) or name in self.train:
                module.train()
        if stage == "fit":
            for rule in self.rules:
                rule.prepare(model)
        keep_to_itself(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        report(backbone(pl_module))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the first backward all that is trained has a gradient: layers can be bypassed without a word."""
        if trainer.global_step == 0:
            for name, parameter in backbone(pl_module).named_parameters():
                if parameter.requires_grad and parameter.grad is None:
                    raise ValueError(
                        f"{name} is trained but got no gradient: its module's forward bypasses it, or the loss does "
                        "not depend on it. Leave it out by adapt.where, adapt.targets or adapt.train."
                    )


def refuse_broken(model: nn.Module) -> None:
    """Refuse weights that no training mends, and of which no singular values are to be had.

    Raises:
        ValueError: one holds NaN or infinite values.
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinite values: the weights are damaged; give others.")


def keep_to_itself(pl_module: LightningModule) -> None:
    """Tell processes that train together to send each other only what is trained: the rest is alike and stays so."""
    changing = {f"model.{name}" for name in trained(backbone(pl_module))}
    named = [*pl_module.named_parameters(), *pl_module.named_buffers()]
    still = [name for name, _ in named if name not in changing]
    ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(pl_module, still)  # type: ignore[no-untyped-call]


def train_whole(model: nn.Module, prefixes: list[str], unreached: set[str]) -> None:
    """Train all parameters below the dotted names, but for those that no gradient can reach."""
    for prefix in prefixes:
        below = [name for name, _ in model.named_parameters() if f"{name}.".startswith(f"{prefix}.")]
        if not below:
            parts = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"adapt.train names {prefix!r}, which the backbone does not have; its parts are {parts}.")
        for name in below:
            model.get_parameter(name).requires_grad_(name not in unreached)
