"""Bad input ends in the one sentence that docs/errors.md says, or is handled, and nothing is lost."""

from pathlib import Path

import pytest

from tests.bad_input import CASES, ERRORS, HEAD, Case, answer

ALL = [pytest.param(case, id=f"{title}-{case.given or case.typed}") for title, cases in CASES.items() for case in cases]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("case", ALL)
def test_it_says_what_the_table_says(case: Case, tmp_path: Path) -> None:
    row = case.row(answer(case, tmp_path))
    assert row in ERRORS.read_text(encoding="utf-8").splitlines(), "python -m tests.bad_input writes the table anew"


def test_the_table_has_a_row_for_each_case_and_no_other() -> None:
    text = ERRORS.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    found = {part.splitlines()[0]: part.count("\n| ") - 1 for part in text.split("\n## ")[1:]}
    assert found == {title: len(cases) for title, cases in CASES.items()}
