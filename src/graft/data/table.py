"""Read a CSV whose columns are known."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the rows of a UTF-8 CSV with a header; blanks around values are dropped.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing from the header, or a value from a row.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a CSV file with the columns {', '.join(columns)}.")
    with io.StringIO(read_text(path), newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        if missing := [name for name in columns if name not in header]:
            raise ValueError(
                f"{path} has no column {' or '.join(missing)}, only {', '.join(header) or 'an empty first line'}; it "
                f"needs {', '.join(columns)}."
            )
        rows = []
        for row in reader:
            values = {name: (row[name] or "").strip() for name in header}
            if empty := [name for name in columns if not values[name]]:
                raise ValueError(f"{path}, line {reader.line_num}: no value for {' or '.join(empty)}; fill it in.")
            rows.append(values)
    return rows


def read_text(path: Path) -> str:
    """Read a UTF-8 text, with or without a byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error.reason}); save it as UTF-8.") from error
