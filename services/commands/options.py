"""Options that several commands have."""

import json
import re
from datetime import timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from models.spec.settings import Task
from services.datasets.reading import Reading
from services.errors import ServiceError

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where runs are stored: a folder, or s3://BUCKET/PREFIX on object storage, which is reached by "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, where it is not Amazon's, AWS_ENDPOINT_URL "
        "(with AWS_ALLOW_HTTP=true for http). [env: BASIN_STORE]",
    ),
]
TargetOption = Annotated[str | None, typer.Option("--target", "-t", help="Column to predict; needed for files.")]
TaskOption = Annotated[Task | None, typer.Option("--task", help="State the task instead of inferring it.")]
DecimalOption = Annotated[
    str | None, typer.Option("--decimal", help="Mark before a number's decimals, '.' or ','. [default: found out]")
]
SeparatorOption = Annotated[
    str | None,
    typer.Option("--separator", help="What is between columns, such as ';', or tab or space. [default: found out]"),
]
MissingOption = Annotated[
    list[str] | None,
    typer.Option("--missing", help="A further mark of missing values, such as -999; may be repeated."),
]
TypesOption = Annotated[
    list[str] | None,
    typer.Option("--types", metavar="COLUMN=KIND", help="A column is number, text or date; may be repeated."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", "-w", min=0, help="Ray actors; 0 works in this process, without Ray.")
]
GpusOption = Annotated[
    float | None, typer.Option("--gpus", min=0, help="Share of a GPU for each net's worker, such as 0.5; 0 is none.")
]
LedgerOption = Annotated[
    str | None,
    typer.Option("--ledger", help="URL of the schedules' database; else in the store's folder. [env: BASIN_LEDGER]"),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="HOST:PORT of a Ray cluster. [env: BASIN_ADDRESS]")
]


_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def duration(text: str, option: str) -> timedelta:
    """A time as a person writes it: 90s, 1h or 1d12h.

    Raises:
        ServiceError: it is none.
    """
    parts = re.findall(r"(\d{1,9})([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ServiceError(f"{option} {text!r}: expected numbers with d, h, m or s, such as 90s, 1h or 1d12h")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ServiceError(f"{option} {text!r}: expected less than three million years") from None


def reading(decimal: str | None, separator: str | None, missing: list[str] | None, types: list[str] | None) -> Reading:
    """What is stated of a file's text.

    Raises:
        ServiceError: it cannot be so, naming the option.
    """
    pairs = [asked.rpartition("=") for asked in types or ()]
    for asked, (column, _, _) in zip(types or (), pairs, strict=True):
        if not column:
            raise ServiceError(f"--types {asked!r}: expected COLUMN=KIND, such as zip=text")
    stated = {
        "decimal": decimal,
        "separator": separator,
        "missing": tuple(missing or ()),
        "types": {column: kind for column, _, kind in pairs},
    }
    try:
        return Reading.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        raise ServiceError(f"--{first['loc'][0]} {first['input']!r}: {said}") from None


def listed(text: str | None) -> list[str]:
    """The parts of an option that takes several, separated by commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def print_json(value: Any) -> None:
    """Print on stdout."""
    typer.echo(json.dumps(value, indent=2))
