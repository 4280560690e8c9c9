"""`basin export`: what is stored, for other programs and for papers."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from services.commands.options import StoreOption
from services.commands.outputs import check_outputs, writing_output
from services.commands.workers import tell
from services.settings import settings

app = typer.Typer(
    help="""Write what is stored for other programs, and for papers.

Begin with:

  basin export table compare-digits-quick
  basin export tables compare-digits-quick --to tables
  basin export mlflow compare-digits-quick --tracking http://127.0.0.1:5000

`basin results` puts single questions to the tables.""",
    no_args_is_help=True,
)

SweepArgument = Annotated[str, typer.Argument(help="A sweep or comparison: `basin sweep list` has their names.")]


@app.command()
def tables(
    sweep: SweepArgument,
    to: Annotated[Path, typer.Option("--to", help="Folder of the files; it is made where it is missing.")],
    form: Annotated[Literal["csv", "parquet"], typer.Option("--format", help="Of the files.")] = "parquet",
    store: StoreOption = None,
) -> None:
    """Write the rows of SWEEP's runs, a file for each table: runs, metrics, curves, diagnostics, geometry and others.

    For example:

      basin export tables flat-or-sharp --to tables
      basin export tables flat-or-sharp --to tables --format csv

    Every table of runs has the columns dataset, learner, kind, split and seed as well, and `runs` has `varied`: the
    settings that the sweep varied, as JSON. Parquet keeps every number as it is, and lists as lists.
    """
    from services.exports.tables import export_tables
    from services.store.store import Store

    for path in export_tables(Store(store or settings().store), sweep, to, form):
        tell(f"wrote {path}")


@app.command()
def table(
    sweep: SweepArgument,
    form: Annotated[Literal["markdown", "latex"], typer.Option("--format", help="How to write.")] = "markdown",
    to: Annotated[Path | None, typer.Option("--to", help="A file. [default: print it]")] = None,
    store: StoreOption = None,
) -> None:
    """Write SWEEP's leaderboard as a table with standard errors: learners as rows, grouped by dataset.

    For example:

      basin export table compare-digits-quick
      basin export table compare-digits-quick --format latex --to digits.tex

    A number is bold where its learner is shown to be better than every other one on the dataset, paired on the same
    rows and splits, after Holm's correction; the best number alone is not enough. A learner whose settings vary is
    compared at its best configuration by the log score on validation rows. LaTeX needs the package booktabs.
    """
    check_outputs(to)
    from services.exports.leaderboard import leaderboard
    from services.files import written_aside
    from services.store.store import Store

    text = leaderboard(Store(store or settings().store), sweep, form)
    if to is None:
        typer.echo(text, nl=False)
        return
    with writing_output(to), written_aside(to) as aside:
        aside.write_text(text, encoding="utf-8")


@app.command()
def mlflow(
    sweep: SweepArgument,
    tracking: Annotated[
        str, typer.Option("--tracking", help="URI of MLflow's tracking server or database, or a folder for its files.")
    ],
    store: StoreOption = None,
) -> None:
    """Write SWEEP's runs to MLflow: an experiment for the sweep, an MLflow run for each run.

    For example:

      basin export mlflow flat-or-sharp --tracking http://127.0.0.1:5000
      basin export mlflow flat-or-sharp --tracking mlruns

    Settings become params, scores and measures become metrics with their standard errors, curves become metrics by
    step, and the bundle's parts become artifacts, the posterior's netCDF among them. A second export adds what is new,
    and nothing twice. It needs MLflow, which is Basin's extra `mlflow`.
    """
    from services.exports.mlflow import export_runs
    from services.store.store import Store

    opened = Store(store or settings().store)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("runs", total=None)
        done = export_runs(opened, sweep, tracking, lambda n, of: progress.update(bar, completed=n, total=of))
    tell(
        f"{done.added:,} runs added to MLflow's experiment {sweep!r}, {done.completed:,} completed, "
        f"{done.left:,} there before"
    )


@app.command()
def netcdf(
    run_key: Annotated[str, typer.Argument(help="Of a run with a posterior: `basin results runs --select run_key`.")],
    to: Annotated[Path, typer.Option("--to", help="The file.")],
    store: StoreOption = None,
) -> None:
    """Write a run's posterior as a netCDF file, which ArviZ and xarray read.

    For example:

      basin results runs --where 'n_draws>0' --select learner,split,run_key
      basin export netcdf RUN_KEY --to posterior.nc

    Then in Python: arviz.from_netcdf("posterior.nc")
    """
    check_outputs(to)
    from services.exports.netcdf import export_posterior
    from services.store.store import Store

    opened = Store(store or settings().store)
    with writing_output(to):
        export_posterior(opened, run_key, to)
