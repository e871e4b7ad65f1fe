"""The valid names, and those of them that are near a mistyped one."""

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pkgutil import resolve_name
from typing import Any


def near(given: str, names: Iterable[str]) -> str:
    """How the sentence goes on: the nearest of the valid names, or where none is near all of them if they are few."""
    names = sorted({*names})
    folded = {name.lower(): name for name in names}
    few = 1 if given.lower() in folded else 2
    close = [folded[name] for name in get_close_matches(given.lower(), folded, n=few, cutoff=0.6)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; choose from {', '.join(names)}." if 0 < len(names) <= 40 else "."


def exported(module: str, base: str) -> list[str]:
    """The names of the classes of a kind that a module exports and that can be made."""
    kind, names = resolve_name(base), vars(import_module(module))
    found = {name: names[name] for name in names.get("__all__", names) if inspect.isclass(names[name])}
    able = {name: of for name, of in found.items() if issubclass(of, kind) and not inspect.isabstract(of)}
    return [name for name, of in able.items() if of is not kind or len(able) == 1]


def options(kind: Any) -> set[str]:
    """The names of a class's options, those that it hands on to the classes it is made of included."""
    names = set()
    for of in inspect.getmro(kind) if inspect.isclass(kind) else [kind]:
        parameters = inspect.signature(of).parameters.values()
        names |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
