"""What documents are made of: frozen records, and numbers with their errors, null where they are not finite."""

import math
from numbers import Real
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from models.spec.settings import Settings


def _null_unless_finite(value: Any) -> Any:
    if not isinstance(value, Real):
        return value
    return float(value) if math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_null_unless_finite)]
Probability = Annotated[float | None, BeforeValidator(_null_unless_finite), Field(ge=0, le=1)]
Amount = Annotated[int, Field(ge=0)]


class Record(Settings):
    """A frozen part of the document; its attributes' docstrings are the descriptions in the JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Estimate(Record):
    """A number with its standard error; null where it is not finite."""

    value: Number
    standard_error: Number
    """Standard error of `value`; 0 where the value is exact, null where it could not be had."""


NOT_AVAILABLE = Estimate(value=None, standard_error=None)
