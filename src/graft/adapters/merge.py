"""Fold adapters back into the weights: `merge`."""

from torch import nn

from graft.adapters.anatomy import describe
from graft.adapters.base import InputAdapter
from graft.adapters.inject import shift_input
from graft.adapters.linear import AdaptedLinear, fold_into


def merge(model: nn.Module) -> None:
    """Fold every adapter into the weights, in place; the original classes and state-dict keys are back.

    Folding is done in float64 and rounded once, to the weight's dtype.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, AdaptedLinear):
            module.merge()
        elif isinstance(adapter := module._modules.get("adapter"), InputAdapter):
            block = describe(name, module)
            assert block is not None
            for target in InputAdapter.targets:
                fold_into(block.projections[target].linear, adapter)
            remove_input_adapter(module)


def remove_input_adapter(attention: nn.Module) -> None:
    """Take away the adapter and its hook, and no other."""
    for key, hook in list(attention._forward_pre_hooks.items()):
        if hook is shift_input:
            del attention._forward_pre_hooks[key], attention._forward_pre_hooks_with_kwargs[key]
    del attention.adapter
