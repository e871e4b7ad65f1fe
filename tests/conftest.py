"""In which order the files of tests begin."""

import pytest

LONGEST = ["test_distributed.py", "test_stock.py", "test_kills.py", "test_resume.py", "test_configs.py"]
"""Few tests, of many seconds each: begun first, none of them runs while the other processes have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [*LONGEST, item.path.name].index(item.path.name))
