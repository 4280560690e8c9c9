"""The command `basin`."""

import os
import sys
from typing import Annotated, Never

import typer
from rich.console import Console
from typer.exceptions import TyperException

# Heavy imports (JAX, PyMC, Ray, Altair) wait inside the commands, so that --help and mistakes are answered at once.
from cluster.errors import ClusterError
from services.commands import (
    compare,
    data,
    export,
    geometry,
    learners,
    reproduce,
    schedule,
    schema,
    serve,
    stored,
    submit,
    sweep,
    token,
)
from services.errors import ServiceError
from services.execution.interrupts import terminable

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


app.command()(compare.compare)
app.add_typer(sweep.app, name="sweep")
app.add_typer(schedule.app, name="schedule")
app.command()(schedule.scheduler)
app.command()(submit.submit)
app.add_typer(submit.app, name="jobs")
app.command()(serve.serve)
app.add_typer(token.app, name="token")
app.command("measures")(geometry.list_measures)
app.command()(geometry.measure)
app.command()(geometry.geometry)
app.command()(geometry.audit)
app.command()(stored.results)
app.add_typer(export.app, name="export")
app.command()(reproduce.reproduce)
app.command("learners")(learners.list_learners)
app.add_typer(data.app, name="data")
app.add_typer(stored.app, name="store")
app.add_typer(schema.app, name="schema")


def main() -> None:
    """Run the command; a fault that a person can mend is one message and a non-zero exit, never a stack trace."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if len(arguments) == len(sys.argv) - 1:
        os.environ["RUST_BACKTRACE"] = "0"  # polars prints where it failed, whoever catches that
    try:
        # Typer returns the status of an exit, 130 after Ctrl-C, and else what the command returned.
        with terminable():
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
    from models.data.dataset import DataError
    from models.spec.settings import SpecError

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
