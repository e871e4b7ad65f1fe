"""What is not training: one command, one file with a function of its name; `main.py COMMAND --help` describes it."""

from collections.abc import Callable
from importlib import import_module

COMMANDS = {
    "methods": "list the adapters and rules",
}
"""What there is, and what it does in a few words."""


def named(name: str) -> Callable[..., None]:
    """The function of a command, imported only now: one may need what the others do not."""
    command: Callable[..., None] = getattr(import_module(f"graft.commands.{name}"), name)
    return command
