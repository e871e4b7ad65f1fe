"""Every method in one table, read off the code: what it does, what it trains, where it is from."""

import inspect
import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import graft.adapters
import graft.rules
from graft.adapters import Adapter, InputAdapter, LowRankAdapter, inject
from graft.backbones import build_sam
from graft.rules import Rule

FIRST = re.compile(r"(?P<equation>.+?): (?P<words>[^:]+?) \((?P<paper>[^()]+)\)\.$")
COLUMNS = ("method", "kind", "equation", "what it is", "trained", "merges", "paper")
RANK = 8


@dataclass(frozen=True)
class Method:
    """One row: a class of `graft.adapters` or `graft.rules`, in the words of its docstring."""

    name: str
    kind: str
    equation: str
    words: str
    trained: int | None
    paper: str

    def cells(self, markdown: bool) -> tuple[str, ...]:
        """The row as text."""
        name, equation, words, paper = self.name, self.equation, self.words, self.paper
        if markdown:
            name, equation, words = f"`{name}`", equation.replace("|", "\\|"), words.replace("|", "\\|")
            paper = re.sub(r"\d{4}\.\d{4,5}", r"[\g<0>](https://arxiv.org/abs/\g<0>)", paper)
        merges = "-" if self.trained is None else "yes"
        return name, self.kind, equation, words, f"{self.trained:,}" if self.trained else "-", merges, paper


def methods(markdown: bool = False) -> None:
    """List the adapters and rules: equation, trained parameters on SAM ViT-B's image encoder at rank 8, paper.

    Args:
        markdown: Print the table as docs/methods.md has it.
    """
    if markdown:
        print(as_markdown())
        return
    table = Table("method", "kind", "equation", "trained", "merges", "paper", box=box.SIMPLE_HEAD)
    for column in (0, 1, 3, 5):
        table.columns[column].no_wrap = True
    table.columns[3].justify = "right"
    for method in found():
        name, kind, equation, words, *rest = map(escape, method.cells(markdown=False))
        table.add_row(name, kind, f"[bold]{equation}[/]\n[dim]{words}[/]", *rest)
    Console().print(table, f"trained: values in SAM ViT-B's image encoder at rank {RANK}, in the places of the paper")


def as_markdown() -> str:
    """The table of docs/methods.md and of the README."""
    rows = [COLUMNS, tuple("---:" if column == "trained" else "---" for column in COLUMNS)]
    rows += [method.cells(markdown=True) for method in found()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@cache
def found() -> tuple[Method, ...]:
    """All methods: adapters first, those that act on the input before all others; then rules."""
    adapters = [kind for kind in exported(graft.adapters) if issubclass(kind, Adapter) and not inspect.isabstract(kind)]
    rules = [kind for kind in exported(graft.rules) if issubclass(kind, Rule) and kind is not Rule]
    order = ("input", "low-rank", "weight")
    rows = sorted((row(kind, kind_of(kind), trained(kind)) for kind in adapters), key=lambda m: order.index(m.kind))
    return (*rows, *(row(kind, "rule", None) for kind in rules))


def exported(package: Any) -> list[type]:
    """The classes that a package exports, by name."""
    return [kind for name in sorted(package.__all__, key=str.lower) if isinstance(kind := getattr(package, name), type)]


def kind_of(adapter: type[Adapter]) -> str:
    """Where an adapter acts."""
    if issubclass(adapter, InputAdapter):
        return "input"
    return "low-rank" if issubclass(adapter, LowRankAdapter) else "weight"


def row(kind: type, sort: str, count: int | None) -> Method:
    """A class in the words of its docstring's first line: EQUATION: what it is (arXiv NUMBER)."""
    first = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    said = FIRST.match(first)
    if said is None:
        raise ValueError(f"The docstring of {kind.__name__} begins {first!r}; expected EQUATION: words (arXiv NUMBER).")
    return Method(kind.__name__, sort, said["equation"], said["words"], count, said["paper"].replace("arXiv ", ""))


def trained(adapter: type[Adapter]) -> int:
    """The values that a method trains in SAM ViT-B's image encoder, in the places of its paper."""
    blocks = sam_blocks()
    ranked = {"rank": RANK} if "rank" in inspect.signature(adapter).parameters else {}
    return len(blocks) * sum(site.parameters for site in inject(deepcopy(blocks[0]), adapter(**ranked)))


@cache
def sam_blocks() -> Any:
    """The blocks of SAM ViT-B's image encoder, all of one size, and without values."""
    with torch.device("meta"):
        return build_sam("vit_b", checkpoint=None).image_encoder.blocks
