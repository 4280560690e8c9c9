"""`basin schedule` and `basin scheduler`: sweeps at planned times."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.digits import MISSING
from services.commands.options import (
    GpusOption,
    LedgerOption,
    StoreOption,
    WorkersOption,
    duration,
    print_json,
)
from services.commands.workers import again, tell, warn
from services.rendering.formatting import format_seconds, printable
from services.scheduling.schedules import Overlap
from services.settings import settings
from services.sweeps.definition import read_sweep

if TYPE_CHECKING:
    from services.ledger.database import Ledger
    from services.scheduling.occurrences import Occurrence
    from services.scheduling.schedules import Schedule

app = typer.Typer(
    help="""Run sweeps at planned times.

Begin with:

  basin schedule add nightly.yaml --cron "0 2 * * *" --timezone Europe/Paris
  basin scheduler

The scheduler fires what is due; several may be at work on one ledger, and each occurrence is run once.""",
    no_args_is_help=True,
)

JobAddressOption = Annotated[
    str | None,
    typer.Option("--address", help="HOST:PORT of a Ray cluster, or http://HOST:8265 for jobs. [env: BASIN_ADDRESS]"),
]
NameArgument = Annotated[str, typer.Argument(help="A name of `basin schedule list`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="A sweep file: YAML or JSON.")],
    cron: Annotated[str, typer.Option("--cron", help="minute hour day-of-month month day-of-week.")],
    timezone: Annotated[str, typer.Option("--timezone", help="On whose clocks, such as Europe/Paris.")] = "UTC",
    name: Annotated[str | None, typer.Option("--name", help="Of the schedule; the sweep's unless given.")] = None,
    overlap: Annotated[
        Overlap, typer.Option("--overlap", help="What to do when an earlier occurrence is not finished.")
    ] = "skip",
    misfire_grace: Annotated[
        str, typer.Option("--misfire-grace", help="Skip what is found due later than this: 30m, 1h, 1d12h.")
    ] = "1h",
    coalesce: Annotated[
        bool, typer.Option("--coalesce/--no-coalesce", help="Of several due at once, run the latest alone, or each.")
    ] = True,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    address: JobAddressOption = None,
    store: StoreOption = None,
    ledger: LedgerOption = None,
) -> None:
    """Schedule a sweep, and print its next five times.

    For example:

      basin schedule add nightly.yaml --cron "0 2 * * *" --timezone Europe/Paris
      basin schedule add nightly.yaml --cron "*/30 8-18 * * MON-FRI" --overlap queue --misfire-grace 10m
      basin schedule add big.yaml --cron "0 3 * * SUN" --address http://head:8265 --store s3://bucket/store

    The sweep is kept as it is now: a later change of the file takes effect when it is added again, which replaces the
    schedule of that name. Each occurrence runs `basin sweep run`, so it fits what is not stored yet: with data that did
    not change that is nothing the second time.
    """
    from services.launching.options import RunOptions
    from services.scheduling.schedules import add, define

    environment = settings()
    options = RunOptions(
        store=_location(store or environment.store),
        address=address or environment.address,
        workers=workers,
        gpus=gpus,
    )
    now = datetime.now(UTC)
    schedule = define(
        read_sweep(file),
        cron,
        options,
        now,
        name=name,
        timezone=timezone,
        overlap=overlap,
        misfire_grace=duration(misfire_grace, "--misfire-grace"),
        coalesce=coalesce,
    )
    with _open(store, ledger, create=True) as opened:
        replaced = add(opened, schedule)
        _say(f"{schedule.name} is {'replaced' if replaced else 'scheduled'}. Its next times:")
        for time in schedule.next_times(now, 5):
            _say(f"  {time:%a %Y-%m-%d %H:%M %Z} ({time.astimezone(UTC):%H:%M} UTC)")
        _hint_at_scheduler(opened, store, ledger)


@app.command("list")
def list_schedules(store: StoreOption = None, ledger: LedgerOption = None, json: JsonOption = False) -> None:
    """List the schedules, when they fire next, and what became of their last occurrences.

    For example:

      basin schedule list
      basin schedule list --json
    """
    from services.scheduling.occurrences import latest
    from services.scheduling.schedules import all_schedules

    with _open(store, ledger) as opened:
        found, last = all_schedules(opened), latest(opened)
        _hint_at_scheduler(opened, store, ledger)
    if json:
        print_json([_as_json(schedule, last.get(schedule.name)) for schedule in found])
        return
    table = _table("schedule", "cron", "time zone", "state", "next", "last")
    for schedule in found:
        following = next(iter(schedule.upcoming(datetime.now(UTC), 1)), None)
        words = f"{following:%Y-%m-%d %H:%M}" if following else MISSING
        ended = last[schedule.name].status if schedule.name in last else MISSING
        table.add_row(schedule.name, schedule.cron, schedule.timezone, schedule.state, words, ended)
    Console().print(table)


@app.command()
def pause(name: NameArgument, store: StoreOption = None, ledger: LedgerOption = None) -> None:
    """Let a schedule fire nothing until it is resumed; what runs goes on.

    For example: basin schedule pause nightly
    """
    from services.scheduling.schedules import pause

    with _open(store, ledger) as opened:
        pause(opened, name)
    _say(f"{name} is paused. Next: basin schedule resume {name}")


@app.command()
def resume(name: NameArgument, store: StoreOption = None, ledger: LedgerOption = None) -> None:
    """Let a schedule fire again from now on; what it missed is not made up for.

    For example: basin schedule resume nightly
    """
    from services.scheduling.schedules import resume

    with _open(store, ledger) as opened:
        resume(opened, name, datetime.now(UTC))
        _say(f"{name} is active.")
        _hint_at_scheduler(opened, store, ledger)


@app.command()
def remove(name: NameArgument, store: StoreOption = None, ledger: LedgerOption = None) -> None:
    """Remove a schedule; what runs goes on, and its history stays.

    For example: basin schedule remove nightly
    """
    from services.scheduling.schedules import remove

    with _open(store, ledger) as opened:
        remove(opened, name)
    _say(f"{name} is removed. Its history stays: basin schedule history {name}")


@app.command("run-now")
def run_now(name: NameArgument, store: StoreOption = None, ledger: LedgerOption = None) -> None:
    """Ask for an occurrence now; it starts when none of the schedule is running. A paused schedule may be asked, too.

    For example: basin schedule run-now nightly
    """
    from services.scheduling.occurrences import run_now

    with _open(store, ledger) as opened:
        new = run_now(opened, name, datetime.now(UTC))
        _say(
            f"{name} is asked for{'' if new else ' already, at this very second'}. Next: basin schedule history {name}"
        )
        _hint_at_scheduler(opened, store, ledger)


@app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="A schedule, a removed one too; all unless given.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the latest first.")] = 20,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Say what became of occurrences: those that ran, and those that were skipped, and why.

    For example:

      basin schedule history
      basin schedule history nightly --limit 100 --json
    """
    from services.scheduling.occurrences import history
    from services.scheduling.schedules import all_schedules

    with _open(store, ledger) as opened:
        found = history(opened, name, limit)
        schedules = {schedule.name: schedule for schedule in all_schedules(opened, removed=True)}
    if json:
        print_json([occurrence.model_dump(mode="json") for occurrence in found])
        return
    table = _table("schedule", "planned", "status", "took", "reason")
    for each in found:
        planned = schedules[each.schedule].local(each.planned)
        took = (each.ended - each.claimed).total_seconds() if each.ended and each.claimed else None
        reason = "; ".join(part for part in ("asked for" if each.trigger == "manual" else "", each.reason) if part)
        cells = (each.schedule, f"{planned:%Y-%m-%d %H:%M %Z}", each.status, format_seconds(took), printable(reason))
        table.add_row(*map(Text, cells))
    Console().print(table)


def scheduler(store: StoreOption = None, ledger: LedgerOption = None) -> None:
    """Fire schedules when they are due, until Ctrl-C; what it launched goes on after that.

    For example:

      basin scheduler
      basin scheduler --ledger postgresql+psycopg://basin@db/basin

    Several may be at work on one ledger: each occurrence is run once, and when one is killed another takes over.
    """
    import signal
    import threading

    from services.scheduling.scheduler import make_scheduler
    from services.scheduling.schedules import all_schedules

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _open(store, ledger, create=True) as opened:
        n = len(all_schedules(opened))
        tell(f"scheduler of {opened.name}: {n} schedule{'' if n == 1 else 's'}; Ctrl-C ends it")
        make_scheduler(opened, settings().cache, lambda line: tell(f"{datetime.now():%F %T} {line}")).run(stop)


def _open(store: str | None, ledger: str | None, *, create: bool = False) -> "closing[Ledger]":
    from services.ledger.database import Ledger, default_url

    environment = settings()
    url = ledger or environment.ledger or default_url(store or environment.store, environment.cache)
    return closing(Ledger(url, create=create))


def _location(store: Path | str) -> str:
    """Where the store is, in words that mean the same in another folder."""
    return str(store) if "://" in str(store) else str(Path(store).resolve())


def _as_json(schedule: "Schedule", last: "Occurrence | None") -> dict:
    following = next(iter(schedule.upcoming(datetime.now(UTC), 1)), None)
    return {
        **schedule.model_dump(mode="json"),
        "next": following and following.isoformat(),
        "last": last and last.model_dump(mode="json"),
    }


def _hint_at_scheduler(opened: "Ledger", store: str | None, ledger: str | None) -> None:
    from services.scheduling.leases import has_scheduler

    if not has_scheduler(opened):
        options = again(store=store, ledger=ledger)
        warn(f"no scheduler is at work on this ledger, so nothing fires: start `basin scheduler{options}`")


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _say(*lines: str) -> None:
    for line in lines:
        Console().print(Text(printable(line)))
