"""`basin token`: who may use a server, and for what."""

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.digits import MISSING
from services.commands.options import LedgerOption, StoreOption, duration, print_json
from services.commands.workers import again, tell
from services.errors import ServiceError
from services.rendering.formatting import printable
from services.settings import settings

if TYPE_CHECKING:
    from services.ledger.database import Ledger
from services.ledger.tokens import Scope

app = typer.Typer(
    help="""Make tokens for the people and programs that use a server of `basin serve`.

  basin token create ada --scope submit
  basin token list
  basin token revoke ada

A token of scope `read` reads, `submit` runs and stops sweeps and schedules, too, and `admin` may do everything.""",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(help="Whose it is, or what for; it is in the server's log.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: NameArgument,
    scope: Annotated[
        Scope, typer.Option("--scope", help="What it may do; each may what those before it may.")
    ] = "read",
    expires: Annotated[
        str | None, typer.Option("--expires", help="Ends by itself after so long: 12h, 30d. Never unless given.")
    ] = None,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token, and print it: this once, for what is kept is a hash of it.

    For example:

      basin token create ada --scope submit
      basin token create nightly-report --expires 90d
      export BASIN_TOKEN=$(basin token create notebook --scope submit)
    """
    from services.ledger.tokens import create

    now = datetime.now(UTC)
    until = None if expires is None else _after(now, expires)
    with _open(store, ledger, create=True) as opened:
        made = create(opened, name, scope, now, until)
    if as_json:
        print_json({"secret": made.secret, **made.token.model_dump(mode="json")})
        return
    typer.echo(made.secret)
    words = f", until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    tell(f"{name} may {_MAY[scope]}{words}. Keep it: it is not shown again.")
    tell(f"To end it: basin token revoke {name}{again(store=store, ledger=ledger)}")


@app.command("list")
def list_tokens(store: StoreOption = None, ledger: LedgerOption = None, as_json: JsonOption = False) -> None:
    """List the tokens by name, each with the last four characters of it.

    For example: basin token list
    """
    from services.ledger.tokens import all_tokens

    with _open(store, ledger) as opened:
        found = all_tokens(opened)
    now = datetime.now(UTC)
    if as_json:
        print_json([{**token.model_dump(mode="json"), "state": token.state(now)} for token in found])
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("token", "scope", "ends in", "state", "created", "expires"):
        table.add_column(heading, overflow="fold")
    for token in found:
        expires = f"{token.expires:%Y-%m-%d %H:%M}" if token.expires else MISSING
        cells = (token.name, token.scope, token.last_four, token.state(now), f"{token.created:%Y-%m-%d %H:%M}", expires)
        table.add_row(*map(Text, map(printable, cells)))
    Console().print(table)


@app.command()
def revoke(name: NameArgument, store: StoreOption = None, ledger: LedgerOption = None) -> None:
    """End a token; servers that are at work refuse it within two seconds.

    For example: basin token revoke ada
    """
    from services.ledger.tokens import revoke

    with _open(store, ledger) as opened:
        revoke(opened, name, datetime.now(UTC))
    Console().print(Text(printable(f"{name} is revoked.")))


_MAY = {"read": "read", "submit": "read, and run and stop sweeps and schedules", "admin": "do everything"}


def _open(store: str | None, ledger: str | None, *, create: bool = False) -> "closing[Ledger]":
    from services.ledger.database import Ledger, default_url

    environment = settings()
    url = ledger or environment.ledger or default_url(store or environment.store, environment.cache)
    return closing(Ledger(url, create=create))


def _after(now: datetime, expires: str) -> datetime:
    try:
        return now + duration(expires, "--expires")
    except OverflowError:
        raise ServiceError(
            f"--expires {expires!r}: that is after the year 9999; leave it out for a token without end"
        ) from None
