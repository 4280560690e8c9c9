"""Files that are whole or absent: written aside, then renamed."""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np

ASIDE = ".tmp-"


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write a file to; it takes the target's place when the block ends well.

    A reader sees the old file or the new one, whole, whenever the writer is killed. To survive a loss of power as well,
    end the block with `flush_to_disk`.

    Raises:
        OSError: the disk is full or not writable; then the target is as it was and nothing is left behind.
    """
    aside = _beside(target)
    try:
        yield aside
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` to fill with files; it becomes the target when the block ends well.

    What is then seen is whole, though it survives a loss of power only after `flush_to_disk`.

    Raises:
        OSError: as for files, or when the target exists already.
    """
    aside = _beside(target)
    try:
        aside.mkdir()
        yield aside
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left half-written in `folder`. Only its one writer may call this."""
    for path in folder.glob(f"{ASIDE}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def flush_to_disk(*paths: Path) -> None:
    """Return when the bytes of these files, and the entries of these folders, would survive a loss of power.

    The requests are made at once, for a file system answers many as fast as one (250 small files on ext4: 0.07 s at
    once, 1.4 s one by one).
    """
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(_flush, paths))


def flush_folders(folders: Iterable[Path]) -> None:
    """Return when these folders of files would survive a loss of power, their names included.

    Raises:
        OSError: the disk says no.
    """
    paths = list(folders)
    parents = {path.parent for path in paths}
    flush_to_disk(*(part for path in paths for part in path.iterdir()), *paths, *parents)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an NPZ archive without pickles. Unlike `numpy.savez`, any name will do, "file" included."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an NPZ archive; pickles are refused."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _beside(target: Path) -> Path:
    return target.with_name(f"{ASIDE}{uuid4().hex[:12]}-{target.name}")
