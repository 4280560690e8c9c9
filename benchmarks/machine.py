"""What a measurement was taken on, and how busy the machine was with other things."""

import os
from datetime import UTC, datetime
from typing import Any

from services.provenance import provenance


def facts() -> dict[str, Any]:
    """Processor, memory, versions, commit, and the load averages over 1, 5 and 15 minutes before the measurement."""
    source = provenance().model_dump(mode="json")
    return source | {"load_average": list(os.getloadavg()), "date": datetime.now(UTC).date().isoformat()}


def sentence(machine: dict[str, Any]) -> str:
    """The facts in one line of Markdown, with a warning where other work got in the way."""
    hardware, load = machine["hardware"], machine["load_average"][0]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("jax", "ray"))
    commit = (machine["git_commit"] or "no commit")[:12] + (" and uncommitted changes" if machine["git_dirty"] else "")
    text = (
        f"{machine['date']}, {hardware['cpu']}, {hardware['threads']} threads, "
        f"{hardware['memory_bytes'] / 2**30:.0f} GiB, Python {machine['python']}, {versions}, commit {commit}; "
        f"load average before the start {load:.1f}."
    )
    if load > 0.5 * hardware["threads"]:
        text += " **The machine was busy with other work: trust the ratios, not the seconds.**"
    return text
