"""The project's files that are deployed, as the tests read them."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "deploy" / "kuberay"


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def pins(lock: str) -> dict[str, str]:
    """Versions by name in `requirements/LOCK.lock`."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def installs(text: str) -> list[str]:
    """Every `pip install` in a shell script, up to its end."""
    return re.findall(r"pip (?:install|wheel)\b[^&;|]*", text)


def is_locked(install: str) -> bool:
    """Whether it takes packages by hash only, or the project alone, and compiles what it takes."""
    return "--no-compile" not in install and ("--require-hashes" in install or "--no-deps" in install)
