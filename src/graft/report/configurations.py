"""Configurations, and where those of several runs differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

ABSENT = "-"


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The dotted keys whose values differ, each with its value in every configuration."""
    values = [dict(flat(config)) for config in configs]
    keys = dict.fromkeys(key for each in values for key in each)
    rows = [(key, [in_yaml(each[key]) if key in each else ABSENT for each in values]) for key in keys]
    return [(key, said) for key, said in rows if len({*said}) > 1]


def in_yaml(value: Any) -> str:
    """A value as in a file, on one line."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("\n...\n").strip()


def as_file(config: Mapping[str, Any]) -> str:
    """The whole configuration."""
    return str(yaml.safe_dump(dict(config), sort_keys=False))
