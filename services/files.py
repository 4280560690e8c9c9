"""Files that are whole or absent: written aside, then renamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write a file to; it takes the target's place when the block ends well.

    A reader sees the old file or the new one, whole, whenever the writer is killed.

    Raises:
        OSError: the disk is full or not writable; then the target is as it was and nothing is left behind.
    """
    aside = target.with_name(f".tmp-{uuid4().hex[:12]}-{target.name}")
    try:
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
