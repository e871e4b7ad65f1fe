"""What is wrong with a configuration, in one sentence with the nearest valid names."""

import re
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from graft.commands import COMMANDS
from graft.configuration import check
from graft.names import exported, near, options

HOMES = {
    "model": ("graft.modules", "lightning.pytorch.LightningModule"),
    "model.optimizer": ("torch.optim", "torch.optim.Optimizer"),
    "model.lr_scheduler": ("torch.optim.lr_scheduler", "torch.optim.lr_scheduler.LRScheduler"),
    "data": ("graft.data", "graft.data.base.ImageData"),
    "data.augment": ("graft.data", "graft.data.Augment"),
    "adapt.adapter": ("graft.adapters", "graft.adapters.Adapter"),
    "adapt.rules": ("graft.rules", "graft.rules.Rule"),
    "trainer.logger": ("lightning.pytorch.loggers", "lightning.pytorch.loggers.Logger"),
    "trainer.callbacks": ("lightning.pytorch.callbacks", "lightning.pytorch.Callback"),
}
"""Where the classes of a key live, and what they all are."""

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null"}


class Parser(LightningArgumentParser):
    """A parser that says one sentence where jsonargparse lists types."""

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        check(Path(path))
        return super().parse_path(path, *args, **kwargs)

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
    key = innermost(message)
    said = message.rpartition('Parser key "')[2].partition('":')[2] or message  # by the innermost, the cause of all
    if found := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        return no_option(found[1], found[2])
    if found := re.search(r"Option '([\w.]+)' is not accepted. Got value: Namespace\(class_path='([\w.]+)'", said):
        return no_option(found[2], found[1]) if found[2] != HOMES[key][1] else no_owner(key, found[1])
    if found := re.search(r"class_path '([\w.]+)':\s+(?:module .* has no attribute|No module named)", message):
        return no_class(key, found[1])
    if found := re.search(r"Expected a dot import path string: (\S+)", said):
        return no_class(key, found[1])
    if found := re.search(r"arguments are required: (.+)", said):
        return missing(key, found[1].split(", "), configured="seed_everything" in known)  # a run's, not a command's
    if found := re.search(r"(?:Subtypes: \[(.*?)\]\s+Errors:(?s:.*?)Given|Expected an? (.+)\. Got) value: (.*)", said):
        if nested := re.match(r"NestedArg\(key='([\w.]+)'", found[3]):
            return no_owner(key, nested[1])
        return f"{key} is {found[3] or 'empty'}{expected(key, found[1] or found[2], found[3])}"
    if found := re.search(r"(?:does not accept option '|[Uu]nrecognized arguments: (?:--)?)([\w.]+)", said):
        option = found[1].removesuffix(".class_path")
        return f"There is no option {option!r}{near(option, known)}"
    if found := re.search(r"(?:File does not exist|Path is not a file): '(.+)'", said):
        there = [str(path) for path in Path(found[1]).parent.glob("*.yaml")]
        return f"--config is {found[1]}, which is no file{near(found[1], there or ['configs/sam_polyp.yaml'])}"
    if found := re.search(r"invalid choice: '(.+)' \(choose from (.+)\)", said):
        names = [*re.findall(r"[a-z]+", found[2]), *COMMANDS]
        return f"There is no command {found[1]!r}{near(found[1], names)}"
    if found := re.search(r'expected "subcommand" to be one of {(.+)}', said):
        return f"No command is given{near('', [*found[1].split(','), *COMMANDS])}"
    return f"{key}: {first}" if key and (first := said.strip().split("\n")[0]) else " ".join(said.split())


def innermost(message: str) -> str:
    """The dotted key that the innermost of parsers within parsers complains of: each is indented in the one around."""
    path: list[tuple[int, str]] = []
    for indent, key in re.findall(r'(?m)^( *)(?:.*\b)?Parser key "([\w.]+)"', message):
        path = [*(outer for outer in path if outer[0] < len(indent)), (len(indent), key)]
    return ".".join(key for _, key in path)


def no_option(class_path: str, option: str) -> str:
    kind = resolve_name(class_path)
    return f"{kind.__name__} has no option {option!r}{near(option, options(kind))}"


def no_class(key: str, given: str) -> str:
    names, name = {of: exported(*home) for of, home in HOMES.items()}, given.rpartition(".")[2]
    if homes := [f"--{of}" for of in names if of != key and name in names[of]]:
        return f"--{key} is {given}, which is a class for {' or '.join(homes)}: give it there."
    return f"--{key} is {given}, which is no class{near(name, names.get(key, []))}"


def no_owner(key: str, option: str) -> str:
    return f"--{key}.{option} is given, but no --{key} that has it: name its class first."


def missing(key: str, names: list[str], configured: bool) -> str:
    if key:
        return f"{key} needs {' and '.join(names)}: give it --{key}.{names[0]}."
    parts = [name.rpartition(".")[2] for name in names]
    if not configured:
        return f"No {' and no '.join(parts)} is given: --help says what it is."
    return f"No {' and no '.join(parts)} is given: add --config configs/sam_polyp.yaml, or a file of your own."


def expected(key: str, types: str, given: str) -> str:
    """How the sentence goes on after a value of the wrong type, in the words of one who writes YAML."""
    if literals := re.findall(r"Literal\[(.*?)\]", types):
        return near(given, re.findall(r"[\w-]+", " ".join(literals)))
    if "list[" in types and not given.startswith("["):
        return f", but a list is expected: [{given}], or on the command line --{key} '[{given}]'."
    names = [name.rpartition(".")[2] for name in re.findall(r"[\w.]+", re.sub(r"class |list\[|typing", "", types))]
    words = " or ".join(WORDS.get(name, name) for name in names)
    return f", but must be {'a list of ' if 'list[' in types else ''}{words}."
