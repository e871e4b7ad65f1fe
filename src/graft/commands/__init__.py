"""What is not training: one command, one file with a function of its name; `main.py COMMAND --help` describes it."""

from collections.abc import Callable
from importlib import import_module

COMMANDS = {
    "check": "look at data, model and one batch before a training",  # of cli.py: it takes what `fit` takes
    "combine": "several adapters of one backbone into one file",
    "inspect": "say what a checkpoint or an adapter file holds",
    "export": "write merged weights, an adapter, a folder for PEFT, or ONNX",
    "methods": "list the adapters and rules",
    "spectra": "draw the singular values of what was learnt",
    "report": "one page about runs: curves, scores, images, cost",
}
"""What there is, and what it does in a few words."""


def named(name: str) -> Callable[..., None]:
    """The function of a command, imported only now: one may need what the others do not."""
    command: Callable[..., None] = getattr(import_module(f"graft.commands.{name}"), name)
    return command
