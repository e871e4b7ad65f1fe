"""One backbone, many adapters: kept by name in one model, of which one is active at a time.

What is kept of an adapter are the modules that `load` made, and the parameters and buffers that were trained beside
them. `use` puts references to these into the model and takes the others out: no weight is copied, neither the
backbone's nor an adapter's, and where none is active the bare backbone is back. What `save`, `merge` and `spec` see is
the active one. The model is copied and pickled with all that it keeps; where it is moved or cast, an adapter follows
when it becomes active. Not thread-safe: a switch amid a forward pass mixes two adapters.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches

from torch import Tensor, nn

from graft.adapters.kept import Kept, homes, second


@dataclass
class Shelf:
    """All that a model keeps, by name; which one is active; and what of the bare backbone required a gradient."""

    kept: dict[str, Kept] = field(default_factory=dict)
    active: str | None = None
    training: list[nn.Parameter] = field(default_factory=list)


def shelf(model: nn.Module) -> Shelf:
    """The model's: a plain attribute, neither a module nor in the state dict."""
    found = vars(model).get("graft_shelf", Shelf())
    assert isinstance(found, Shelf)
    return found


def use(model: nn.Module, name: str | None) -> None:
    """Activate an adapter that `load(model, path, name)` has put into the model; None: the bare backbone.

    Raises:
        ValueError: no adapter has this name, or the model's adapters are not those that it keeps: one was merged, say.
    """
    own = shelf(model)
    if name is not None and name not in own.kept:
        near = get_close_matches(name, own.kept, n=3) or sorted(own.kept)
        known = f"near are {', '.join(near)}." if near else "load(model, path, name) would put one there."
        raise ValueError(f"The model keeps no adapter named {name!r}; {known}")
    check_untouched(model, own)
    if own.active is not None:
        own.kept[own.active].take_off()
    if name is not None:
        own.kept[name].put_on()
    for parameter in own.training:
        parameter.requires_grad_(name is None)
    own.active = name


@contextmanager
def using(model: nn.Module, name: str | None) -> Iterator[None]:
    """Within, the adapter of this name is active (None: the bare backbone); afterwards the one that was before."""
    before = shelf(model).active
    use(model, name)
    try:
        yield
    finally:
        use(model, before)


@contextmanager
def keeping(model: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, the model is bare; what is put into it there is kept under `name`. If that fails, all is as it was.

    What `tensors` names has room of the adapter's own within, to be filled; the bare backbone's values are aside.

    Raises:
        ValueError: the name is taken, or the model holds an adapter that has none.
    """
    own = shelf(model)
    if name in own.kept:
        raise ValueError(f"The model keeps an adapter named {name!r} already: choose another name.")
    before = own.active
    use(model, None)
    training = own.training if own.kept else [p for p in model.parameters() if p.requires_grad]
    new = Kept([], second(model, tensors))
    for part in new.parts:
        part.swap()
    shared = set[nn.Module]().union(*(kept.shared() for kept in own.kept.values()))
    model.add_module("lent", nn.ModuleList(shared))  # random bases that the new adapter finds, and refers to as well
    try:
        yield
    except BaseException:
        new.homes = homes(model)
        new.take_off()
        for parameter in training:
            parameter.requires_grad_(True)
        use(model, before)
        raise
    finally:
        del model._modules["lent"]
    new.homes = homes(model)
    own.kept[name], own.active, own.training = new, name, training
    model.graft_shelf = own  # type: ignore[assignment]


def check_untouched(model: nn.Module, own: Shelf) -> None:
    """Refuse to switch where the model holds other adapters than the active one: its weights may be others, too."""
    active = [] if own.active is None else own.kept[own.active].homes
    if {home.module for home in homes(model)} != {home.module for home in active}:
        holds = "an adapter without a name" if own.active is None else f"{own.active!r} no longer as it was loaded"
        raise ValueError(f"The model holds {holds}: its bare backbone is not to be had. Load into a fresh copy of it.")
