"""Reading what a person wrote as YAML, or as JSON, which YAML contains: data, never code.

Each key once, and no more of it than can be meant: a small text can mean an enormous value, or two things at once.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from models.spec.settings import SpecError

LARGEST = 4 * 2**20  # bytes
DEEPEST = 32
MOST_VALUES = 100_000
MOST_DIGITS = 400  # a double has at most 309 before its point
_SHORT = 2**13  # characters of a text that may be read a second time
_LONGEST = 80  # characters of a key that are told
# libyaml's, where PyYAML was built with it: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_yaml(path: Path, what: str) -> Any:
    """Decode a file. `what` says what it should be, for the message of a missing one.

    Raises:
        SpecError: no file, an unreadable one, no YAML, or more than `decode_yaml` takes.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise SpecError(f"{str(path)!r} has more than {LARGEST:,} bytes: expected {what}")
        return decode_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise SpecError(f"no file {str(path)!r}: give the path of {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read {str(path)!r}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML raises ValueError for a 13th month
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{str(path)!r} is not YAML: {reason_of(error)}") from None


def decode_yaml(text: str, where: str, *, most: int = MOST_VALUES, aliases: bool = True) -> Any:
    """The data of a text, whose every mapping has each of its keys once, and texts for keys.

    Nothing is built before it is known how much it will be, that of aliases (`*name`) at each of their places.

    Args:
        text: YAML, or JSON.
        where: it is from, for the message.
        most: values, mappings and lists among them, that there may be.
        aliases: whether there may be any.

    Raises:
        SpecError: it is nested more than `DEEPEST` deep, or has more values.
        yaml.YAMLError, ValueError: it is not YAML, or has a key twice; `reason_of` says what and where.
    """
    try:
        _check_events(text, where, most, aliases)
    except yaml.YAMLError:
        if len(text) <= _SHORT:  # PyYAML's own parser, which is slow, tells the place better
            deque(yaml.parse(text, Loader=yaml.SafeLoader), maxlen=0)
        raise
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Sizes(where, most).add(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def reason_of(error: Exception) -> str:
    """What is wrong with a text that is not YAML, and at which line, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        mark = error.problem_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"{at}{error.problem[:400]}"
    return str(error)[:400].replace("\n", " ")


def _check_events(text: str, where: str, most: int, aliases: bool) -> None:
    """What can be told while it is read, before anything of it is kept."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                depth += 1
                if depth > DEEPEST:
                    raise SpecError(f"{where}: it is nested more than {DEEPEST} deep: write it flatter")
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                depth -= 1
                continue
            case yaml.AliasEvent() if not aliases:
                raise SpecError(f"{where}: aliases (*name) are not taken here: write it out")
        values += 1
        if values > 2 * most:  # a value has a key at most
            raise _too_much(where, most)


class _Sizes:
    """How many values the nodes of a text amount to, each counted wherever an alias puts it."""

    def __init__(self, where: str, most: int) -> None:
        self._where, self._most = where, most
        self._known: dict[yaml.Node, int] = {}  # nodes go by their identity

    def add(self, node: yaml.Node) -> int:
        """The size of a node, which is checked the first time."""
        if node in self._known:
            if not self._known[node]:
                raise _fault(node, "it contains itself by an alias: write out what is meant")
            return self._known[node]
        self._known[node] = 0  # it is at work
        self._known[node] = size = 1 + sum(map(self.add, _parts(node)))
        if size > self._most:
            raise _too_much(self._where, self._most)
        return size


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    """What a node holds, checked."""
    match node:
        case yaml.MappingNode(value=pairs):
            seen: dict[str, yaml.Node] = {}
            for key, value in pairs:
                _check_key(key, seen)
                yield value
        case yaml.SequenceNode(value=items):
            yield from items
        case yaml.ScalarNode(tag=tag, value=text) if tag in _NUMBERS and len(text) > MOST_DIGITS:
            raise _fault(node, f"a number of more than {MOST_DIGITS} digits: expected a smaller one")


def _check_key(key: yaml.Node, seen: dict[str, yaml.Node]) -> None:
    if not isinstance(key, yaml.ScalarNode):
        raise _fault(key, "a list or a mapping cannot be a key: expected text")
    shown = repr(key.value if len(key.value) <= _LONGEST else f"{key.value[:_LONGEST]}...")
    if key.tag not in (_TEXT, _MERGE):
        raise _fault(key, f"the key {shown[1:-1]} is read as a number, a date, or yes or no: put it in quotation marks")
    if key.value in seen:
        first = seen[key.value].start_mark.line + 1
        raise _fault(key, f"the key {shown} is there twice, first on line {first}: keep one of them")
    seen[key.value] = key


def _fault(node: yaml.Node, words: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, words, node.start_mark)


def _too_much(where: str, most: int) -> SpecError:
    return SpecError(f"{where}: it has more than {most:,} values in it: ask for less, or for ranges")
