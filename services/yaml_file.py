"""Reading what a person wrote as YAML, or as JSON, which YAML contains: data, never code."""

from pathlib import Path
from typing import Any

import yaml

from models.spec import SpecError


def read_yaml(path: Path, what: str) -> Any:
    """Decode a file. `what` says what it should be, for the message of a missing one.

    Raises:
        SpecError: no file, an unreadable one, or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"no file {str(path)!r}: give the path of {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read {str(path)!r}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML raises ValueError for a 13th month
        reason = str(error).replace("\n", " ")
        raise SpecError(f"{str(path)!r} is not YAML: {reason}") from None
