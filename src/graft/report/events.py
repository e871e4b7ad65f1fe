"""What a run has logged: the scalars of all event files in its folder."""

from collections.abc import Iterable
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
    ScalarEvent,
)

Scalars = dict[str, list[ScalarEvent]]
"""By tag, what was logged (`step`, `value`, `wall_time`), in the order of the steps."""


def scalars(folder: Path) -> Scalars:
    """Read the event files of a folder: several where a run was stopped and went on there."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1}, purge_orphaned_data=False)
    found.Reload()
    return {tag: as_it_went_on(found.Scalars(tag)) for tag in found.Tags()["scalars"]}


def as_it_went_on(events: Iterable[ScalarEvent]) -> list[ScalarEvent]:
    """Drop what a run had logged after the checkpoint that it later went on from.

    At step 0 nothing is dropped: the baseline and what the first step gives are both logged there.
    """
    kept: list[ScalarEvent] = []
    for event in sorted(events, key=lambda event: event.wall_time):
        while kept and kept[-1].step >= max(event.step, 1):
            kept.pop()
        kept.append(event)
    return kept
