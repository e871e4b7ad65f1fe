"""A report holds what the run has logged and what its model says, and nothing that a browser would have to fetch."""

import base64
import csv
import io
import re
import shutil
import struct
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import f1_score, jaccard_score
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard import SummaryWriter

from graft.cli import main
from graft.run import open_run
from tests.e2e import CONFIGS, class_folders, options, refused
from tests.place import noise, place, run, square

BROWSER = Path("/usr/bin/chromium")
VOID = {"meta", "link", "br", "img", "path", "circle"}
FAST = {"accelerator": "cpu", "devices": 1, "log_every_n_steps": 1, "enable_progress_bar": "false"}
VAL = [f"val{k}" for k in range(5)]
HOSTILE = "<script>alert('x')<"
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]


class Page(HTMLParser):
    """What is in a page: its elements with their attributes, the text of its tables, and whether its tags match."""

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text()
        self.open, self.elements, self.tables, self.text = [], [], [], []
        self.feed(self.html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.open[-2] == "tr":
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> in {self.getpos()}"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] = " ".join(f"{self.tables[-1][-1][-1]} {data}".split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self):
        return " ".join(" ".join(self.text).split())

    def table(self, *head):
        """The rows below a head."""
        (found,) = (rows[1:] for rows in self.tables if rows[0] == [*head])
        return found

    def file(self):
        """The table that the page hands out."""
        (link,) = self.all("a")
        return list(csv.reader(io.StringIO(base64.b64decode(link["href"].partition(",")[2]).decode())))


def report(folder, *runs):
    """The page about some runs."""
    output = folder / "report.html"
    main(["report", *map(str, runs), f"--output={output}"])
    return Page(output)


def records(folder):
    """The scalars in a folder's event files, read off the records themselves: by tag, (step, value)."""
    found = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A working folder with two finished runs, of masks in `masks` and of classes in `classes`."""
    folder = tmp_path_factory.mktemp("report")
    with place(folder):
        (folder / "DATA/val.txt").write_text("\n".join(VAL))
        for name in VAL:
            noise(name).save(folder / f"DATA/images/{name}.png")
            square(value=0 if name == "val3" else 255).save(folder / f"DATA/masks/{name}.png")
        logger = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.name=", f"--trainer.logger.save_dir={folder}"]
        small = [*options("trainer", FAST), *logger, "--trainer.logger.default_hp_metric=false"]
        masks = ["--trainer.max_steps=4", "--trainer.val_check_interval=1", "--trainer.check_val_every_n_epoch=null"]
        assert run("fit", "--config=tiny.yaml", *small, *masks, "--trainer.logger.version=masks").code == 0
        clip = [f"--config={CONFIGS / 'clip_folder.yaml'}", "--model.backbone=tiny", *class_folders(folder)]
        clip += [
            "--data.num_workers=0",
            "--data.batch_size=4",
            "--trainer.max_steps=2",
            "--trainer.val_check_interval=1",
        ]
        assert run("fit", *clip, *small, "--trainer.logger.version=classes").code == 0
        yield folder


@pytest.fixture(scope="module")
def pages(world, tmp_path_factory):
    """Pages of all kinds."""
    hostile = world / HOSTILE
    shutil.copytree(world / "masks", hostile)
    config = yaml.safe_load((hostile / "config.yaml").read_text())
    config["adapt"]["adapter"]["init_args"]["rank"] = HOSTILE
    (hostile / "config.yaml").write_text(yaml.safe_dump(config))
    kinds = {"masks": ["masks"], "classes": ["classes"], "both": ["masks", "classes"], "hostile": ["masks", HOSTILE]}
    return {name: report(tmp_path_factory.mktemp(name), *(world / run for run in runs)) for name, runs in kinds.items()}


KINDS = ("masks", "classes", "both", "hostile")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_holds_all_that_it_shows(pages, kind):
    page = pages[kind]
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert not re.search(r"https?://|url\(|@import", re.sub(r"<pre>.*?</pre>", "", page.html, flags=re.DOTALL))
    assert len(page.html) < 3e6


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_read_without_seeing_it(pages, kind):
    page = pages[kind]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False))
    assert page.all("img")
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("name", ["masks", "classes"])
def test_scores_and_verdict_are_those_of_the_event_files(world, pages, name):
    logged = {tag: values for tag, values in records(world / name).items() if tag.startswith("val/")}
    rows = pages[name].table("score", "before", "best", "at step", "last", "best \N{MINUS SIGN} before")
    assert {row[0].split()[0] for row in rows} == {*logged}
    for row in rows:
        tag = row[0].split()[0]
        values = [value for _, value in logged[tag]]
        best = (min if tag in ("val/loss", "val/ece") else max)(values)
        expected = [f"{values[0]:.4f}", f"{best:.4f}", str(logged[tag][values.index(best)][0]), f"{values[-1]:.4f}"]
        assert row[1:5] == expected, tag
        assert float(row[5].replace("\N{MINUS SIGN}", "-")) == pytest.approx(best - values[0], abs=6e-5)
    monitored = {"masks": "val/dice", "classes": "val/accuracy"}[name]
    values = [value for _, value in logged[monitored]]
    assert f"{monitored} {values[0]:.4f} → {max(values):.4f}" in pages[name].said()


def test_every_point_of_a_curve_is_in_the_chart(world, pages):
    for tag in ("train/loss", "val/dice"):
        for step, value in records(world / "masks")[tag]:
            assert f"step {step:g}: {value:.4g}" in pages["masks"].said()


def test_an_images_dice_is_sklearns_and_their_mean_the_modules(world, pages):
    (best,) = (world / "masks/checkpoints").glob("best-*.ckpt")
    opened = open_run(best)
    data, module = opened.data(), opened.module
    data.setup("validate")
    expected = {}
    with torch.inference_mode():
        for batch in data.val_dataloader():
            masks = module.validation_step(batch, 0)["masks"]
            for path, mask, truth in zip(batch["path"], masks, batch["original_mask"], strict=True):
                pair = truth.flatten().numpy(), mask.flatten().numpy()
                expected[path] = [score(*pair, zero_division=1.0) for score in (f1_score, jaccard_score)]
    head, *rows = pages["masks"].file()
    assert head == ["image", "dice", "iou"]
    found = {path: [float(value) for value in values] for path, *values in rows}
    assert found.keys() == expected.keys()
    for path, values in expected.items():
        assert found[path] == pytest.approx(values, abs=2e-6)
    assert len({dice for dice, _ in found.values()}) > 2  # the images differ, or nothing is tested
    assert [dice for dice, _ in found.values()] == sorted(dice for dice, _ in found.values())
    scores = module.scores.compute()
    assert np.mean([*found.values()], axis=0) == pytest.approx([float(scores["dice"]), float(scores["iou"])], abs=2e-6)
    (row,) = pages["masks"].table("mean", "median", "worst")
    assert row[0] == f"{float(scores['dice']):.4f}"


def test_the_images_that_are_told_of_are_all_and_those_that_are_shown_are_some(pages):
    assert {row[0] for row in pages["masks"].table("image", "Dice", "IoU")} == {*VAL}
    shown = [image["alt"].partition(":")[0] for image in pages["masks"].all("img")]
    assert {*shown} <= {*VAL}
    assert all(shown.count(name) == 2 for name in {*shown})  # image and truth; prediction and disagreement


def test_classes_are_counted_as_in_the_log(world, pages):
    (checkpoint,) = (world / "classes/checkpoints").glob("best-*.ckpt")
    values = [value for _, value in records(world / "classes")["val/accuracy"]]
    rows = pages["classes"].file()[1:]
    right = np.mean([said == truth for _, truth, said, _ in rows])
    assert right == pytest.approx(max(values)), checkpoint
    matrix = next(rows for rows in pages["classes"].tables if rows[0][0] == "" and len(rows) == len(rows[0]))
    counts = np.array([[int(cell or 0) for cell in row[1:]] for row in matrix[1:]])
    assert counts.sum() == len(rows)
    assert np.trace(counts) == round(right * len(rows))


def test_runs_that_have_seen_the_same_images_are_shown_side_by_side(pages):
    page = pages["hostile"]
    assert page.said().count("Images of the validation split") == 1
    assert pages["both"].said().count("Images of the validation split") == 2
    case = [attributes["alt"] for attributes in page.all("img")][:3]
    assert len({alt.partition(":")[0] for alt in case}) == 1
    assert ["run A" in alt for alt in case] == [False, True, False]
    assert ["run B" in alt for alt in case] == [False, False, True]


def test_configurations_that_differ_are_said_first(pages):
    rows = pages["hostile"].table("key", "A", "B")
    assert rows == [["adapt.adapter.init_args.rank", "4", HOSTILE]]


def test_the_best_run_is_marked(world, tmp_path):
    for name, shift in (("low", 0.0), ("high", 0.1)):
        log(tmp_path / name, {"val/dice": [(0, 0.1), (9, 0.5 + shift)], "val/loss": [(0, 1.0), (9, 0.5 + shift)]})
    page = report(tmp_path, tmp_path / "low", tmp_path / "high")
    low, high = page.table("run", "method", "trained", "dice", "loss", "images/s", "checkpoint")
    assert ["(best)" in cell for cell in low[3:5]] == [False, True]
    assert ["(best)" in cell for cell in high[3:5]] == [True, False]


def log(folder, scalars, suffix=""):
    """Write scalars as an event file."""
    writer = SummaryWriter(str(folder), filename_suffix=suffix)
    for tag, values in scalars.items():
        for step, value in values:
            writer.add_scalar(tag, value, step)
    writer.close()


def test_a_run_that_went_on_in_its_folder_is_one_curve(tmp_path):
    log(tmp_path / "run", {"val/dice": [(0, 0.1), (9, 0.2), (19, 0.9)]}, ".0")
    log(tmp_path / "run", {"val/dice": [(14, 0.3), (19, 0.4), (24, 0.35)]}, ".1")  # from a checkpoint of step 10 to 14
    page = report(tmp_path, tmp_path / "run")
    assert [row[:2] for row in page.table("step", "val/dice")] == [
        ["0", "0.1000"],
        ["9", "0.2000"],
        ["14", "0.3000"],
        ["19", "0.4000"],
        ["24", "0.3500"],
    ]
    (row,) = page.table("score", "before", "best", "at step", "last", "best \N{MINUS SIGN} before")
    assert row[1:5] == ["0.1000", "0.4000", "19", "0.3500"]


def gone(world, run):
    shutil.rmtree(run / "checkpoints")
    return "holds no checkpoint."


def damaged(world, run):
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    return "is no complete checkpoint"


def without_data(world, run):
    for path in (run / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["config"] = checkpoint["config"].replace("root: DATA", "root: NONE")
        torch.save(checkpoint, path)
    return "NONE/images does not exist"


def other_weights(world, run):
    for path in (run / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["hyper_parameters"]["checkpoint"] = "weights.pth"
        torch.save(checkpoint, path)
    return "weights.pth"


@pytest.mark.parametrize("lack", [gone, damaged, without_data, other_weights])
def test_what_is_not_there_is_said_in_place(world, pages, tmp_path, capsys, lack):
    shutil.copytree(world / "masks", tmp_path / "run")
    said = lack(world, tmp_path / "run")
    page = report(tmp_path, tmp_path / "run")
    assert said in page.said()
    assert "left out of" in capsys.readouterr().out
    assert page.said().count("Images of the validation split") == 0
    head = ("score", "before", "best", "at step", "last", "best \N{MINUS SIGN} before")
    assert page.table(*head) == pages["masks"].table(*head)
    assert bool(page.all("img")) is False


def test_a_checkpoint_alone_is_reported_without_curves(world, pages, tmp_path):
    shutil.copy(world / "masks/checkpoints/last.ckpt", tmp_path / "alone.ckpt")
    page = report(tmp_path, tmp_path / "alone.ckpt")
    assert "No scalars are logged here" in page.said()
    assert "SerialLoRA, rank 4" in page.said()
    assert len(page.file()) == 6


def test_the_best_checkpoint_is_asked_and_a_given_one_wins(world, tmp_path):
    shutil.copytree(world / "masks", tmp_path / "run")
    (best,) = (tmp_path / "run/checkpoints").glob("best-*.ckpt")
    best.write_bytes(b"")
    assert f"{best.name} (0 bytes)" in report(tmp_path, tmp_path / "run").said()
    assert "0 bytes" not in report(tmp_path, tmp_path / "run/checkpoints/last.ckpt").said()


def test_cost_is_what_the_checkpoint_holds(world, pages):
    head = ("part", "adapted blocks", "trained values", "all values", "share", "trained")
    rows = {row[0]: row[1:] for row in pages["masks"].table(*head)}
    (best,) = (world / "masks/checkpoints").glob("best-*.ckpt")
    model = open_run(best).module.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    assert rows["all"][:4] == ["2", f"{trained:,}", f"{total:,}", f"{trained / total:.2%}"]
    encoder = sum(p.numel() for name, p in model.image_encoder.named_parameters() if ".adapter." in name)
    assert rows["image_encoder"][1] == f"{encoder:,}"
    assert "SerialLoRA(rank=4" in pages["masks"].said()


def test_bad_input_is_refused_in_a_sentence(world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    assert refused(capsys, "report", "empty") == (
        "empty is no run's log folder: it holds no config.yaml, no event files and no checkpoints; give one such as "
        "lightning_logs/version_0."
    )
    assert refused(capsys, "report", world).endswith(f"no checkpoints; did you mean {world / 'classes'}?")
    assert refused(capsys, "report", "none.ckpt").startswith("There is no checkpoint none.ckpt")
    assert refused(capsys, "report", "empty/notes.txt").startswith("empty/notes.txt (0 bytes) is no complete checkp")
    assert refused(capsys, "report", world / "masks", "--output=empty") == (
        "--output is empty, which is a folder; give a file, such as empty/report.html."
    )
    log(tmp_path / "run", {"val/dice": [(0, 0.5)]})
    (tmp_path / "run" / "config.yaml").write_text("model: [")
    assert "config.yaml, line 1" in refused(capsys, "report", "run")
    assert not [*tmp_path.glob("*.html*")]


def test_a_page_is_whole_or_that_of_before(tmp_path, capsys, monkeypatch):
    log(tmp_path / "run", {"val/dice": [(0, 0.5)]})
    (tmp_path / "report.html").write_text("before")
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(full))
    said = refused(capsys, "report", tmp_path / "run", f"--output={tmp_path / 'report.html'}")
    assert said.endswith(
        "cannot be written (No space left on device): make room or choose another place with --output."
    )
    assert (tmp_path / "report.html").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "run"]


def test_help_says_what_it_takes(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "usage: main.py report [--output OUTPUT] runs [runs ...]" in said
    assert "default: report.html" in said


@pytest.mark.skipif(not BROWSER.exists(), reason=f"there is no {BROWSER}, so no page is rendered")
@pytest.mark.parametrize("kind", ["both", "hostile"])
def test_a_browser_shows_a_page_without_complaint(pages, tmp_path, kind):
    (tmp_path / "page.html").write_text(pages[kind].html)
    picture = tmp_path / "page.png"
    size = ["--window-size=1000,1500", f"--user-data-dir={tmp_path / 'user'}", f"--screenshot={picture}"]
    command = [BROWSER, *QUIET, *size, f"file://{tmp_path / 'page.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert picture.stat().st_size > 20_000
