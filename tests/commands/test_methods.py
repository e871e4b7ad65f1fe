"""The table of methods is what the code says, and the pages show it."""

import pytest

import graft.adapters
import graft.rules
from graft.adapters import LoRA
from graft.cli import main
from graft.commands.methods import found, row
from graft.rules import Rule
from tests.adapters.kinds import ADAPTERS
from tests.commands.methods_table import PAGES, with_table


def test_every_method_has_its_row():
    rules = {kind.__name__ for kind in vars(graft.rules).values() if isinstance(kind, type) and issubclass(kind, Rule)}
    assert {method.name for method in found()} >= {kind.__name__ for kind in ADAPTERS} | (rules - {"Rule"})


def test_parameters_are_those_of_the_papers_places():
    count = {method.name: method.trained for method in found()}
    width, blocks, r = 768, 12, 8
    assert count["SerialLoRA"] == 2 * r * width * blocks
    assert count["LoRA"] == 8 * r * width * blocks
    assert count["LoRAPlus"] is None


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_pages_show_the_table_as_it_is(path):
    page = path.read_text()
    assert page == with_table(page), "write it anew: python -m tests.commands.methods_table"


def test_the_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["methods"]) is None
    printed = capsys.readouterr().out
    for method in found():
        assert method.name in printed
        assert method.equation.split()[0] in printed
    main(["methods", "--markdown=true"])
    assert capsys.readouterr().out.count("\n| `") == len(found())


def test_a_docstring_without_an_equation_is_named():
    class Nameless(LoRA):
        """Something new."""

    with pytest.raises(ValueError, match=r"Nameless begins 'Something new\.'; expected EQUATION"):
        row(Nameless, "low-rank", 1)


def test_help_and_a_wrong_option(capsys):
    with pytest.raises(SystemExit):
        main(["methods", "--help"])
    assert "trained parameters on SAM ViT-B" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["methods", "--markup"])
    assert capsys.readouterr().err.startswith("error: There is no option 'markup'; choose from ")
