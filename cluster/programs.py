"""Compiled programs of this process: dropped before they exhaust its memory maps."""

import sys
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_MOST_MAPS = Path("/proc/sys/vm/max_map_count")


def drop_programs(share: float = 0.25) -> bool:
    """Drop JAX's compiled programs if this process has used up that share of the memory maps Linux grants it.

    XLA maps several pieces of memory for each program on a CPU, and ends the process by a segmentation fault where
    the kernel grants no more (65,530 by default): after some thousand programs, which also fill 2 to 5 GB. Dropped
    programs are compiled anew when they are needed, or read from the cache on disk. Not to be called while a
    computation runs.

    Returns:
        Whether they were dropped; never where the system has no such limit.
    """
    jax = sys.modules.get("jax")
    if jax is None or not _MOST_MAPS.exists():
        return False
    with _MAPS.open("rb") as maps:
        used = sum(1 for _ in maps)
    if used < share * int(_MOST_MAPS.read_text()):
        return False
    jax.clear_caches()
    return True
