"""What `main.py --help` shows: what there is to type first, and what it does in a few words."""

from argparse import RawDescriptionHelpFormatter

from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser

from graft.commands import COMMANDS

RUNS = {
    "fit": "train, with scores on the validation images as it goes",
    "validate": "score a checkpoint on the validation images",
    "test": "score a checkpoint on the test images",
    "predict": "write the masks or classes of new images",
}
LIST = "\n".join(f"    {name:<20}{what}" for name, what in COMMANDS.items())


class Lines(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the lines of the list of commands."""


TOP = {
    "description": "Fine-tune vision foundation models with low-rank adapters.",
    "epilog": f"commands around a run:\n  Each with its own --help.\n\n{LIST}",
    "formatter_class": Lines,
}
"""How the first parser is made."""


def describe(parser: LightningArgumentParser) -> None:
    """Say of the subcommands what they do: Lightning cuts the first lines of its docstrings where these are broken."""
    assert parser._subcommands_action is not None
    for listed in parser._subcommands_action._choices_actions:
        listed.help = {**RUNS, **COMMANDS}[listed.dest]
