"""A configuration file, looked at before it is parsed: what is wrong with it is said by file and line."""

from pathlib import Path

import yaml

EXPECTED = "keys such as model, data, adapt and trainer"


class ConfigurationError(TypeError):
    """A file is no configuration. (A `TypeError`, which is what the parser reports as the user's.)"""


def check(path: Path) -> None:
    """Refuse a file that is no YAML mapping, or that YAML would read otherwise than it looks.

    Raises:
        ConfigurationError: It is no text, empty, no mapping, not YAML, or has a key twice or one without a value.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise ConfigurationError(f"{path} is no text; give a configuration in YAML with {EXPECTED}.") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError(f"{path}, {_wrong(path, error)}") from error
    if root is None:
        raise ConfigurationError(f"{path} is empty; give it {EXPECTED}, or leave it out.")
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{path} holds no {EXPECTED}; write each as KEY: VALUE.")
    _check_keys(root, path)
    for key, value in root.value:
        if isinstance(value, yaml.ScalarNode) and not value.value:
            raise ConfigurationError(f"{path}, line {_line(key)}: {key.value} has no value; fill it in, or remove it.")


def _wrong(path: Path, error: yaml.MarkedYAMLError) -> str:
    """The line and what is wrong there."""
    mark = error.problem_mark
    if mark is None:
        return f"is not YAML: {error.problem}."
    line = [*path.read_text(encoding="utf-8").splitlines(), ""][mark.line]
    if "\t" in line[: mark.column + 1]:
        return f"line {mark.line + 1}: there is a tab, but YAML is indented by spaces; replace it."
    return f"line {mark.line + 1}: {error.problem}; correct it."


def _check_keys(node: yaml.Node, path: Path) -> None:
    """Refuse a key that stands twice in one mapping: YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, path)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), _line(key)
            if name in first:
                raise ConfigurationError(
                    f"{path}, line {line}: {name} is there already, in line {first[name]}; remove one of the two."
                )
            first[name] = line
            _check_keys(value, path)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
