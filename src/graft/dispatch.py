"""From a function to a command line: what it takes by position stands by itself, the rest are options."""

import inspect
from collections.abc import Callable, Sequence

from docstring_parser import parse

from graft.parser import Parser


def dispatch(command: Callable[..., None], words: Sequence[str]) -> None:
    """Call a command with what is typed; its docstring is its help."""
    told = parse(inspect.getdoc(command) or "")
    described = {param.arg_name: param.description for param in told.params}
    parser = Parser(prog=f"main.py {command.__name__}", description=told.description or "")
    parameters = inspect.signature(command).parameters.values()
    alone = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    for p in alone:
        nargs = "+" if p.kind is p.VAR_POSITIONAL else None
        parser.add_argument(p.name, type=p.annotation, nargs=nargs, help=described[p.name])
    parser.add_function_arguments(command, as_group=False, as_positional=False, skip={p.name for p in alone})
    given = parser.parse_args(list(words))
    values = [(p, given.pop(p.name)) for p in alone]
    command(*(v for p, value in values for v in (value if p.kind is p.VAR_POSITIONAL else [value])), **vars(given))
