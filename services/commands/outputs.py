"""Files that commands write on request: checked before hours of work, written after it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.commands.workers import tell
from services.errors import ServiceError

if TYPE_CHECKING:
    from pydantic import BaseModel


def check_outputs(*paths: Path | None) -> None:
    """Refuse before hours of fitting what could not be written after them.

    Raises:
        ServiceError: no such folder, a folder in the file's place, or no permission.
    """
    for path in filter(None, paths):
        folder = path.parent
        if not folder.is_dir():
            raise ServiceError(f"cannot write {path}: there is no folder {folder}; make it first")
        if path.is_dir():
            raise ServiceError(f"cannot write {path}: it is a folder; name a file in it")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise ServiceError(f"cannot write {path}: permission denied; name another file")


@contextmanager
def writing_output(path: Path) -> Iterator[None]:
    """Say that the file is written, or why not.

    Raises:
        ServiceError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ServiceError(
            f"cannot write {path}: {error.strerror or error}; all runs are stored, so the same command with another "
            "file writes it without fitting anything"
        ) from error
    tell(f"wrote {path}")


def write_json(path: Path, document: "BaseModel") -> None:
    """Write a document as JSON, whole or not at all.

    Raises:
        ServiceError: it cannot be written.
    """
    from services.files import written_aside

    with writing_output(path), written_aside(path) as aside:
        aside.write_text(document.model_dump_json(indent=2) + "\n", encoding="utf-8")
