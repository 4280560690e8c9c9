"""`basin reproduce`: one stored run again."""

import tempfile
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from models.digits import format_number, format_short
from services.commands.options import StoreOption, print_json
from services.commands.workers import tell, workplace
from services.errors import ServiceError
from services.rendering.formatting import format_seconds, printable

if TYPE_CHECKING:
    from services.execution.reproduce import Reproduced
    from services.store.bundles import Bundle


def reproduce(
    run_key: Annotated[str, typer.Argument(help="Of the run, as `basin results runs --select run_key` has it.")],
    into: Annotated[
        str | None, typer.Option("--into", help="Another store that keeps the run as it comes out. [default: none]")
    ] = None,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a stored run again, in this process, and say whether every number of it is the same.

    For example:

      basin reproduce 0123456789abcdef0123456789abcdef
      basin reproduce 0123456789abcdef0123456789abcdef --into elsewhere

    Ends with status 1 if any number differs.
    """
    place = workplace(store, 0, 0.0, None)
    from services.execution.reproduce import reproduce as again
    from services.store.store import Store
    from services.store.writer import writing

    opened = Store(place.store)
    with tempfile.TemporaryDirectory(prefix="basin-") as folder, writing(into or folder) as writer:
        if run_key in writer.stored([run_key]):
            raise ServiceError(f"the store in {into} has run {run_key} already: name another one by --into")
        tell(f"fitting {run_key} again")
        found = again(opened, run_key, writer, place.cache)
    if as_json:
        print_json(_document(found))
    else:
        _print(found, Console())
    if found.differences:
        raise typer.Exit(1)


def _document(found: "Reproduced") -> dict[str, object]:
    return {
        "run_key": found.stored.manifest.run_key,
        "same": not found.differences,
        "differences": [each._asdict() for each in found.differences],
    }


def _print(found: "Reproduced", console: Console) -> None:
    stored, again = found.stored.manifest, found.again.manifest
    run = f"{stored.learner.name} on {printable(stored.dataset)}, split {stored.partition.index}, seed {stored.seed}"
    said = f"{run}: {again.status}, in {format_seconds(again.wall_seconds)}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    for metric, value in _scores(found.again):
        console.print(f"  test {metric} {format_short(value)}", highlight=False, markup=False)
    if not found.differences:
        console.print("every number is the same, to the bit", highlight=False)
    for each in found.differences:
        size = "" if each.largest is None else f", by {format_number(each.largest)} at most"
        rows = f"{each.rows:,} row{'' if each.rows == 1 else 's'}"
        tell(f"! {each.table}.{each.column} differs in {rows}{size}")
    if found.differences and stored.device != again.device:
        tell(f"it was fitted on {stored.device}, and now on {again.device}: rounding differs between devices")


def _scores(bundle: "Bundle") -> "list[tuple[str, float]]":
    from services.store.rows import rows_of_bundle

    rows = rows_of_bundle(bundle).get("metrics")
    return [] if rows is None else rows.filter(part="test").select("metric", "value").rows()
