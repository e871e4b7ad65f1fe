"""Every exported adapter, found by itself, and how to make one whatever options it has."""

import inspect
import math
import re
import sys
from typing import Any

from torch import Tensor

import graft.adapters
from graft.adapters import Adapter

ADAPTERS: list[type[Adapter]] = [
    kind
    for kind in vars(graft.adapters).values()
    if inspect.isclass(kind) and issubclass(kind, Adapter) and not inspect.isabstract(kind)
]

FORMULA = re.compile(r"Trains (.+?) values a (?:projection|block)\b", re.DOTALL)


def make(kind: type[Adapter], **wanted: Any) -> Adapter:
    """An adapter with those of the options that its method has."""
    return kind(**{name: value for name, value in wanted.items() if name in inspect.signature(kind).parameters})


def promised(adapter: Adapter, weight: Tensor) -> int:
    """How many values the adapter's docstring says it trains for a weight."""
    said = [FORMULA.search(kind.__doc__ or "") for kind in type(adapter).__mro__]  # a variant's is its parent's
    found = next(filter(None, said), None)
    assert found, f"the docstring of {type(adapter).__name__} should say: Trains ... values a projection."
    d_out, d_in = weight.shape
    known = vars(math) | vars(sys.modules[type(adapter).__module__]) | adapter.options()
    return int(eval(" ".join(found[1].split()), known | {"r": adapter.rank, "d_in": d_in, "d_out": d_out}))
