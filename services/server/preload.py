"""What a server imports before it answers, for no request shall wait for that, nor those beside it."""

import importlib

# Behind a first submission, comparison, ranking, and page of a run; JAX is among what they import.
_HEAVY = (
    *("services.datasets.registry", "services.comparison.stored", "services.geometry.summary"),
    *("services.web.analyses", "services.web.run_parts"),
)


def warm_up() -> None:
    """Import what takes seconds: while that goes on, other threads of the process hardly get on."""
    for name in _HEAVY:
        importlib.import_module(name)
