"""What is not training: each command is a function, its options are the function's, `main.py COMMAND --help` shows it."""

from graft.commands.methods import methods

__all__ = ["methods"]
