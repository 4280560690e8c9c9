"""`basin compare`: the main job."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.commands.options import (
    AddressOption,
    DecimalOption,
    GpusOption,
    MissingOption,
    SeparatorOption,
    StoreOption,
    TargetOption,
    TaskOption,
    TypesOption,
    WorkersOption,
    listed,
    reading,
)
from services.commands.outputs import check_outputs, write_json, writing_output
from services.commands.schema import compare_schema
from services.commands.workers import attend, crew, store_of, workplace
from services.sweeps.definition import NAME, NAME_WORDS, Data, comparison
from services.sweeps.learners import Budget


def compare(
    dataset: Annotated[
        str | None,
        typer.Argument(help="A file (CSV, .xlsx, Parquet and more), a name from `basin data list`, or openml:ID."),
    ] = None,
    target: TargetOption = None,
    task: TaskOption = None,
    decimal: DecimalOption = None,
    separator: SeparatorOption = None,
    missing_marks: MissingOption = None,
    types: TypesOption = None,
    learners: Annotated[
        str | None,
        typer.Option("--learners", "-l", help="Names or learner files (.yaml, .json), separated by commas."),
    ] = None,
    budget: Annotated[Budget, typer.Option("--budget", "-b", help="How much effort to spend.")] = "standard",
    splits: Annotated[int | None, typer.Option("--splits", min=1, help="Repeated random splits.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds on each split.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Store it as this sweep. [default: compare-DATASET-BUDGET]")
    ] = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the comparison as JSON.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write one HTML page with charts.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of --json, and end.")] = False,
) -> None:
    """Fit all learners on the same splits of DATASET, compare them, and say which to trust.

    Runs that are stored already are not fitted again:
    the same command goes on where it was stopped.

      basin compare digits --budget quick
      basin compare houses.csv --target price --report report.html
      basin compare iris --learners mlp-adam,glm-bayes --json iris.json
      basin compare two-moons:n=300 --learners svm,my-net.yaml --workers 0

    A learner file begins with `basin learners mlp-adam > my-net.yaml`.
    """
    if schema:
        compare_schema()
        return
    if not dataset:
        raise typer.BadParameter("name a dataset: a file, or one of `basin data list`", param_hint="DATASET")
    if name is not None and not re.fullmatch(NAME, name):
        raise typer.BadParameter(f"{name!r}: {NAME_WORDS}", param_hint="--name")
    check_outputs(json_file, report)
    place = workplace(store, workers, gpus, address)
    # What is asked is checked before what takes seconds to import.
    stated = reading(decimal, separator, missing_marks, types).model_dump()
    data = Data(data=dataset, target=target, task=task, **stated)
    sweep = comparison(data, listed(learners), budget, splits=splits, seeds=seeds, name=name)
    from services.store.location import exists
    from services.store.store import Store
    from services.sweeps.plan import load_datasets, named_apart, plan

    if name is None and exists(place.store):
        sweep = named_apart(sweep, Store(place.store))
    planned = plan(sweep, load_datasets(sweep, place.cache))
    from services.comparison import compare as job
    from services.comparison.terminal import print_document
    from services.execution.status import check_idle

    with store_of(place, sweep.name) as writer:
        check_idle(writer, sweep.name)
        missing = planned.missing(writer)
        reused = len(planned.runs) - len(missing)
        with (
            crew(place, planned.words(missing)) as workers_at_hand,
            attend(writer, sweep.name, len(planned.runs), reused, workers_at_hand),
        ):
            compared = job.compare(
                planned,
                writer,
                workers_at_hand.executor,
                workers_at_hand.on_event,
                resources=place.resources,
                n_workers=workers_at_hand.n_workers,
            )
    print_document(compared.document, Console())
    if json_file:
        write_json(json_file, compared.document)
    if report:
        from services.comparison.report import write_report

        with writing_output(report):
            write_report(compared.document, compared.evidence, report)
    if not any(learner.runs.finished for learner in compared.document.learners):
        raise typer.Exit(1)
