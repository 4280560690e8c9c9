"""One stored run as people handle it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from services.client import tabular
from services.client.backend import Asked, Backend, RunFacts
from services.client.errors import BasinError
from services.client.landscape import Landscape
from services.rendering.formatting import format_seconds, printable

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import xarray as xr

_SHOWN = ("status", "dataset", "sweep", "learner", "kind", "split", "seed", "n_parameters", "error")


class Run:
    """A stored run. What is large is read when it is asked for.

    Attributes:
        run_key: names it for ever.
        row: of the table `runs`.
        manifest: what was fitted, when and where, as its bundle has it.
        parts: names of what its bundle has.
        reproduce: the command that fits it again.
    """

    def __init__(self, backend: Backend, facts: RunFacts) -> None:
        from services.store.rows import run_rows

        self._backend, self._bundle = backend, facts.bundle
        self.manifest, self.parts, self.reproduce = facts.bundle.manifest, facts.bundle.parts, facts.reproduce
        self.run_key = self.manifest.run_key
        self.row: Mapping[str, Any] = run_rows([self.manifest]).row(0, named=True)

    def posterior(self) -> "xr.DataTree":
        """The posterior in ArviZ's layout, read into memory.

        Raises:
            BasinError: it has none.
        """
        if (found := self._bundle.posterior()) is None:
            raise self._without("posterior")
        return found

    def parameters(self) -> "dict[str, np.ndarray]":
        """Point estimates by name.

        Raises:
            BasinError: it has none.
        """
        if not (found := self._bundle.parameters()):
            raise self._without("point estimates")
        return found

    def predictions(self) -> "dict[str, np.ndarray]":
        """Arrays of the test part by name.

        Raises:
            BasinError: it has none.
        """
        if not (found := self._bundle.predictions()):
            raise self._without("predictions")
        return found

    def curves(self) -> "pl.DataFrame":
        """Loss by step of its training."""
        return self._rows("curves", "step")

    def metrics(self) -> "pl.DataFrame":
        """Its scores by part."""
        return self._rows("metrics", "part", "metric")

    def diagnostics(self) -> "pl.DataFrame":
        """Whether its chains can be believed, by quantity."""
        return self._rows("diagnostics", "scope", "quantity")

    def landscape(self) -> Landscape:
        """What was measured of the loss around it."""
        frames = (self._rows(name, "measurement") for name in ("geometry", "profiles", "connections"))
        return Landscape(self.row, *frames)

    def _rows(self, table: str, *sort: str) -> "pl.DataFrame":
        return self._backend.rows(Asked(table, (f"run_key:eq:{self.run_key}",), sort=sort))

    def _without(self, what: str) -> BasinError:
        return BasinError(
            "not_found",
            f"run {self.run_key} ({self.row['learner']}, {self.row['status']}) has no {what}: its bundle has "
            f"{', '.join(self.parts)}",
        )

    def _facts(self) -> Mapping[str, Any]:
        took = format_seconds(self.row["wall_seconds"])
        return {name: self.row[name] for name in _SHOWN} | {"took": took, "reproduce": self.reproduce}

    def __repr__(self) -> str:
        told = (f"  {name}: {value}" for name, value in self._facts().items() if value not in (None, ""))
        lines = [f"Run {self.run_key}", *told, *(f"! {text}" for text in self.row["warnings"] or ())]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        return tabular.facts(f"Run {self.run_key}", self._facts()) + tabular.paragraphs(self.row["warnings"] or ())
