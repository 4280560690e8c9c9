"""Frozen records of settings, what their numbers may be, and the words for what is wrong with one."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SCHEMA_VERSION = 4
MOST_FAULTS = 20  # of a spec that are told
MOST = 10**9  # of anything that is counted
MOST_POINTS = 10**4  # of a grid, along each of its axes
_LONGEST = 80  # characters of what was written that are told

Task = Literal["classes", "real", "count"]
Kind = Literal["deterministic", "bayesian-net", "glm", "baseline"]
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class SpecError(ValueError):
    """A spec that cannot be meant: the message names the path, what was expected and the remedy."""


def _strictly_numbers(schema: Any) -> Any:
    """A schema whose numbers are none of true and false, which pydantic takes for 1 and 0."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_strictly_numbers, schema))
    if not isinstance(schema, dict):
        return schema
    inner = {key: value if key == "metadata" else _strictly_numbers(value) for key, value in schema.items()}
    if inner.get("type") in ("int", "float"):
        return core_schema.no_info_before_validator_function(_number, inner)  # pyright: ignore[reportArgumentType] - as it was
    return inner


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        read = "yes, on or true" if value else "no, off or false"
        raise PydanticCustomError("answer", f"expected a number, and this is {read}")
    return value


class Settings(BaseModel):
    """A frozen record that refuses unknown keys, and yes and no where a number is expected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Its fields, in which `true` is no 1."""
        return _strictly_numbers(handler(source))


def explained(faults: Sequence[Any], explain: Callable[[Any], str]) -> Iterator[str]:
    """A line for each fault, for as many as anybody reads."""
    wrong = {fault["loc"][:i] for fault in faults for i in range(len(fault["loc"]))}
    # pydantic does not count the entries that are wrong, and so calls their list too short as well.
    told = [fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in wrong]
    yield from map(explain, told[:MOST_FAULTS])
    if len(told) > MOST_FAULTS:
        yield f"... and {len(told) - MOST_FAULTS:,} more"


def worded(fault: Any) -> str:
    """What is wrong in pydantic's words, or in better ones."""
    if fault["type"] == "string_type" and (remedy := unquoted(fault["input"])):
        return f"expected text{remedy}"
    return fault["msg"].removeprefix("Value error, ")


def unquoted(value: Any) -> str:
    """For a message: what a word without quotation marks was read as; nothing where it is text, or no word."""
    match value:
        case bool():
            read = f"YAML reads {'yes, on and true' if value else 'no, off and false'} as an answer"
        case int() | float():
            read = "this is read as a number"
        case date():
            read = "this is read as a date"
        case _:
            return ""
    return f", and {read}: if it is a name, put it in quotation marks"


def shortened(text: str) -> str:
    """What was written, for a message."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def canonical_json(value: Settings | Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces: equal specs give equal text."""
    data = value.model_dump(mode="json") if isinstance(value, Settings) else value
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Settings | Mapping[str, Any]) -> str:
    """First 128 bits of the SHA-256 of the canonical JSON, in hexadecimal."""
    return digest_text(canonical_json(value))


def digest_text(text: str) -> str:
    """First 128 bits of the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
