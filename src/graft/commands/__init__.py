"""What is not training: each command is a function whose options are its own; `main.py COMMAND --help` shows them."""

from graft.commands.methods import methods

__all__ = ["methods"]
