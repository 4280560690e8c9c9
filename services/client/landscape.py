"""The loss around one run's solution: measures, curves and charts."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from models.digits import format_number
from services.client import tabular
from services.client.errors import BasinError
from services.rendering.formatting import printable

if TYPE_CHECKING:
    import altair as alt

_CURVES = {"slices": "loss_slice", "surfaces": "loss_surface", "spectrum": "hessian_spectral_density"}


class Landscape:
    """What was measured at one run.

    Attributes:
        run_key: of the run.
        learner: its name.
        measures: a row for each measure, component, settings and draw (-1: the point estimate).
        profiles: the points of all curves: `x`, and `y` of surfaces, with the loss or density there.
        connections: loss along paths from this run to others.
    """

    def __init__(
        self, run: Mapping[str, object], measures: pl.DataFrame, profiles: pl.DataFrame, connections: pl.DataFrame
    ) -> None:
        self.run_key = str(run["run_key"])
        self.learner = str(run["learner"])
        self.measures, self.profiles, self.connections = measures, profiles, connections
        self._run = run

    @property
    def slices(self) -> pl.DataFrame:
        """Loss along a filter-normalised direction: draw, settings, x, value, standard_error."""
        return self._curve("slices").drop("y")

    @property
    def surfaces(self) -> pl.DataFrame:
        """Loss over the plane of two filter-normalised directions: draw, settings, x, y, value, standard_error."""
        return self._curve("surfaces")

    @property
    def spectrum(self) -> pl.DataFrame:
        """Density of the Hessian's eigenvalues `x`: draw, settings, x, value, standard_error."""
        return self._curve("spectrum").drop("y")

    @cached_property
    def figures(self) -> "Mapping[str, alt.TopLevelMixin]":
        """Its charts by name: slices, surfaces, spectrum, of what was measured. Surfaces and spectra: of one draw."""
        from services.geometry.loss_figures import density_chart, slice_chart, surface_chart
        from services.rendering.charts import finished

        names = (self.learner,)
        slices, surfaces, spectrum = (self._labelled(name) for name in _CURVES)
        drawn = {
            "slices": (slices, lambda: slice_chart(slices, names)),
            "surfaces": (surfaces, lambda: surface_chart(_first(surfaces))),
            "spectrum": (spectrum, lambda: density_chart(_first(spectrum), names)),
        }
        return {name: finished(draw()) for name, (frame, draw) in drawn.items() if len(frame)}

    def plot(self, name: str | None = None) -> "alt.TopLevelMixin":
        """One of its `figures`, the first unless one is named.

        Raises:
            BasinError: there is none of this name, or nothing was measured that could be drawn.
        """
        from services.client.plots import chosen

        if not self.figures:
            raise BasinError(
                "not_found",
                f"no curve was measured at run {self.run_key}: `basin measure SWEEP --measures "
                f"{','.join(_CURVES.values())}` measures some",
            )
        return chosen(self.figures, name or next(iter(self.figures)), f"run {self.run_key}")

    def _curve(self, name: str) -> pl.DataFrame:
        columns = ("draw", "settings", "x", "y", "value", "standard_error")
        return self.profiles.filter(measure=_CURVES[name]).sort("draw", "settings", "x", "y").select(columns)

    def _labelled(self, name: str) -> pl.DataFrame:
        """The points of a curve as its chart wants them, without those that have no number."""
        split, seed = self._run["split"], self._run["seed"]
        draw = pl.when(pl.col("draw") >= 0).then(pl.format(", draw {}", "draw")).otherwise(pl.lit(""))
        return (
            self._curve(name)
            .filter(pl.col("value").is_finite())
            .with_columns(
                dataset=pl.lit(str(self._run["dataset"])),
                learner=pl.lit(self.learner),
                measure=pl.lit(_CURVES[name]),
                run=pl.concat_str(pl.lit(f"split {split}, seed {seed}"), draw, pl.lit(" "), "settings"),
            )
        )

    def __repr__(self) -> str:
        curves = ", ".join(name for name, measure in _CURVES.items() if measure in self.profiles["measure"])
        counts = f"{len(self.measures):,} measured values; curves: {curves or 'none'}"
        return printable(f"Landscape of {self.learner}, run {self.run_key}: {counts}")

    def _repr_html_(self) -> str:
        headings = ("measure", "component", "draw", "value", "standard error", "status")
        rows = [
            (
                row["measure"],
                row["component"],
                "estimate" if row["draw"] < 0 else row["draw"],
                format_number(row["value"]),
                format_number(row["standard_error"]) if row["standard_error"] else "",
                row["reason"] or row["status"],
            )
            for row in self.measures.iter_rows(named=True)
        ]
        return tabular.facts(repr(self), {}) + tabular.table(headings, rows)


def _first(curves: pl.DataFrame) -> pl.DataFrame:
    """Of one draw and one choice of settings, the first."""
    draw, settings = curves.select("draw", "settings").row(0)
    return curves.filter(draw=draw, settings=settings)
