"""`basin submit` and `basin jobs`: sweeps as jobs of a Ray cluster."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.commands.options import GpusOption, WorkersOption, print_json
from services.commands.workers import tell
from services.errors import ServiceError
from services.rendering.formatting import format_seconds, printable
from services.settings import settings
from services.sweeps.definition import read_sweep

if TYPE_CHECKING:
    from cluster.jobs import Job, Jobs

app = typer.Typer(
    help="""The jobs of a Ray cluster that `basin submit` made.

  basin jobs list --address http://head:8265
  basin jobs logs basin-flat-or-sharp-5d41402abc4b-1
  basin jobs stop basin-flat-or-sharp-5d41402abc4b-1

How far a sweep is, says `basin sweep status`, wherever its store can be read.""",
    no_args_is_help=True,
)

AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Of the cluster's dashboard, http://HOST:8265. [env: BASIN_ADDRESS]"),
]
JobArgument = Annotated[str, typer.Argument(help="A job's id: `basin jobs list` has them.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def submit(
    file: Annotated[Path, typer.Argument(help="A sweep file: YAML or JSON.")],
    address: AddressOption = None,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Folder on the cluster's head, or s3://BUCKET/PREFIX. [env: BASIN_STORE]"),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--detach", help="Show the job's log until it ends, or not.")] = True,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    python: Annotated[
        str | None,
        typer.Option(
            "--python", help="Interpreter on the cluster, if not at this one's path. [env: BASIN_CLUSTER_PYTHON]"
        ),
    ] = None,
    shared: Annotated[
        list[Path] | None,
        typer.Option("--shared", help="Folder that the cluster has under the same path: its files need not travel."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Submit it anew even if it has succeeded.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a sweep as a job of a Ray cluster, which goes on without this terminal.

    For example:

      basin submit flat-or-sharp.yaml --address http://127.0.0.1:8265
      basin submit big.yaml --store s3://lab/basin --python /opt/basin/bin/python --detach

    Submitting it twice runs it once: the second time finds the job, and follows it. One that failed or was stopped is
    submitted anew, and fits what is not stored yet. Ctrl-C leaves the job alone.

    This checkout's code travels, and so do files of data up to 32 MiB in all. The environment does not, for everybody
    who sees the dashboard could read it: give the cluster's machines what the store asks for. The cluster's token is
    read from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.

    The exit status is 0 if the job succeeded, or goes on, and else 1.
    """
    sweep = read_sweep(file)
    from services.launching.sweep_job import submit_once, sweep_job

    job = sweep_job(
        sweep, store or str(settings().store), python=python, workers=workers, gpus=gpus, shared=shared or ()
    )
    jobs = _jobs(address)
    found, is_new = submit_once(jobs, job, again=again)
    tell(f"{found.id} {'is submitted' if is_new else _found(found)}; its runs are kept in {job.store}")
    if follow:
        found = _follow(jobs, found.id, to_stderr=as_json)
        _say_end(found, job.python)
    else:
        _say_how_to_go_on(jobs, found.id)
    if as_json:
        print_json({"new": is_new, "store": job.store, "address": jobs.address, **_as_json(found)})
    _exit(found)


@app.command("list")
def list_jobs(address: AddressOption = None, as_json: JsonFlag = False) -> None:
    """List the sweeps' jobs that the cluster knows, the latest first.

    For example: basin jobs list --address http://127.0.0.1:8265
    """
    from services.launching.sweep_job import PREFIX

    found = _jobs(address).list(PREFIX)
    if as_json:
        print_json([_as_json(job) for job in found])
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("job", "state", "started", "took"):
        table.add_column(heading, overflow="fold")
    for job in found:
        started = f"{job.started.astimezone():%Y-%m-%d %H:%M}" if job.started else ""
        took = format_seconds((job.ended - job.started).total_seconds()) if job.started and job.ended else ""
        table.add_row(*map(Text, (printable(job.id), job.state, started, took)))
    Console().print(table)


@app.command()
def status(job_id: JobArgument, address: AddressOption = None, as_json: JsonFlag = False) -> None:
    """Say how a job stands. The exit status is 1 if it failed or was stopped, and else 0.

    For example: basin jobs status basin-flat-or-sharp-5d41402abc4b-1 --json
    """
    job = _jobs(address).get(job_id)
    if as_json:
        print_json(_as_json(job))
    else:
        Console().print(Text(printable(f"{job.id}: {job.state}")))
        _say_end(job)
    _exit(job)


@app.command()
def logs(
    job_id: JobArgument,
    address: AddressOption = None,
) -> None:
    """Show a job's log until the job ends. The exit status is that of `basin submit`.

    For example: basin jobs logs basin-flat-or-sharp-5d41402abc4b-1 --address http://127.0.0.1:8265
    """
    job = _follow(_jobs(address), job_id)
    _say_end(job)
    _exit(job)


@app.command()
def stop(job_id: JobArgument, address: AddressOption = None) -> None:
    """Ask a job to end, and wait until it has; it keeps what is finished.

    For example: basin jobs stop basin-flat-or-sharp-5d41402abc4b-1
    """
    jobs = _jobs(address)
    job = jobs.get(job_id)
    if job.over:
        tell(f"{job.id} is over: it {_OVER[job.state]}")
        return
    jobs.stop(job_id)
    tell(f"asked {job_id} to end")
    while not (job := jobs.get(job_id)).over:
        time.sleep(0.5)
    tell(f"{job_id} {_OVER[job.state]}; finished runs are kept, and submitting the sweep again goes on")


_OVER = {"succeeded": "succeeded", "failed": "failed", "stopped": "was stopped"}


def _jobs(address: str | None) -> "Jobs":
    from cluster.jobs import Jobs

    known = settings().address or ""
    address = address or (known if "://" in known else None)  # else it is where Ray itself listens
    if address is None:
        raise ServiceError(
            "name the cluster's dashboard: --address http://HOST:8265, or BASIN_ADDRESS=http://HOST:8265"
        )
    return Jobs(address)


def _found(job: "Job") -> str:
    if job.state == "succeeded":
        return "has succeeded already, so nothing is run (--again does it all the same)"
    return f"is {job.state} already, so nothing is submitted"


def _follow(jobs: "Jobs", job_id: str, *, to_stderr: bool = False) -> "Job":
    try:
        return jobs.follow(job_id, lambda text: typer.echo(text, nl=False, err=to_stderr))
    except KeyboardInterrupt:
        _say_how_to_go_on(jobs, job_id)
        raise typer.Abort("detached: the job goes on") from None


def _say_how_to_go_on(jobs: "Jobs", job_id: str) -> None:
    tell(f"Its log: basin jobs logs {job_id} --address {jobs.address}")
    tell(f"To stop it: basin jobs stop {job_id} --address {jobs.address}")


def _say_end(job: "Job", python: str = "the job's interpreter") -> None:
    """Say why it did not succeed, if it is over and did not."""
    if job.state == "stopped":
        tell(f"{job.id} was stopped; finished runs are kept, and submitting the sweep again goes on")
    elif job.exit_code in (126, 127):
        tell(f"{job.id} failed: the cluster's head cannot execute {python}: name its own by --python")
    elif job.state == "failed" and job.exit_code is not None:
        tell(f"{job.id} failed with exit status {job.exit_code}, as its log says; submitting it again tries again")
    elif job.state == "failed":
        tell(f"{job.id} failed: {printable(job.message)}")


def _as_json(job: "Job") -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "message": job.message,
        "started": job.started and job.started.isoformat(),
        "ended": job.ended and job.ended.isoformat(),
        "exit_code": job.exit_code,
    }


def _exit(job: "Job") -> None:
    if job.state in ("failed", "stopped"):
        raise typer.Exit(1)
