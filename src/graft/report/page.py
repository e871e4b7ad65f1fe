"""The page: what was found of the runs, laid out and written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from graft.report.class_section import ClassSection, class_section
from graft.report.classes import Classes
from graft.report.configurations import as_file, differences
from graft.report.curves import curves
from graft.report.examine import Examined
from graft.report.logged import Logged
from graft.report.mask_section import MaskSection, mask_section
from graft.report.masks import Masks
from graft.report.scores import Score, best_of, scores, typical
from graft.report.words import FILTERS
from graft.whole import whole

K = TypeVar("K", Masks, Classes)
S = TypeVar("S", MaskSection, ClassSection)


@dataclass(frozen=True)
class Told:
    """A run on the page: under a letter where there are several."""

    number: int
    key: str
    logged: Logged
    examined: Examined

    @cached_property
    def scores(self) -> dict[str, Score]:
        return scores(self.logged)

    @property
    def monitored(self) -> Score | None:
        """The score that chooses the best checkpoint."""
        return self.scores.get(self.logged.monitor)

    @property
    def name(self) -> str:
        """The log folder's."""
        return self.logged.folder.resolve().name

    @property
    def times(self) -> tuple[datetime, timedelta] | None:
        """When the first thing was logged, and how long after it the last."""
        walls = [event.wall_time for events in self.logged.scalars.values() for event in events]
        if not walls:
            return None
        return datetime.fromtimestamp(min(walls)).astimezone(), timedelta(seconds=round(max(walls) - min(walls)))

    @property
    def speed(self) -> float | None:
        return typical(self.logged, "speed/images_per_second")

    @property
    def memory(self) -> float | None:
        return typical(self.logged, "memory/peak_gb", max)


def page(runs: Sequence[Logged], examined: Sequence[Examined]) -> str:
    """The page as HTML."""
    keys = [ascii_uppercase[k % 26] * (k // 26 + 1) for k in range(len(runs))] if len(runs) > 1 else [""]
    told = [Told(k, *each) for k, each in enumerate(zip(keys, runs, examined, strict=True))]
    environment = Environment(
        loader=PackageLoader("graft.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("page.html").render(
        runs=told,
        title=title(told),
        columns=columns(told),
        charts=curves(runs, keys),
        sections=sections(told),
        differences=differences([run.config for run in runs]),
        files=[as_file(run.config) for run in runs],
        now=datetime.now().astimezone(),
    )


def title(runs: Sequence[Told]) -> str:
    """Backbone, method and data, each once where the runs share it."""
    parts = ([getattr(run.logged, part) for run in runs] for part in ("backbone", "method", "data"))
    return " · ".join(" / ".join(dict.fromkeys(part)) for part in parts)


def columns(runs: Sequence[Told]) -> list[tuple[str, list[float | None], set[int]]]:
    """The scores that runs are compared by: the best of each, and which runs are the best in it."""
    found = []
    for tag in dict.fromkeys(tag for run in runs for tag in run.scores if tag.count("/") == 1):
        values = [float(run.scores[tag].best.value) if tag in run.scores else None for run in runs]
        lower = next(run.scores[tag].lower for run in runs if tag in run.scores)
        found.append((tag, values, best_of(values, lower)))
    return found


def sections(runs: Sequence[Told]) -> list[MaskSection | ClassSection]:
    """What the models say of the images, in one section for all runs that have seen the same."""
    return [*alike(runs, Masks, mask_section), *alike(runs, Classes, class_section)]


def alike(runs: Sequence[Told], kind: type[K], section: Callable[[list[int], list[str], list[K]], S]) -> Iterator[S]:
    """The sections of one kind."""
    groups: dict[object, list[tuple[int, str, K]]] = {}
    for run in runs:
        if isinstance(images := run.examined.images, kind):
            groups.setdefault(images.identity, []).append((run.number, run.key, images))
    for group in groups.values():
        yield section([n for n, _, _ in group], [key for _, key, _ in group], [images for _, _, images in group])


def write(html: str, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        ValueError: The disk is full, or the folder cannot be written.
    """
    try:
        with whole(path) as beside:
            beside.write_text(html, encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}): make room or choose another place with --output."
        ) from error
