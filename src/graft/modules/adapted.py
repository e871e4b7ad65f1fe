"""What every task shares: a backbone in `model`, an optimizer over what is trained, checkpoints of just that."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graft.adapters.files import fingerprint, make_room, trained
from graft.adapters.spec import restore, spec
from graft.modules.misfits import OWN, check_tensors, refuse_another, refuse_other_parts
from graft.modules.optimizers import Typed, parameter_groups, refuse_lost_ratios, refuse_other_groups
from graft.modules.schedule import WarmupCosine
from graft.rules import Rule

KEY = "graft"
"""Where a checkpoint keeps what it takes to rebuild the adapted model."""


def adamw(parameters: Any) -> Optimizer:
    """The default optimizer."""
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)


class AdaptedModule(LightningModule):
    """A backbone in `self.model`, adapted by the `Adapt` callback.

    Args:
        backbone: Name of the backbone, written into checkpoints.
        model: The backbone itself, pretrained.
        optimizer: Made over groups of what is trained.
        lr_scheduler: Stepped after every optimizer step; None is a linear warm-up, then a cosine down to zero.
        warmup: Share of the steps that warm up, 0 to 1, where `lr_scheduler` is None.
    """

    def __init__(
        self,
        backbone: str,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        lr_scheduler: Callable[[Optimizer], LRScheduler] | None,
        warmup: float,
    ) -> None:
        super().__init__()
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup is {warmup}, but must be a share of the steps, 0 to 1.")
        self.backbone = backbone
        self.model = model
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.warmup = warmup
        self.rules: list[Rule] = []
        self.fingerprint: str | None = None  # of the frozen weights: taken once, for they do not change

    def meet(self, data: Any) -> None:
        """Take over what a model must know of its data, before it is adapted; `data` may be None."""

    def unreached(self) -> set[str]:
        """Names of the model's parameters that the loss cannot reach whatever is trained; `Adapt` freezes them."""
        return set()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(parameter_groups(self.model, self.rules))
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_ratio", 1.0)
        if self.lr_scheduler is None:
            steps = self.trainer.estimated_stepping_batches
            if steps == float("inf"):
                raise ValueError(
                    "The default schedule needs an end: give trainer.max_steps, max_epochs or lr_scheduler."
                )
            scheduler: LRScheduler = WarmupCosine(optimizer, int(steps), self.warmup)
        else:
            scheduler = self.lr_scheduler(optimizer)
        refuse_lost_ratios(optimizer, scheduler, self.rules)
        self.typed = Typed.by(optimizer, scheduler)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        self.typed.keep(self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler)

    def frozen_sha256(self) -> str:
        """The fingerprint of the frozen weights."""
        return fingerprint({name: p for name, p in self.model.named_parameters() if not p.requires_grad})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.fingerprint = self.fingerprint or self.frozen_sha256()
        frozen = {f"model.{name}" for name, p in self.model.named_parameters() if not p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}
        checkpoint[KEY] = {
            "backbone": self.backbone,
            "adapters": spec(self.model),
            "trained": list(trained(self.model)),
            "frozen_sha256": self.fingerprint,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rebuild the adapted model where no callback has, and refuse a checkpoint that does not fit, by name."""
        if KEY not in checkpoint:
            raise ValueError("This checkpoint was not made by graft: it does not say which adapter it holds.")
        saved = checkpoint[KEY]
        if self._trainer is None and not spec(self.model):  # `load_from_checkpoint`, where no callback has injected
            restore(self.model, saved["adapters"])
        refuse_another(saved, self.backbone, self.model)
        make_room(self.model, {name.removeprefix("model."): t for name, t in checkpoint["state_dict"].items()})
        if self._trainer is not None and self._trainer.training:
            refuse_other_parts(saved, self.model)
            refuse_other_groups(checkpoint, parameter_groups(self.model, self.rules))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in saved["trained"])
        if saved["frozen_sha256"] != self.frozen_sha256():
            raise ValueError(
                f"This checkpoint was trained on other weights of {self.backbone} than those loaded here{OWN}"
            )
        check_tensors(self.state_dict(), checkpoint["state_dict"], {f"model.{name}" for name in saved["trained"]})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Strict about all that a checkpoint holds; the frozen weights, which it does not, stay as they were built."""
        frozen = {f"model.{name}": p for name, p in self.model.named_parameters() if not p.requires_grad}
        return super().load_state_dict({**frozen, **state_dict}, strict, assign)
