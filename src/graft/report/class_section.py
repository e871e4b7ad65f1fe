"""What the page shows of predicted classes: of one run, or of several that have seen the same images."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from graft.report.charts import Chart, Line, chart
from graft.report.classes import Classes
from graft.report.images import csv_uri

MISTAKES = 12
LARGEST = 30
"""Classes of a matrix that can be read; of more, the pairs that are mistaken most often are listed."""
PAIRS = 20


@dataclass(frozen=True)
class Mistake:
    """An image that a run takes for another class: its name, its class, a picture, and what each run says of it."""

    name: str
    label: str
    picture: str
    answers: list[tuple[int, str, float, bool]]


@dataclass(frozen=True)
class Confusion:
    """What one run takes for what: rows of (images, share of the row), or pairs (class, taken for, images)."""

    number: int
    matrix: list[tuple[str, list[tuple[int, float]]]]
    pairs: list[tuple[str, str, int]]


@dataclass(frozen=True)
class ClassSection:
    """Part of the page; `numbers` are those of the runs, and every list of runs is in their order."""

    numbers: list[int]
    classes: Sequence[str]
    count: int
    summaries: list[tuple[float, float, int]]
    reliability: Chart
    per_class: list[tuple[str, int, list[float]]]
    confusions: list[Confusion]
    mistakes: list[Mistake]
    file: str
    template = "classes.html"


def class_section(numbers: list[int], keys: Sequence[str], runs: Sequence[Classes]) -> ClassSection:
    """Lay out the predictions of several runs for the same images."""
    classes = runs[0].classes
    matrices = [run.confusion() for run in runs]
    lines = [
        Line(n, key, [(each.confidence, each.accuracy) for each in bins], "marks", [each.count for each in bins])
        for n, key, bins in zip(numbers, keys, (run.reliability() for run in runs), strict=True)
    ]
    return ClassSection(
        numbers,
        classes,
        len(runs[0].names),
        [(run.accuracy, float(run.confidence.mean()), len(run.mistakes())) for run in runs],
        chart("accuracy by confidence", lines, "confidence", (0.0, 1.0), (0.0, 1.0), diagonal=True),
        per_class(classes, matrices),
        [confusion(n, classes, matrix) for n, matrix in zip(numbers, matrices, strict=True)],
        mistakes(numbers, runs),
        csv_uri(table(keys, runs)),
    )


def per_class(classes: Sequence[str], matrices: Sequence[Tensor]) -> list[tuple[str, int, list[float]]]:
    """Of each class that has images: its name, their number, and each run's accuracy on them; the worst first."""
    counts = matrices[0].sum(1).tolist()
    right = [matrix.diagonal().tolist() for matrix in matrices]
    named = enumerate(zip(classes, counts, strict=True))
    rows = [(name, n, [of[k] / n for of in right]) for k, (name, n) in named if n]
    return sorted(rows, key=lambda row: (sum(row[2]), row[0]))


def confusion(number: int, classes: Sequence[str], matrix: Tensor) -> Confusion:
    """One run's confusions, as a matrix where it can be read, else as a list."""
    if len(classes) > LARGEST:
        off = matrix - matrix.diagonal().diag()
        top = off.flatten().argsort(descending=True, stable=True)[:PAIRS].tolist()
        places = [divmod(place, len(classes)) for place in top]
        return Confusion(number, [], [(classes[i], classes[j], n) for i, j in places if (n := int(off[i, j]))])
    rows = []
    for name, counts in zip(classes, matrix.tolist(), strict=True):
        rows.append((name, [(n, n / max(1, sum(counts))) for n in counts]))
    return Confusion(number, rows, [])


def mistakes(numbers: Sequence[int], runs: Sequence[Classes]) -> list[Mistake]:
    """The images that some run takes for another class, the most confident first."""
    sure: dict[int, float] = {}
    for run in runs:
        for index in run.mistakes():
            sure[index] = max(sure.get(index, 0.0), float(run.confidence[index]))
    first, shown = runs[0], []
    for index in sorted(sure, key=lambda index: (-sure[index], index))[:MISTAKES]:
        label = int(first.labels[index])
        answers = [
            (n, run.classes[best], float(run.confidence[index]), best == label)
            for n, run in zip(numbers, runs, strict=True)
            for best in [int(run.best[index])]
        ]
        shown.append(Mistake(first.names[index], first.classes[label], first.picture(index), answers))
    return shown


def table(keys: Sequence[str], runs: Sequence[Classes]) -> str:
    """What each run says of every image, as CSV."""
    file, first = io.StringIO(), runs[0]
    writer = csv.writer(file)
    writer.writerow(["image", "class", *(f"{what} {key}".strip() for key in keys for what in ("said", "probability"))])
    said = [[(run.classes[k], f"{p:.6f}") for k, p in zip(run.best, run.confidence, strict=True)] for run in runs]
    for index, path in enumerate(first.paths):
        answers = [cell for run in said for cell in run[index]]
        writer.writerow([path, first.classes[int(first.labels[index])], *answers])
    return file.getvalue()
