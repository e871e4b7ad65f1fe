"""Scores before and after: of each, what the untouched model had, the best, and the last."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tensorboard.backend.event_processing.event_accumulator import ScalarEvent  # type: ignore[import-untyped]

from graft.report.logged import Logged


@dataclass(frozen=True)
class Score:
    """One score of one run.

    Args:
        tag: Its name, such as val/dice.
        events: What was logged, in the order of the steps.
        lower: Whether lower is better.
    """

    tag: str
    events: list[ScalarEvent]
    lower: bool

    @property
    def before(self) -> float | None:
        """That of the untouched model; None where a run has logged none, as one that went on in a new folder."""
        return float(self.events[0].value) if self.events[0].step == 0 else None

    @property
    def best(self) -> ScalarEvent:
        """The best validation; of equals, the first."""
        return (min if self.lower else max)(self.events, key=lambda event: event.value)

    @property
    def last(self) -> ScalarEvent:
        """The last validation."""
        return self.events[-1]


def scores(run: Logged) -> dict[str, Score]:
    """All scores of a run's validations, by tag, the monitored one first."""
    return {tag: Score(tag, run.scalars[tag], run.lower_is_better(tag)) for tag in run.scores}


def best_of(values: list[float | None], lower: bool) -> set[int]:
    """Which of several runs' values are the best: none where there is nothing to compare."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return set()
    best = (min if lower else max)(known)
    return {index for index, value in enumerate(values) if value == best}


def typical(run: Logged, tag: str, of: Callable[[list[float]], float] = median) -> float | None:
    """The median, or another summary, of what a run has logged under a tag."""
    values = [float(event.value) for event in run.scalars.get(tag, [])]
    return of(values) if values else None
