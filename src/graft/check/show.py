"""What the check has seen, on the screen."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.check.finding import Finding
from graft.check.look import Look
from graft.check.overfit import Learnt
from graft.data.classification.division import Labelled

MANY = 20
"""Classes that are listed one by one; of more, the smallest and the largest."""


def heading(console: Console, words: str) -> None:
    """The title of a part."""
    console.print()
    console.rule(f"[bold]{words}", align="left", style="dim")


def table(*columns: str) -> Table:
    """A table whose numbers stand to the right."""
    made = Table(box=box.SIMPLE_HEAD)
    for position, column in enumerate(columns):
        made.add_column(column, justify="right" if position else "left")
    return made


def show_splits(console: Console, looks: list[Look]) -> None:
    """For each split the number of images, their sizes and modes."""
    shown = table("split", "images", "width", "height", "modes")
    for split in dict.fromkeys(look.split for look in looks):
        read = [look for look in looks if look.split == split and look.digest]
        modes = Counter(look.mode for look in read)
        said = ", ".join(mode if len(modes) == 1 else f"{mode} {count}" for mode, count in modes.most_common())
        sides = [span([look.size[axis] for look in read]) for axis in (0, 1)]
        shown.add_row(split, str(sum(look.split == split for look in looks)), *sides, said)
    console.print(shown)


def show_masks(console: Console, looks: list[Look], classes: Sequence[str]) -> None:
    """For each class its share of the pixels and the masks that show it, over all splits."""
    found = [look.mask.classes for look in looks if look.mask and look.mask.classes]
    pixels = sum(map(sum, found))
    shown = table("class", "index", "masks that show it", "of all pixels")
    for index, name in enumerate(["background", *classes]):
        there = sum(mask[index] > 0 for mask in found)
        share = sum(mask[index] for mask in found) / max(1, pixels)
        shown.add_row(escape(name), str(index), f"{there} of {len(found)}", f"{share:.2%}")
    console.print(shown)
    console.print(f"  {sum(not any(mask[1:]) for mask in found)} masks are empty.")


def show_classes(console: Console, splits: Mapping[str, Sequence[Labelled]], names: Sequence[str]) -> None:
    """For each class the number of images in each split; of many classes, the smallest and the largest."""
    counts = {split: Counter(sample.label for sample in found) for split, found in splits.items()}
    order = [*range(len(names))]
    if len(names) > MANY:
        order.sort(key=lambda label: counts["train"][label])
        order = order[: MANY // 2] + order[-MANY // 2 :]
    shown = table("class", *counts)
    for label in order:
        shown.add_row(escape(names[label]), *(str(count[label]) for count in counts.values()))
    console.print(shown)
    if len(names) > MANY:
        console.print(f"  The {MANY // 2} smallest and the {MANY // 2} largest of {len(names)} classes.")


def span(values: Sequence[int]) -> str:
    """From the smallest to the largest."""
    if not values:
        return "-"
    return str(values[0]) if min(values) == max(values) else f"{min(values)}-{max(values)}"


def show_learnt(console: Console, learnt: Learnt) -> None:
    """What became of the batch."""
    if len(learnt.losses) < 2:
        return
    (loss, last), (score, best) = learnt.losses, learnt.scores
    console.print(
        f"One batch of {learnt.batch_size}, over and over, in {learnt.steps} steps of {learnt.seconds:.2f} s at the "
        f"rate {learnt.rate:g}: loss [bold]{loss:.4f}[/] to [bold]{last:.4f}[/], "
        f"{learnt.score} [bold]{score:.3f}[/] to [bold]{best:.3f}[/].",
        soft_wrap=True,
    )


def verdict(console: Console, findings: list[Finding]) -> int:
    """Print all findings, what stops a run first, and the verdict; the exit code."""
    heading(console, "Verdict")
    for finding in sorted(findings, key=lambda finding: not finding.fatal):
        mark = "[bold red]x[/]" if finding.fatal else "[bold yellow]![/]"
        console.print(f"{mark} {escape(finding.says)}", soft_wrap=True)
        if finding.change:
            console.print("\n".join(f"    [cyan]{escape(line)}[/]" for line in finding.change.splitlines()))
    fatal = sum(finding.fatal for finding in findings)
    if fatal:
        console.print(f"[bold red]This will not work:[/] {counted(fatal, 'thing')} to mend, marked x.")
    elif findings:
        console.print(f"[bold yellow]It will run, with {counted(len(findings), 'warning')}.[/]")
    else:
        console.print("[bold green]All is well.[/] Replace `check` by `fit` to train.")
    return int(fatal > 0)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"
