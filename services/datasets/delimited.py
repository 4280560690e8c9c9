"""Text tables (CSV and its relatives) to data frames of text, every cell as it stands."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import polars as pl

from models.data.dataset import DataError
from services.datasets.layout import Layout, Record, find_layout, is_comment, records, spoken
from services.datasets.reading import Reading

_START = 2**18  # characters that tell the layout
_CHUNK = 50_000


class Table(NamedTuple):
    """A data frame, and what to tell of how it was read."""

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()


def read_names(text: str, where: str, reading: Reading, preferred: str) -> list[str]:
    """The names of the columns, by the start of a text.

    Raises:
        DataError: as `read_text` does, of that start.
    """
    return list(_layout(text, where, reading, preferred).columns.values())


def read_text(text: str, where: str, reading: Reading, preferred: str) -> Table:
    """Read all records. Each has as many fields as most have; blank lines and comments (#) are skipped.

    Args:
        text: the file's, with line feeds.
        where: the file's name, for messages.
        reading: what is stated of it.
        preferred: separator, unless another one fits better.

    Raises:
        DataError: no table, or a line with another number of fields: naming it, what was found and what helps.
    """
    layout = _layout(text, where, reading, preferred)
    skipped: list[int] = []
    try:
        chunks = list(_chunks(_body(text, where, layout, skipped), layout))
    except DataError as error:
        raise error if str(error).startswith(where) else DataError(f"{where}, {error}") from None
    if not chunks:
        raise DataError(f"{where} has no rows: expected a table with a row per example")
    notes = list(layout.notes)
    if skipped:
        lines = ", ".join(f"{line:,}" for line in skipped[:5]) + (" and more" if len(skipped) > 5 else "")
        notes.append(f"comments (#) in {'line' if len(skipped) == 1 else 'lines'} {lines} were skipped")
    return Table(pl.concat(chunks), tuple(notes))


def _layout(text: str, where: str, reading: Reading, preferred: str) -> Layout:
    start = text[:_START]
    if len(text) > _START:
        start = start[: start.rfind("\n") + 1] or text
    return find_layout(start, where, reading.separator, preferred)


def _body(text: str, where: str, layout: Layout, skipped: list[int]) -> Iterator[list[str]]:
    """The fields of every record after the header, each as many as the layout has."""
    for record in records(text, layout.separator):
        if record.line <= layout.header.line:
            continue
        fields = record.fields
        if len(fields) != layout.width:
            if is_comment(record):
                skipped.append(record.line)
                continue
            while len(fields) > layout.width and not fields[-1].strip():
                fields.pop()
            if len(fields) != layout.width:
                raise _ragged(record, where, layout)
        for at in layout.empty:
            if fields[at].strip():
                raise DataError(
                    f"{where}, line {record.line:,}: field {at + 1} is {fields[at].strip()[:40]!r}, but line "
                    f"{layout.header.line} has no name for it: name the column there, or remove the field"
                )
        yield fields


def _ragged(record: Record, where: str, layout: Layout) -> DataError:
    found, width = len(record.fields), layout.width
    advice = (
        f"put quotation marks around text with {spoken(layout.separator)} in it"
        if found > width
        else "complete the line, or remove it if it is no row of the table"
    )
    return DataError(
        f"{where}, line {record.line:,}: {found} field{'' if found == 1 else 's'}, expected {width} as in other lines, "
        f"separated by {spoken(layout.separator)}: {advice} (--separator states another one)"
    )


def _chunks(body: Iterator[list[str]], layout: Layout) -> Iterator[pl.DataFrame]:
    while rows := list(islice(body, _CHUNK)):
        fields = list(zip(*rows, strict=True))
        yield pl.DataFrame([pl.Series(name, fields[at], pl.String) for at, name in layout.columns.items()])
