"""The bytes of a text file to text, with a note on what was assumed."""

import codecs
import re
from typing import NamedTuple

from models.data.dataset import DataError

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_NAMES = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "cp1252": "Windows-1252 (Latin-1)"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DOS_END = re.compile(r"\x1a[\r\n]*\Z")
_FOREIGN = re.compile(r"[^\W\d_]*[^\x00-\x7f][^\W\d_]*")


class Text(NamedTuple):
    """Text whose lines end with a line feed, and what to tell of how it was had."""

    text: str
    notes: tuple[str, ...]


def decode(content: bytes, where: str, *, is_start: bool = False) -> Text:
    """Read bytes as UTF-8, as UTF-16 by its mark or its zero bytes, else as Windows-1252, which Latin-1 is part of.

    Args:
        content: what the file has.
        where: its name, for messages.
        is_start: whether the content may end within a letter.

    Raises:
        DataError: the bytes are no text, or text that is damaged, or of a further encoding.
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None) or _by_zeros(content)
    try:
        text = _decoded(content, encoding or "utf-8", is_start)
    except UnicodeDecodeError as error:
        if encoding is not None or _is_mostly_utf8(content):
            name = _NAMES.get(encoding or "", "UTF-8")
            raise DataError(
                f"{where} is damaged {name} text (byte {error.start:,} is {content[error.start]:#04x}, "
                f"{_line_of(content, error.start)}): write it anew, or correct that line"
            ) from None
        encoding, text = "cp1252", _western(content, where, error)
    text = _DOS_END.sub("", text)
    if control := _CONTROL.search(text):
        what = "zero bytes" if control[0] == "\x00" else f"the control character {ord(control[0]):#04x}"
        raise DataError(f"{where} is no text: it holds {what}: save it as CSV in UTF-8")
    notes = []
    if encoding in _NAMES:
        notes.append(f"the text is no UTF-8, and was read as {_NAMES[encoding]}{_example(text)}")
    return Text(text.replace("\r\n", "\n").replace("\r", "\n"), tuple(notes))


def _by_zeros(content: bytes) -> str | None:
    """UTF-16 without a mark: the letters of most tables have a zero byte each, on one side."""
    start = content[:4000]
    half = len(start) // 2
    if half and start[1::2].count(0) > 0.5 * half > 0.1 * half > start[::2].count(0):
        return "utf-16-le"
    if half and start[::2].count(0) > 0.5 * half > 0.1 * half > start[1::2].count(0):
        return "utf-16-be"
    return None


def _decoded(content: bytes, encoding: str, is_start: bool) -> str:
    return codecs.getincrementaldecoder(encoding)().decode(content, not is_start)


def _is_mostly_utf8(content: bytes) -> bool:
    """Whether more letters beyond ASCII are right in UTF-8 than wrong: then it is UTF-8 with a fault in it."""
    text = content.decode("utf-8", errors="replace")
    wrong = text.count("�")
    return sum(character > "\x7f" for character in text) > 2 * wrong


def _western(content: bytes, where: str, error: UnicodeDecodeError) -> str:
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        raise DataError(
            f"{where} is no UTF-8 text (byte {error.start:,} is {content[error.start]:#04x}, "
            f"{_line_of(content, error.start)}) nor any other that is known: save it as CSV in UTF-8"
        ) from None


def _line_of(content: bytes, position: int) -> str:
    return f"in line {content.count(b'\n', 0, position) + 1:,}"


def _example(text: str) -> str:
    found = _FOREIGN.search(text)
    return f"; {found[0][:40]!r} should look right, else save it as UTF-8" if found else ""
