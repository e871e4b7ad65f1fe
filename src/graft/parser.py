"""What is wrong with a configuration, in one sentence with the nearest valid names."""

import inspect
import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pkgutil import resolve_name
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

HOMES = {"model": "modules", "data": "data", "adapt.adapter": "adapters", "adapt.rules": "rules"}
"""Where the classes of a key live: subpackages of graft."""


class Parser(LightningArgumentParser):
    """A parser that says one sentence where jsonargparse lists types."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within a parser: the outermost says it
            super().error(message, ex)
        self.exit(2, f"error: {sentence(message, set(keys(self)))}\n")
        raise SystemExit(2)


def keys(parser: LightningArgumentParser) -> Iterable[str]:
    """The option names of a parser and its subcommands."""
    for action in parser._actions:
        yield action.dest.removesuffix(".help")
        for below in (getattr(action, "_name_parser_map", None) or {}).values():
            yield from keys(below)


def sentence(message: str, known: set[str]) -> str:
    """jsonargparse's message, shortened to what was given, what was expected and what is near."""
    if found := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        kind, option = resolve_name(found[1]), found[2]
        return f"{kind.__name__} has no option {option!r}{near(option, inspect.signature(kind).parameters)}"
    if found := re.search(r"class_path '([\w.]+)\.(\w+)':\s+module .* has no attribute", message):
        return f"There is no {found[2]} in {found[1]}{near(found[2], exported(found[1]))}"
    if found := re.search(r'Parser key "([\w.]+)":.*Expected a dot import path string: (\S+)', message, re.DOTALL):
        home = HOMES.get(found[1])
        return (
            f"--{found[1]} is {found[2]}, which is no class{near(found[2], exported(f'graft.{home}') if home else [])}"
        )
    if found := re.search(r'Parser key "([\w.]+)":\s+Expected an? (.+)\. Got value: (.+)', message):
        expected = re.sub(
            r"typing\.Literal\[(.*)\]", r"one of \1", re.sub(r"<class '(\w+)'>", r"value of type \1", found[2])
        )
        return f"{found[1]} is {found[3]}; expected {expected}."
    if found := re.search(r"(?:does not accept option '|[Uu]nrecognized arguments: (?:--)?)([\w.]+)", message):
        option = found[1].removesuffix(".class_path")
        return f"There is no option {option!r}{near(option, known)}"
    return re.sub(r"\s*\n\s*", " ", message).strip()


def near(given: str, names: Iterable[str]) -> str:
    """How the sentence goes on: the nearest of the valid names, or where none is near all of them if they are few."""
    names = sorted(names)
    folded = {name.lower(): name for name in names}
    close = [folded[name] for name in get_close_matches(given.lower(), folded, n=2, cutoff=0.6)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; choose from {', '.join(names)}." if 0 < len(names) <= 20 else "."


def exported(module: str) -> list[str]:
    """The names of the classes that a module exports."""
    names = vars(import_module(module))
    return [name for name in names.get("__all__", []) if inspect.isclass(names[name])]
