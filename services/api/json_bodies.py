"""What a request's body of JSON may be, told from its bytes in one pass, before any of it is parsed."""

import json
import re

from services.api.errors import ApiError
from services.sweeps.yaml_file import MOST_DIGITS, MOST_VALUES

_LONGEST_KEY = 80  # characters that are told
# A string (whole, or cut off) and whether it is a key, brackets, a comma, a number, or one that JSON does not have.
# Possessive, and what JSON does not have side by side is one: no text takes long.
_TOKENS = re.compile(
    rb'((?:"(?:[^"\\]++|\\.)*+"?\s*+)++)(:)?|([\[{])|([\]}]++)|(,)|((?:[0-9]++\s*+)++)|NaN|Infinity', re.DOTALL
)
_STRING, _KEY, _OPEN, _CLOSE, _COMMA, _DIGITS = range(1, 7)


def check_json(body: bytes, deepest: int, most: int = MOST_VALUES) -> None:
    """Refuse what would be hard to parse, or could be read in two ways.

    Args:
        body: of a request.
        deepest: how deep mappings and lists may be nested.
        most: values, mappings and lists among them, that there may be.

    Raises:
        ApiError: it is nested too deeply, has too many values, a key twice in one mapping, or a number in it that JSON
            does not have; or it is not in UTF-8.
    """
    if not json.detect_encoding(body).startswith("utf-8"):  # a parser may take others, in which this would see nothing
        raise _refused("expected JSON in UTF-8")
    keys: list[set[str] | None] = []  # of the mappings and lists that are open, the outermost first
    values = 0
    for found in _TOKENS.finditer(body):
        match found.lastindex:
            case 1:  # a string that is no key, which may hold anything
                pass
            case 2:
                if keys and (known := keys[-1]) is not None:
                    _add(found[_STRING].strip(), known, body, found.start())
            case 3:
                keys.append(set() if found[_OPEN] == b"{" else None)
                if len(keys) > deepest:
                    raise _refused(f"the body is nested more than {deepest} deep: send it flatter")
                values += 1
            case 4:
                del keys[-len(found[_CLOSE]) :]
            case 5:
                values += 1
            case 6:
                if len(found[_DIGITS].strip()) > MOST_DIGITS:
                    raise _refused(f"the body has a number of more than {MOST_DIGITS} digits: expected a smaller one")
            case _:
                raise _refused("the body has NaN or Infinity in it, which JSON does not have: leave it out")
        if values > most:
            raise _refused(f"the body has more than {most:,} values: send less")


def _add(written: bytes, known: set[str], body: bytes, start: int) -> None:
    """Add a key to those of its mapping."""
    try:
        key = json.loads(written) if b"\\" in written else written[1:-1].decode()
    except ValueError:  # a parser says what is wrong with it
        return
    if key in known:
        line = body.count(b"\n", 0, start) + 1
        shown = json.dumps(key[:_LONGEST_KEY])
        raise _refused(f"line {line} of the body has the key {shown} again: keep one of them")
    known.add(key)


def _refused(words: str) -> ApiError:
    return ApiError("invalid_request", words)
