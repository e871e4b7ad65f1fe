"""Writes the table of methods into the README and docs/methods.md: `python -m tests.commands.methods_table`."""

from pathlib import Path

from graft.commands.methods import as_markdown

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "methods.md")
BEGIN, END = "<!-- methods: begin -->\n", "\n<!-- methods: end -->"


def with_table(page: str) -> str:
    """The page with the table as the code has it now, between the two marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{as_markdown()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_table(path.read_text()))
