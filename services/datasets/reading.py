"""How a file's text is to be read, where a person states it rather than let it be found out."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from models.spec.settings import Settings, canonical_json

Type = Literal["number", "text", "date"]
_SPOKEN = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|", "space": " "}


def _separator(value: Any) -> Any:
    return _SPOKEN.get(value.lower(), value) if isinstance(value, str) else value


def _separates(value: str) -> str:
    if len(value) != 1 or value in "\"'\n\r\x00." or value.isalnum():
        raise ValueError(f"{value!r} separates no columns: expected one character such as ',' or ';', or tab or space")
    return value


def _marks(value: Any) -> Any:
    """One mark or several; YAML reads -999 as a number."""
    marks = value if isinstance(value, list | tuple) else [value]
    return tuple(str(mark) if isinstance(mark, int | float) and not isinstance(mark, bool) else mark for mark in marks)


Mark = Annotated[str, Field(max_length=100)]
Marks = Annotated[
    tuple[Mark, ...],
    Field(max_length=100),
    BeforeValidator(_marks, json_schema_input_type=str | int | float | list[str | int | float]),
]


class Reading(Settings):
    """What is stated of a table's text. Whatever is left out is found out, and the notes say what was found."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    decimal: Literal[".", ","] | None = None
    """The mark before the decimals of a number."""
    separator: Annotated[str, AfterValidator(_separates), BeforeValidator(_separator)] | None = None
    """The character between two columns of a text file: one such as ';', or tab, comma, semicolon, bar or space."""
    missing: Marks = ()
    """Further marks of a missing value, such as -999, beside the usual ones."""
    types: Mapping[str, Type] = Field(default_factory=dict)
    """What a column holds, by its name: number, text or date."""

    def __hash__(self) -> int:
        return hash(canonical_json(self))  # a mapping has none


UNSTATED = Reading()
