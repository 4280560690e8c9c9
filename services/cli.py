"""The command `basin`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Never

import typer
from rich.console import Console
from typer.exceptions import TyperException

# Heavy imports (JAX, PyMC, Ray, Altair) wait inside the commands, so that --help and mistakes are answered at once.
from cluster.errors import ClusterError
from cluster.resources import Resources, apply_environment
from services.errors import ServiceError
from services.settings import settings

app = typer.Typer(
    name="basin",
    help="""Compare deterministic nets, Bayesian nets and Bayesian GLMs on your data, and learn which to trust and why.

Begin with:

  basin compare digits --budget quick
  basin data show houses.csv --target price
  basin compare houses.csv --target price --report report.html

Each command has its own --help.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
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
    gpus: Annotated[
        float, typer.Option("--gpus", min=0, help="Share of a GPU for each net's worker, such as 0.5; 0 is none.")
    ] = 0.0,
    address: Annotated[
        str | None, typer.Option("--address", help="HOST:PORT of a Ray cluster. [env: BASIN_ADDRESS]")
    ] = None,
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
    if dataset is None:
        raise typer.BadParameter("name a dataset: a file, or one of `basin data list`", param_hint="DATASET")
    compare_dataset(
        dataset, target, task, learners, budget, splits, seeds, workers, gpus, address, store, json_file, report
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
    gpus: float,
    address: str | None,
    store: Path | None,
    json_file: Path | None,
    report: Path | None,
) -> None:
    """The body of `compare`, with JAX's environment set before JAX is imported."""
    environment = settings()
    _check_outputs(json_file, report)
    if address and workers == 0:
        raise ServiceError(
            "--workers 0 works in this process, so no cluster is asked: leave --address or --workers out"
        )
    _make_cache(environment.cache)
    try:
        resources = Resources(gpus=gpus)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--gpus") from None
    # Workers have devices of their own: this process takes one only where it does the work.
    apply_environment(resources if workers == 0 else Resources(), environment.cache)
    # What is asked is checked before what takes seconds to import.
    from services.learners import EFFORTS, choose, default_names

    named = _names(learners)
    chosen = choose(named, budget) if named else []
    from services.datasets import load

    data = load(name, cache=environment.cache, target=target, task=task)
    chosen = chosen or choose(default_names(data.shape is not None), budget)
    from cluster.executor import InProcessExecutor
    from services import compare as job
    from services.progress import ProgressView
    from services.store import writing
    from services.terminal import print_document

    effort = EFFORTS[budget]
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
                compared = job.compare(
                    plan, writer, executor, view.consume, n_workers=max(1, n_workers), resources=resources
                )
            except KeyboardInterrupt:
                raise typer.Abort(
                    f"interrupted: finished runs are kept in {folder}; the same command goes on from here"
                ) from None
    print_document(compared.document, Console())
    if json_file:
        with _writing(json_file, errors):
            _write_json(json_file, compared.document)
    if report:
        from services.report import write_report

        with _writing(report, errors):
            write_report(compared.document, compared.evidence, report)
    if not any(learner.runs.finished for learner in compared.document.learners):
        raise typer.Exit(1)


def _warn(errors: Console, text: str) -> None:
    errors.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _make_cache(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"cannot make the cache folder {path}: {error.strerror}; name another one by BASIN_CACHE"
        ) from error


def _check_outputs(*paths: Path | None) -> None:
    """Refuse before hours of fitting what could not be written after them."""
    for path in filter(None, paths):
        folder = path.parent
        if not folder.is_dir():
            raise ServiceError(f"cannot write {path}: there is no folder {folder}; make it first")
        if path.is_dir():
            raise ServiceError(f"cannot write {path}: it is a folder; name a file in it")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise ServiceError(f"cannot write {path}: permission denied; name another file")


@contextmanager
def _writing(path: Path, errors: Console) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServiceError(
            f"cannot write {path}: {error.strerror or error}; all runs are stored, so the same command with another "
            "file writes it without fitting anything"
        ) from error
    errors.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)


def _write_json(path: Path, document: Any) -> None:
    from services.files import written_aside

    with written_aside(path) as aside:
        aside.write_text(document.model_dump_json(indent=2) + "\n", encoding="utf-8")


@data_app.command("list")
def list_data() -> None:
    """List the datasets by name; `basin data show NAME` says more of each.

    Beside these go files (CSV, TSV, Parquet, Arrow, NPZ), openml:ID or openml:NAME,
    random-labels:NAME, and synthetic ones with parameters, as in two-moons:n=300,noise=0.1.
    The variable BASIN_DATA names a folder of further ones.
    """
    from rich.table import Table

    from services.datasets import listing

    table = Table("name", "about", box=None, pad_edge=False)
    for info in listing():
        table.add_row(info.name, info.about)
    console = Console()
    console.print(table)
    console.print(
        "\nShape, source and licence: basin data show NAME. Files, openml:ID and more: basin data list --help.",
        highlight=False,
    )


@data_app.command("show")
def show_data(
    dataset: Annotated[str, typer.Argument(help="A name of `basin data list`, or a file.")],
    target: TargetOption = None,
    task: TaskOption = None,
) -> None:
    """Show what Basin makes of a dataset: shape, task, target, missing values, licence, where from, and notes.

    For example:

      basin data show digits
      basin data show houses.csv --target price

    A table in a file needs --target.
    """
    from services.datasets import describe
    from services.terminal import print_description

    found = describe(dataset, cache=settings().cache, target=target, task=task)
    print_description(found, Console())


@app.command()
def results(
    table: Annotated[
        str, typer.Argument(help="runs, metrics, curves, diagnostics, geometry, pointwise, comparisons.")
    ] = "runs",
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Condition such as learner=mlp-sgd or value>0.9.")
    ] = None,
    select: Annotated[str | None, typer.Option("--select", help="Columns, separated by commas.")] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="Columns, separated by commas; a minus before one sorts down.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many rows.")] = None,
    form: Annotated[
        Literal["table", "json", "csv", "parquet"], typer.Option("--format", help="How to print.")
    ] = "table",
    store: StoreOption = None,
) -> None:
    """Query the stored tables.

    For example:

      basin results runs --select learner,split,status,wall_seconds
      basin results runs --where status=diverged --select learner,error
      basin results metrics --where part=test --where metric=log_score
      basin results geometry --sort -value --limit 9 --format csv

    Every table of runs has the columns dataset, learner, kind, split and seed as well.
    """
    from services.results import query, write
    from services.store import Store

    found = query(Store(store or settings().store), table, where or [], _names(select), _names(sort), limit)
    write(found, form, sys.stdout.buffer, width=Console().width)


@store_app.command()
def rebuild(store: StoreOption = None) -> None:
    """Make the tables again from the bundles; damaged bundles are set aside, and their runs will be fitted again."""
    from services.store import Store, writing

    folder = store or settings().store
    Store(folder)  # `writing` would make one where there is none
    with writing(folder) as writer:
        n = writer.rebuild()
        Console().print(f"{n} run{' is' if n == 1 else 's are'} in the tables again", highlight=False)
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
    name: Annotated[
        str | None, typer.Argument(help="Print this learner's settings as YAML, a file to start from.")
    ] = None,
    budget: Annotated[Budget, typer.Option("--budget", "-b")] = "standard",
) -> None:
    """List the learners by name, or print one's settings.

    To compare with settings of your own:

      basin learners mlp-adam > my-net.yaml
      basin compare iris --learners mlp-adam,my-net.yaml

    Change the name in the file, too. `basin schema learner` has all settings for an editor.
    """
    import yaml
    from rich.table import Table

    from services.learners import choose, presets

    if name:
        (learner,) = choose([name], budget)
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
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        # Typer returns the status of an exit, 130 after Ctrl-C, and else what the command returned.
        status = app(arguments, prog_name="basin", standalone_mode=False)
    except typer.Abort as aborted:
        _end(str(aborted) or "interrupted", 130)
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        _end(*_told(error))
    if status == 130:
        _end("interrupted", 130)
    sys.exit(status)


def _told(error: Exception) -> tuple[str, int]:
    """A message and an exit status."""
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context else ""
        message = error.format_message().replace("Value error, ", "")
        return message and f"{message.rstrip('.')}{hint}", error.exit_code
    # Those that only arise once their modules are imported.
    from models.dataset import DataError
    from models.spec import SpecError

    if isinstance(error, ServiceError | ClusterError | DataError | SpecError):
        return str(error), 2
    return f"{type(error).__name__}: {error} (this is a fault in Basin; --debug shows where)", 1


def _end(message: str, status: int) -> Never:
    prefix = "" if status == 130 else "error: "
    for line in message.splitlines():
        Console(stderr=True).print(f"{prefix}{line}", highlight=False, markup=False, emoji=False, soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
