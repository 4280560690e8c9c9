"""A sweep as text, checked as it would be when it is submitted."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from models.data.dataset import DataError
from models.spec.settings import SpecError
from services.submissions.admission import admit
from services.sweeps.yaml_file import decode_yaml, reason_of

EXAMPLE = """\
name: first-look
datasets: [two-moons]
learners: [mlp-sgd, mlp-adam, glm-bayes]
budget: quick
splits: 3
seeds: 1
vary:
  inference.learning_rate: [0.01, 0.03]
"""
LARGEST = 2**18
MOST_VALUES = 15_000  # a few more than a server takes
_FAULT = re.compile(r"(sweep(?:\.[\w.-]+)?|vary[\w.-]*|connections[\w.-]*|line \d+, column \d+)(?:: | (?=is ))(.*)")


def check(text: bytes, roots: Sequence[Path]) -> dict[str, Any]:
    """What a page is told of a sweep: its faults by path; where there are none, the sweep and what it amounts to."""
    try:
        definition = _decoded(text)
        admitted = admit(definition, roots)
    except (SpecError, DataError) as error:
        return {"faults": list(_faults(str(error)))}
    sweep = admitted.sweep
    runs = f"{admitted.runs:,} run{'' if admitted.runs == 1 else 's'}"
    about = f"{sweep.n_splits} split{'' if sweep.n_splits == 1 else 's'} with {sweep.n_seeds} seed"
    outlook = f"{sweep.name}: {runs} at most, on {', '.join(data.data for data in sweep.datasets)}; {about}"
    return {"faults": [], "sweep": definition, "outlook": f"{outlook}{'' if sweep.n_seeds == 1 else 's'} each."}


def _decoded(text: bytes) -> Any:
    """The data of YAML, or of JSON, which YAML contains.

    Raises:
        SpecError: it is too long, or neither of them, or has what JSON cannot say.
    """
    if len(text) > LARGEST:
        raise SpecError(f"sweep: it has {len(text):,} bytes, and at most {LARGEST:,} are taken")
    try:
        found = decode_yaml(text.decode("utf-8"), "sweep", most=MOST_VALUES, aliases=False)
        return json.loads(json.dumps(found, allow_nan=False))
    except SpecError:
        raise
    except UnicodeDecodeError:
        raise SpecError("sweep: expected text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        at, _, problem = reason_of(error).partition(": ")
        raise SpecError(f"{at}: this is not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        plain = "text (dates in quotes), numbers, lists, mappings"
        raise SpecError(f"sweep: expected YAML with plain values: {plain}") from None


def _faults(message: str) -> Iterator[dict[str, str]]:
    """The faults of a message, a line each, with the path that it begins with."""
    for line in message.splitlines():
        parts = _FAULT.match(line)
        path, words = (parts[1], parts[2]) if parts else ("", line)
        yield {"path": path.removeprefix("sweep.").removeprefix("sweep"), "message": words}
