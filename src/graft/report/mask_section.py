"""What the page shows of predicted masks: of one run, or of several that have seen the same images."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from graft.report.charts import Chart, Line, chart
from graft.report.images import csv_uri
from graft.report.masks import Masks

BINS = 20
EACH = 3
"""Images of a group."""
ROWS = 200
"""Of the table; the file that goes with it has all."""


@dataclass(frozen=True)
class Shown:
    """An image: itself and its truth, and what each run predicts, with its Dice."""

    name: str
    truth: str
    answers: list[tuple[int, float, str]]


@dataclass(frozen=True)
class Row:
    """An image's scores: (Dice, IoU) of each run."""

    name: str
    scores: list[tuple[float, float]]


@dataclass(frozen=True)
class MaskSection:
    """Part of the page; `numbers` are those of the runs, and every list of runs is in their order."""

    numbers: list[int]
    summaries: list[tuple[float, float, float]]
    histogram: Chart
    groups: list[tuple[str, list[Shown]]]
    rows: list[Row]
    count: int
    file: str
    template = "masks.html"


def mask_section(numbers: list[int], keys: Sequence[str], runs: Sequence[Masks]) -> MaskSection:
    """Lay out the predictions of several runs for the same images."""
    dice = [[image.dice for image in run.images] for run in runs]
    means = [mean(scores) for scores in zip(*dice, strict=True)]
    order = sorted(range(len(means)), key=means.__getitem__)
    names = [image.name for image in runs[0].images]
    rows = [Row(names[index], [(run.images[index].dice, run.images[index].iou) for run in runs]) for index in order]
    lines = [Line(n, key, histogram(each), "steps") for n, key, each in zip(numbers, keys, dice, strict=True)]
    most = max(count for line in lines for _, count in line.points)
    groups = [
        (title, [show(index, numbers, runs) for index in indices])
        for title, indices in chosen(order, runs).items()
        if indices
    ]
    return MaskSection(
        numbers,
        [(mean(each), median(each), min(each)) for each in dice],
        chart("images by their Dice", lines, "Dice", (0.0, 1.0), (0.0, 1.2 * most)),
        groups,
        rows[:ROWS],
        len(rows),
        csv_uri(table(keys, runs, order)),
    )


def chosen(order: list[int], runs: Sequence[Masks]) -> dict[str, list[int]]:
    """Which images are shown, none of them twice: the best, middle and worst, and those that runs differ most about.

    The best are those with something to find, if there are any: of nothing, nothing found is soon perfect.
    """
    each, middle = max(1, min(EACH, len(order) // 3)), len(order) // 2
    found = [index for index in order if not runs[0].images[index].empty] or order
    scores = {index: [run.images[index].dice for run in runs] for index in order}
    apart = sorted(order, key=lambda index: min(scores[index]) - max(scores[index]))
    groups = {
        "Worst": order[:each],
        "Best": found[::-1][:each],
        "Median": order[max(0, middle - each // 2) :][:each],
        "Where the runs differ most": [index for index in apart if min(scores[index]) < max(scores[index])][:each],
    }
    seen: set[int] = set()
    for title, indices in groups.items():
        groups[title] = [index for index in indices if index not in seen]
        seen |= {*indices}
    return {title: groups[title] for title in ("Best", "Median", "Worst", "Where the runs differ most")}


def show(index: int, numbers: Sequence[int], runs: Sequence[Masks]) -> Shown:
    """The pictures of one image."""
    pictures = [run.pictures(index) for run in runs]
    answers = [(n, run.images[index].dice, said) for n, run, (_, said) in zip(numbers, runs, pictures, strict=True)]
    return Shown(runs[0].images[index].name, pictures[0][0], answers)


def histogram(values: Sequence[float]) -> list[tuple[float, float]]:
    """(left edge, count) of BINS equal parts of 0 to 1, and the end; 1 itself belongs to the last."""
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(value * BINS))] += 1
    return [*((k / BINS, float(count)) for k, count in enumerate(counts)), (1.0, 0.0)]


def table(keys: Sequence[str], runs: Sequence[Masks], order: Sequence[int]) -> str:
    """All scores as CSV, the worst first."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["image", *(f"{score} {key}".strip() for key in keys for score in ("dice", "iou"))])
    for index in order:
        images = [run.images[index] for run in runs]
        writer.writerow([images[0].path, *(f"{score:.6f}" for image in images for score in (image.dice, image.iou))])
    return file.getvalue()
