"""JSON objects with a seal: the SHA-256 of what they hold, as their last member, so that no value changes unnoticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.store.archive import DamagedError

SEAL = "sha256"


class Opened(NamedTuple):
    """What a JSON object holds, and whether a seal stands for it: those of earlier versions have none."""

    content: dict[str, Any]
    sealed: bool


def seal(content: Mapping[str, Any]) -> bytes:
    """The content as JSON text, sealed."""
    return json.dumps({**content, SEAL: _digest(content)}, indent=1).encode()


def unseal(data: bytes, where: str) -> Opened:
    """What `seal` sealed.

    Raises:
        DamagedError: it is not as it was written, or no JSON object.
    """
    try:
        content = json.loads(data)
        said = content.pop(SEAL, None)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedError(f"{where} is damaged: no JSON object") from error
    if said not in (None, _digest(content)):
        raise DamagedError(f"{where} is damaged: what it holds is not what was written")
    return Opened(content, said is not None)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
