"""What is wrong, in a sentence, and the line of the configuration that changes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from graft.refusal import refused


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Args:
        says: What it is, and what to do.
        change: Lines of YAML that mend it, where the configuration is what is wrong.
        fatal: Whether `fit` would stop at it, or would learn nothing.
    """

    says: str
    change: str = ""
    fatal: bool = False


@contextmanager
def noted(findings: list[Finding], change: str = "") -> Iterator[None]:
    """What Graft refuses within becomes a finding, and the check goes on; a bug stays a traceback."""
    try:
        yield
    except Exception as error:
        if (said := refused(error)) is None:
            raise
        findings.append(Finding(said, change, fatal=True))
