"""Which curves the page shows: the training loss, every score of the validation, and the learning rate."""

from collections.abc import Sequence

from graft.report.charts import Chart, Line, chart
from graft.report.logged import Logged


def curves(runs: Sequence[Logged], keys: Sequence[str]) -> list[Chart]:
    """The charts of several runs, each with a line for every run that has logged it.

    Args:
        runs: The runs.
        keys: What each is called in a chart.
    """
    found = dict.fromkeys(tag for run in runs for tag in run.scores if tag.count("/") == 1)  # not of single classes
    monitored = dict.fromkeys(run.monitor for run in runs if run.monitor in run.scalars)
    tags = [*monitored, "train/loss", *(tag for tag in found if tag not in monitored)]
    shown = [chart(tag, lines) for tag in tags if (lines := of_tag(tag, runs, keys))]
    rates = [line for number, run in enumerate(runs) for line in of_rates(run, number, keys[number])]
    return [*shown, chart("learning rate", rates)] if rates else shown


def of_tag(tag: str, runs: Sequence[Logged], keys: Sequence[str]) -> list[Line]:
    """One line for every run that has logged the tag."""
    return [Line(k, keys[k], points(run, tag)) for k, run in enumerate(runs) if tag in run.scalars]


def of_rates(run: Logged, number: int, key: str) -> list[Line]:
    """The learning rates of a run, one line for all parameter groups that share one."""
    groups: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for tag in run.scalars:
        if tag.startswith("lr-"):
            groups.setdefault(tuple(points(run, tag)), []).append(tag.rpartition("/")[2])
    names = ["" if len(groups) == 1 else " ".join(group) for group in groups.values()]
    return [Line(number, f"{key} {name}".strip(), line, "marks") for name, line in zip(names, groups, strict=True)]


def points(run: Logged, tag: str) -> list[tuple[float, float]]:
    """What was logged under a tag: (step, value)."""
    return [(float(event.step), float(event.value)) for event in run.scalars[tag]]
