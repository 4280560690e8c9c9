"""How a text table is laid out: what separates its columns, which line names them, and what stands before that."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import NamedTuple

from models.data.dataset import DataError, listed

_SEPARATORS = ",;\t|"
_MOST_RECORDS = 1000
_MOST_COLUMNS = 20_000
_LONGEST_LINE = 2**22
_SPOKEN = {"\t": "tabs", " ": "spaces"}
_NUMBER = re.compile(r"[-+]?(\d+([.,'\u2019 \u00a0\u202f]\d+)*[.,]?|[.,]\d+)([eE][-+]?\d+)?")


class Record(NamedTuple):
    """The fields of one record, and the line that it begins in, counted from 1."""

    line: int
    fields: list[str]


class Layout(NamedTuple):
    """What the start of a text tells of all of it.

    Attributes:
        separator: what is between two fields.
        header: line that names the columns.
        width: fields of a record.
        columns: names by their position in a record.
        empty: positions without a name or a value.
        notes: what was found, where it is not the usual.
    """

    separator: str
    header: Record
    width: int
    columns: dict[int, str]
    empty: tuple[int, ...]
    notes: tuple[str, ...]


def spoken(separator: str) -> str:
    """A separator in words."""
    return _SPOKEN.get(separator, repr(separator))


def records(text: str, separator: str) -> Iterator[Record]:
    """The records of a text that are not blank or empty; quotation marks protect separators and ends of lines.

    Raises:
        DataError: quotation marks that do not pair, or a field beyond what can be a value.
    """
    reader = csv.reader(_raw(text, separator), delimiter=separator, strict=True, skipinitialspace=True)
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield Record(line, fields)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"line {line:,}: {_quotation(str(error), separator)}") from None


def find_layout(text: str, where: str, separator: str | None, preferred: str) -> Layout:
    """Find the layout by the start of a text.

    The separator is the one by which the records agree in how many fields they have, header and quotation marks
    respected, and whose fields are plain. Lines of another form before the header are skipped, and so are comments
    (#). A header that is one name shorter than all records is R's, whose row names are left out; so are columns without
    a name and values.

    Args:
        text: beginning of the file, up to the end of a line.
        where: the file's name, for messages.
        separator: where it is stated.
        preferred: where it is not, and this one makes columns: "\t" for .tsv.

    Raises:
        DataError: nothing that can be a table; or a header that names nothing, or one name twice.
    """
    stated = re.match(r"\s*sep=(.)\n", text)
    notes = []
    if stated:
        separator = separator or stated[1]
        text = "\n" * (text[: stated.end()].count("\n")) + text[stated.end() :]
    found, sample = _choose(text, where, separator, preferred)
    width = _width(sample)
    if width < 2:
        tried = spoken(found) if separator else "commas, semicolons, tabs, bars or spaces"
        raise DataError(
            f"{where} has one column only, {sample[0].fields[0].strip()[:60]!r}, by {tried}: a table needs a target "
            f"and columns to learn from (--separator states what is between them)"
        )
    if width > _MOST_COLUMNS:
        raise DataError(
            f"{where} has {width:,} columns, at most {_MOST_COLUMNS:,} can be read: keep the ones that matter"
        )
    if found != preferred or stated:
        notes.append(f"columns are separated by {spoken(found)}{', as its first line says' if stated else ''}")
    header, body = _split(sample, width)
    skipped = [record for record in sample if record.line < header.line]
    if skipped:
        lines = text.split("\n", header.line)
        shown = listed([lines[record.line - 1].strip()[:60] for record in skipped], 3)
        notes.append(f"{_lines(len(skipped))} before the header, in line {header.line}, skipped: {shown}")
    quoted = text.split("\n", body[0].line)[body[0].line - 1].lstrip().startswith('"') if body else False
    columns, empty, more = _columns(header, body, width, where, quoted)
    return Layout(found, header, width, columns, empty, (*notes, *more))


def _quotation(message: str, separator: str) -> str:
    if "unexpected end" in message:
        return "a quotation mark that opens here is never closed: close it, or write it twice within a quoted text"
    if "expected after" in message:
        return (
            f"text follows a closing quotation mark, where {spoken(separator)} should: write a quotation mark within a "
            "quoted text twice (--separator states another)"
        )
    if "field larger" in message:
        return f"field larger than {csv.field_size_limit():,} characters: check the quotation marks"
    return f"cannot be read ({message})"


def _each(text: str) -> Iterator[str]:
    """The lines, one at a time: StringIO would take four bytes for each letter."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _raw(text: str, separator: str) -> Iterator[str]:
    for number, line in enumerate(_each(text), start=1):
        if len(line) > _LONGEST_LINE:
            raise DataError(f"line {number:,}: longer than {_LONGEST_LINE:,} characters, so this is no table")
        yield line.replace("\t", " ").strip() + "\n" if separator == " " else line


def _choose(text: str, where: str, separator: str | None, preferred: str) -> tuple[str, list[Record]]:
    """The separator, and the first records by it."""
    if separator:
        sample, fault = _sample(text, separator)
        return separator, _some(sample, fault, where)
    samples = {each: _sample(text, each) for each in (preferred, *_SEPARATORS.replace(preferred, ""), " ")}
    if preferred == "\t" and _width(samples["\t"][0]) > 1:
        return preferred, samples[preferred][0]
    best = max(samples, key=lambda each: _agreement(samples[each][0], each))
    return best, _some(*samples[best], where)


def _sample(text: str, separator: str) -> tuple[list[Record], DataError | None]:
    """The first records without comments before them, and what ended them, if it is a fault."""
    found = []
    try:
        for record in islice(records(text, separator), _MOST_RECORDS):
            found.append(record)
    except DataError as error:
        return _uncommented(found), error
    return _uncommented(found), None


def _some(sample: list[Record], fault: DataError | None, where: str) -> list[Record]:
    if not sample:
        raise DataError(f"{where}, {fault}" if fault else f"{where} has no rows: all of its lines are comments")
    return sample


def _uncommented(sample: list[Record]) -> list[Record]:
    """Without comments; a comment above the records that names each of their columns is their header."""
    width = _width([record for record in sample if not is_comment(record)])
    for at, (record, after) in enumerate(pairwise(sample)):
        if is_comment(record) and not is_comment(after) and any(map(is_number, after.fields)):
            named = [name for name in (record.fields[0].lstrip("# "), *record.fields[1:]) if name.strip()]
            if len(named) == width and not any(map(is_number, named)):
                sample = [*sample[:at], Record(record.line, named), *sample[at + 1 :]]
        if not is_comment(record):
            break
    return [record for record in sample if not (is_comment(record) and len(record.fields) != width)]


def is_comment(record: Record) -> bool:
    """Whether a record begins as comments do."""
    return record.fields[0].startswith("#")


def is_number(text: str) -> bool:
    """Whether a text looks like a number, with whatever decimal mark."""
    return bool(_NUMBER.fullmatch(text.strip()))


def _width(sample: list[Record]) -> int:
    """How many fields most records have."""
    counts = Counter(len(record.fields) for record in sample)
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _agreement(sample: list[Record], separator: str) -> float:
    """How far records agree in the number of fields, times how many of these are plain."""
    width = _width(sample)
    if width < 2:
        return 0.0
    # A record that one more or less would suit is R's header, or ends in a separator.
    agreeing = [record for record in sample if len(record.fields) == width]
    if separator == " " and len(agreeing) < 0.9 * len(sample):
        return 0.0  # prose
    fields = [field for record in agreeing for field in record.fields]
    others = [each for each in (*_SEPARATORS, "  ") if each != separator]
    plain = sum(is_number(field) or not any(other in field.strip() for other in others) for field in fields)
    return len(agreeing) / len(sample) * (plain / len(fields)) * (0.9 if separator == " " else 1.0)


def _split(sample: list[Record], width: int) -> tuple[Record, list[Record]]:
    """The header, and the records after it."""
    for at, record in enumerate(sample):
        after = sample[at + 1 :]
        filled = sum(bool(field.strip()) for field in record.fields)
        names_follow = bool(after) and _may_name(after[0], width) and _has_numbers(after[1:], width)
        # A title may be padded to the width of the table; one that is not has all names below it.
        is_title = filled == 1 if len(record.fields) == width else bool(after) and all(after[0].fields)
        if len(record.fields) >= width - 1 and not (names_follow and is_title):
            return record, after
    return sample[0], sample[1:]


def _may_name(record: Record, width: int) -> bool:
    names = [field.strip() for field in record.fields if field.strip()]
    return (
        len(record.fields) == width
        and len(names) > 1
        and len(set(names)) == len(names)
        and not any(map(is_number, names))
    )


def _has_numbers(sample: list[Record], width: int) -> bool:
    return any(is_number(field) for record in sample if len(record.fields) == width for field in record.fields)


def _columns(
    header: Record, body: list[Record], width: int, where: str, quoted: bool
) -> tuple[dict[int, str], tuple[int, ...], list[str]]:
    """Names by position, the positions without a name or a value, and what to tell."""
    names = [field.strip() for field in header.fields]
    notes = _check_header(names, header.line, where)
    while len(names) > width and not names[-1]:
        names.pop()
    if len(names) > width:
        raise DataError(
            f"{where}, line {header.line}: the header has {len(names)} names, but most lines have {width} fields: name "
            f"each column once, or complete the lines"
        )
    empty = {at for at in range(width) if not any(r.fields[at].strip() for r in body if len(r.fields) == width)}
    if len(names) == width - 1 and width - 1 not in empty:
        found = f"the header, in line {header.line}, has {width - 1} names for {width} fields"
        if not _name_rows([record.fields for record in body if len(record.fields) == width], quoted):
            raise DataError(
                f"{where}: {found}: name every column, put quotation marks around text with the separator in it, or "
                f"use another separator than the decimal mark"
            )
        _check_repeated(names, header.line, where)
        notes.append(f"{found}: the first field was taken for a row's name, as R writes it, and left out")
        return dict(enumerate(names, start=1)), (), notes
    names += [""] * (width - len(names))
    # A separator at the end of each line, or a column that holds nothing at all.
    nameless = [at for at, name in enumerate(names) if not name]
    columns = {at: name for at, name in enumerate(names) if name or at not in empty}
    for at in nameless:
        if at in columns:
            columns[at] = "unnamed" if "unnamed" not in columns.values() else f"unnamed {at + 1}"
    left_out = tuple(at for at in nameless if at not in columns)
    if left_out:
        numbers = ", ".join(str(at + 1) for at in left_out)
        notes.append(f"fields without a name or a value were left out: number {numbers} of each line")
    _check_repeated(list(columns.values()), header.line, where)
    return columns, left_out, notes


def _name_rows(rows: list[list[str]], quoted: bool) -> bool:
    """Whether first fields are names of rows as R has them: all different; quoted, or beside plain numbers.

    Else a decimal comma or text with a comma in it may have made one field two.
    """
    first = [row[0].strip() for row in rows]
    if len(set(first)) < len(first) or not all(first):
        return False
    if quoted:
        return True
    others = [field.strip() for row in rows for field in row[1:]]
    if all(name.isdigit() for name in first):
        return any(is_number(field) and "." in field for field in others)
    return not any(map(is_number, first)) and all(is_number(field) or field in ("", "NA") for field in others)


def _check_header(names: list[str], line: int, where: str) -> list[str]:
    """What to tell of names that are numbers.

    Raises:
        DataError: they are no names.
    """
    numbers = [name for name in names if is_number(name)]
    if numbers and (len(numbers) == len(names) or not _may_be_names(numbers)):
        only = " only" if len(numbers) == len(names) else ""
        raise DataError(
            f"{where} has no header: its first line, {line}, holds numbers{only} ({listed(numbers, 3)}), and must name "
            f"the columns: put a line of names before it"
        )
    return [f"numbers name columns in line {line} ({listed(numbers, 3)}): it is no row of the table"] if numbers else []


def _may_be_names(numbers: list[str]) -> bool:
    """Years, positions or wavelengths name columns: whole and in order, or many in order."""
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        return False
    steps = [b - a for a, b in pairwise(values)]
    in_order = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return in_order and (len(numbers) >= 5 or all(number.isdigit() for number in numbers))


def _check_repeated(names: list[str], line: int, where: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{where} has several columns named {listed(repeated)} in line {line}: give each column its own name"
        )


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"
