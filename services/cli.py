"""The command `basin`."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Never

import typer
from rich.console import Console

# Heavy imports (JAX, PyMC, Ray, Altair) wait inside the commands, so that --help and mistakes are answered at once.
from cluster.errors import ClusterError
from cluster.resources import Resources, apply_environment
from services.errors import ServiceError
from services.settings import settings

app = typer.Typer(
    name="basin",
    help="Compare deterministic nets, Bayesian nets and Bayesian GLMs on your data, and learn which to trust and why.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _everywhere(
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces (anywhere on the command line).")] = False,
) -> None:
    del debug  # `main` reads it before the command is parsed


data_app = typer.Typer(help="The datasets that Basin knows, and what it makes of yours.", no_args_is_help=True)
store_app = typer.Typer(help="The folder of stored runs.", no_args_is_help=True)
schema_app = typer.Typer(help="JSON Schemas, for editors and programs.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")
app.add_typer(schema_app, name="schema")

Budget = Literal["quick", "standard", "thorough"]
TaskName = Literal["classes", "real", "count"]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Folder of stored runs. [env: BASIN_STORE]")]
TargetOption = Annotated[str | None, typer.Option("--target", "-t", help="Column to predict; needed for files.")]
TaskOption = Annotated[TaskName | None, typer.Option("--task", help="State the task instead of inferring it.")]


class Interrupted(Exception):
    """Ctrl-C, after what was finished has been kept."""


@app.command()
def compare(
    dataset: Annotated[
        str | None,
        typer.Argument(help="A file (CSV, Parquet, Arrow, NPZ), a name from `basin data list`, or openml:ID."),
    ] = None,
    target: TargetOption = None,
    task: TaskOption = None,
    learners: Annotated[
        str | None,
        typer.Option("--learners", "-l", help="Names or learner files (.yaml, .json), separated by commas."),
    ] = None,
    budget: Annotated[Budget, typer.Option("--budget", "-b", help="How much effort to spend.")] = "standard",
    splits: Annotated[int | None, typer.Option("--splits", min=1, help="Repeated random splits.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds on each split.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=0, help="Ray actors; 0 works in this process, without Ray.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="HOST:PORT of a Ray cluster. [env: BASIN_ADDRESS]")
    ] = None,
    store: StoreOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the comparison as JSON.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write one HTML page with charts.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of --json, and end.")] = False,
) -> None:
    """Fit all learners on the same splits of DATASET, compare them, and say which to trust.

    Runs that are stored already are not fitted again: the same command goes on where it was stopped.

        basin compare digits --budget quick

        basin compare house-prices.csv --target price --report report.html

        basin compare iris --learners mlp-adam,glm-bayes,my-net.yaml --json iris.json
    """
    if schema:
        compare_schema()
        return
    if dataset is None:
        raise typer.BadParameter("name a dataset: a file, or one of `basin data list`", param_hint="DATASET")
    compare_dataset(
        dataset, target, task, learners, budget, splits, seeds, workers, address, store, json_file, report
    )


def compare_dataset(
    name: str,
    target: str | None,
    task: TaskName | None,
    learners: str | None,
    budget: Budget,
    splits: int | None,
    seeds: int | None,
    workers: int | None,
    address: str | None,
    store: Path | None,
    json_file: Path | None,
    report: Path | None,
) -> None:
    """The body of `compare`, with JAX's environment set before JAX is imported."""
    environment = settings()
    apply_environment(Resources(), environment.cache)
    from cluster.executor import InProcessExecutor
    from services import compare as job
    from services.datasets import load
    from services.learners import EFFORTS, choose
    from services.progress import ProgressView
    from services.store import writing
    from services.terminal import print_document

    for path in (json_file, report):
        _check_writable(path)
    data = load(name, cache=environment.cache, target=target, task=task)
    effort = EFFORTS[budget]
    chosen = choose([part for part in (learners or "").split(",") if part], budget, data.shape is not None)
    plan = job.plan(data, chosen, budget, splits or effort.splits, seeds or effort.seeds)
    folder = store or environment.store
    errors = Console(stderr=True)
    with writing(folder) as writer:
        for name in writer.set_aside:
            _warn(errors, f"the stored run {name} was damaged: it is in {folder / 'damaged'} now, and is fitted again")
        stored = writer.stored(request.run_key for request in plan.requests)
        waiting = {key: words for key, words in plan.words().items() if key not in stored}
        n_workers = workers if workers is not None else min(os.cpu_count() or 1, max(1, len(waiting)))
        if waiting and n_workers:
            from cluster.ray_executor import RayExecutor

            executor = RayExecutor(n_workers, address or environment.address, environment.cache)
        else:
            executor = InProcessExecutor()
        with executor, ProgressView(waiting, errors) as view:
            try:
                compared = job.compare(plan, writer, executor, view.consume, n_workers=max(1, n_workers))
            except KeyboardInterrupt:
                raise Interrupted(
                    f"interrupted: finished runs are kept in {folder}; the same command goes on from here"
                ) from None
    print_document(compared.document, Console())
    if json_file:
        _write_json(json_file, compared.document)
    if report:
        from services.report import write_report

        write_report(compared.document, compared.evidence, report)
    for path in filter(None, (json_file, report)):
        errors.print(f"wrote {path}", highlight=False)
    if not any(learner.runs.finished for learner in compared.document.learners):
        raise typer.Exit(1)


def _warn(errors: Console, text: str) -> None:
    errors.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)


def _check_writable(path: Path | None) -> None:
    """Refuse before hours of fitting what could not be written after them."""
    if path is None:
        return
    folder = path.parent
    if not folder.is_dir():
        raise ServiceError(f"cannot write {path}: there is no folder {folder}; make it first")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise ServiceError(f"cannot write {path}: it is a folder, or {folder} is not writable; name another file")


def _write_json(path: Path, document: Any) -> None:
    from services.files import written_aside

    with written_aside(path) as aside:
        aside.write_text(document.model_dump_json(indent=2) + "\n", encoding="utf-8")


@data_app.command("list")
def list_data() -> None:
    """List the datasets by name, with their licences and where they come from."""
    from rich.table import Table

    from services.datasets import listing

    table = Table("name", "about", "source", "licence", box=None, pad_edge=False)
    for info in listing():
        table.add_row(info.name, info.about, info.source, info.licence)
    Console().print(table)


@data_app.command("show")
def show_data(
    dataset: Annotated[str, typer.Argument(help="A name of `basin data list`, or a file.")],
    target: TargetOption = None,
    task: TaskOption = None,
) -> None:
    """Show what Basin makes of a dataset: shape, task, target, missing values, licence, where from, and notes."""
    from services.datasets import describe
    from services.terminal import print_description

    found = describe(dataset, cache=settings().cache, target=target, task=task)
    print_description(found, Console())


@app.command()
def results(
    table: Annotated[str, typer.Argument(help="runs, metrics, curves, diagnostics, geometry, pointwise, comparisons.")] = "runs",
    where: Annotated[list[str] | None, typer.Option("--where", help="Condition such as learner=mlp-sgd or value>0.9.")] = None,
    select: Annotated[str | None, typer.Option("--select", help="Columns, separated by commas.")] = None,
    sort: Annotated[str | None, typer.Option("--sort", help="Columns, separated by commas; a minus before one sorts down.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many rows.")] = None,
    form: Annotated[Literal["table", "json", "csv", "parquet"], typer.Option("--format", help="How to print.")] = "table",
    store: StoreOption = None,
) -> None:
    """Query the stored tables.

        basin results runs --select learner,split,seed,status,wall_seconds

        basin results metrics --where part=test --where metric=log_score --sort -value --format csv
    """
    from services.results import query, write
    from services.store import Store

    def names(text: str | None) -> list[str]:
        return [part for part in (text or "").split(",") if part]

    found = query(Store(store or settings().store), table, where or [], names(select), names(sort), limit)
    console = Console()
    write(found, form, sys.stdout.buffer, width=console.width)


@store_app.command()
def rebuild(store: StoreOption = None) -> None:
    """Make the tables again from the bundles; damaged bundles are set aside, and their runs will be fitted again."""
    from services.store import writing

    with writing(store or settings().store) as writer:
        n = writer.rebuild()
        Console().print(f"{n} runs are in the tables again", highlight=False)
        for name in writer.set_aside:
            _warn(Console(stderr=True), f"{name} was damaged, and is in damaged/ now")


@schema_app.command("compare")
def compare_schema() -> None:
    """JSON Schema of what `basin compare --json` writes."""
    from services.document import Document

    _print_json(Document.model_json_schema())


@schema_app.command("learner")
def learner_schema() -> None:
    """JSON Schema of a learner file."""
    from models.spec import Learner

    _print_json(Learner.model_json_schema())


@app.command("learners")
def list_learners(
    name: Annotated[str | None, typer.Argument(help="Print this learner's settings as YAML, a file to start from.")] = None,
    budget: Annotated[Budget, typer.Option("--budget", "-b")] = "standard",
) -> None:
    """List the learners by name, or print one's settings."""
    import yaml
    from rich.table import Table

    from services.learners import choose, presets

    if name:
        (learner,) = choose([name], budget, has_shape=True)
        typer.echo(yaml.safe_dump(learner.model_dump(mode="json"), sort_keys=False).rstrip())
        return
    table = Table("name", "kind", "predictor", "inference", box=None, pad_edge=False)
    for learner in presets(budget).values():
        table.add_row(learner.name, learner.kind, learner.predictor.kind, learner.inference.method)
    Console().print(table)


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2))


def main() -> None:
    """Run the command; a fault that a person can mend is one message and a non-zero exit, never a stack trace."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app(standalone_mode=False)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except typer.Abort:
        _end("interrupted", 130)
    except Interrupted as interrupted:
        _end(str(interrupted), 130)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except Exception as error:
        if debug:
            raise
        _end(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """A message and an exit status."""
    import click

    from models.dataset import DataError
    from models.spec import SpecError

    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, ServiceError | ClusterError | DataError | SpecError):
        return str(error), 2
    return f"{type(error).__name__}: {error} (this is a fault in Basin; --debug shows where)", 1


def _end(message: str, status: int) -> Never:
    for line in message.splitlines():
        Console(stderr=True).print(f"error: {line}" if status != 130 else line, highlight=False, markup=False, soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
