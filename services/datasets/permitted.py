"""Which files a sweep may read, and where they lie on this machine.

Where sweeps come from others, over the network say, BASIN_DATA_ROOTS names the folders that alone they may read from.
It guards against sweeps, which are data; who may submit jobs to a cluster may run any code there.
"""

import os
from pathlib import Path

from models.spec.settings import SpecError
from services.settings import settings

LONGEST = 4096  # bytes of a path, as systems have it: to follow one of a hundred thousand folders takes seconds
_TOLD = 1000


def permitted(path: Path, what: str) -> Path:
    """The place of a file that a sweep names, which is another one for a file that came with a job.

    Every reader of such files asks here.

    Args:
        path: as the sweep has it.
        what: it is, for the message.

    Raises:
        SpecError: it lies outside the folders that it may lie in, once links and `..` are followed.
    """
    environment = settings()
    if environment.files is not None:
        brought = environment.files / path.relative_to(path.anchor)
        if _within(brought, environment.files) and brought.is_file():
            return brought
    roots = environment.data_roots
    if roots and not any(_within(path, root) for root in roots):
        shown = str(path)[:_TOLD]
        raise SpecError(
            f"{what[:_TOLD]}: {shown!r} may not be read, for it is not in {' or '.join(map(str, roots))}: put it "
            "there, or let BASIN_DATA_ROOTS name its folder, too"
        )
    return path


def _within(path: Path, folder: Path) -> bool:
    if len(os.fsencode(path)) > LONGEST:
        return False
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a loop of links
        return False
