"""`basin measures`, `basin measure`, `basin geometry` and `basin audit`: flat or sharp, at stored runs."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from services.commands.options import AddressOption, GpusOption, StoreOption, WorkersOption, listed
from services.commands.outputs import check_outputs, write_json, writing_output
from services.commands.workers import Workplace, again, attend, check_idle_at_once, crew, store_of, tell, workplace
from services.geometry import BARRIER_THRESHOLD
from services.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.data.dataset import Dataset
    from models.geometry.connectivity.paths import Paths
    from models.measuring.catalogue import Ask
    from services.store.writer import Writer

SweepArgument = Annotated[str, typer.Argument(help="A sweep or comparison: `basin sweep list` has their names.")]
MeasuresOption = Annotated[
    str | None,
    typer.Option(
        "--measures",
        "-m",
        help="Names, separated by commas, each with settings as in sharpness_l2:rho=0.1; 'all' is every one. "
        "[default: the sweep's own]",
    ),
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the answer as JSON.")]


def list_measures(
    name: Annotated[str | None, typer.Argument(help="Show one measure with its settings.")] = None,
) -> None:
    """List the measures, or show what one of them is and which settings it has.

    For example:

      basin measures
      basin measures sharpness_l2
    """
    from models.measuring.catalogue import CATALOGUE, ask
    from services.geometry.catalogue_terminal import print_catalogue, print_definition

    if name is None:
        print_catalogue(CATALOGUE.values(), Console())
    else:
        print_definition(ask(name).definition, Console())


def measure(
    sweep: SweepArgument,
    measures: MeasuresOption = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Posterior draws to measure at, evenly spaced.")] = 12,
    paths: Annotated[
        bool | None,
        typer.Option("--paths/--no-paths", help="Also the loss along paths between the solutions on a split."),
    ] = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
) -> None:
    """Measure the stored runs of SWEEP without fitting them again; what is measured already is left alone.

    For example:

      basin measure flat-or-sharp
      basin measure flat-or-sharp --measures hessian_trace,sharpness_l2:rho=0.1
      basin measure flat-or-sharp --measures all --draws 4 --paths

    Then `basin geometry` says what they tell. `basin measures` lists them.
    """
    place = workplace(store, workers, gpus, address)
    asked = None if measures is None else parse_measures(measures)
    from models.geometry.connectivity.paths import Paths
    from services.execution.measures import wanted
    from services.execution.status import check_idle
    from services.sweeps.plan import datasets_of

    check_idle_at_once(place, sweep)
    with store_of(place, sweep) as writer:
        own, connections = wanted(writer, sweep)
        check_idle(writer, sweep)
        if paths is not None:
            connections = (connections or Paths()) if paths else None
        datasets = partial(datasets_of, writer, sweep, place.cache)
        done = take_measures(place, writer, sweep, datasets, own if asked is None else asked, connections, draws)
    tell(f"Next: basin geometry {sweep}{again(store=store)}")
    if not done:
        raise typer.Exit(1)


def take_measures(
    place: Workplace,
    writer: "Writer",
    sweep: str,
    datasets: "Callable[[], Mapping[str, Dataset]]",
    asks: "Sequence[Ask]",
    paths: "Paths | None",
    draws: int,
) -> bool:
    """Measure what the store lacks, at `draws` draws of each posterior. Returns whether anything could be measured.

    `datasets`, by fingerprint, are asked for where there is something to measure.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
        DataError: a dataset cannot be read any more, or it is not what it was.
        Abort: it was stopped.
    """
    from services.execution import measures as measuring
    from services.execution import paths as connecting

    plan = measuring.plan(writer, sweep, asks, draws)
    requests: list[Any] = list(plan.requests)
    if paths is not None:
        requests += connecting.plan(writer, sweep, paths, draws)
    measured = 0
    if requests:
        found = datasets()
        waiting = {request.key: measuring.words(request) for request in requests}
        with crew(place, waiting) as workers, attend(writer, sweep, len(requests), 0, workers, "measuring"):
            outcome = measuring.measure(
                requests, sweep, found, writer, workers.executor, workers.on_event, resources=place.resources
            )
        measured = outcome.measured
        for reason, n in Counter(outcome.failed.values()).most_common(5):
            tell(f"! {n} could not be measured: {reason}")
    tell(f"{measured:,} of {len(requests):,} requests measured; {plan.reused:,} values were there before")
    if plan.unfinished:
        tell(f"{plan.unfinished:,} of the sweep's runs are not finished, and are left out: basin sweep run")
    return not requests or measured > 0


def geometry(
    sweep: SweepArgument,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, help="Largest barrier within one basin, in nats per row.")
    ] = BARRIER_THRESHOLD,
    store: StoreOption = None,
    json_file: JsonOption = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write one HTML page with charts.")] = None,
) -> None:
    """Say what the stored measures of SWEEP tell: how flat each solution is, and which measure tells who generalises.

    For example:

      basin geometry flat-or-sharp
      basin geometry flat-or-sharp --report geometry.html --json geometry.json

    It computes nothing anew: `basin measure` does.
    """
    check_outputs(json_file, report)
    from services.geometry.summary import collect, summarise
    from services.geometry.terminal import print_geometry
    from services.store.store import Store

    opened = Store(store or settings().store)
    rows = collect(opened, sweep)
    document = summarise(rows, sweep, threshold)
    print_geometry(document, Console())
    if json_file:
        write_json(json_file, document)
    if report:
        from services.geometry.chart_data import gather_evidence
        from services.geometry.report import write_geometry_report

        with writing_output(report):
            write_geometry_report(document, gather_evidence(opened, rows), report)


def audit(
    sweep: SweepArgument,
    measures: MeasuresOption = None,
    store: StoreOption = None,
    json_file: JsonOption = None,
) -> None:
    """Rescale and permute a stored net of each learner of SWEEP, which leaves its function alone: what moves?

    For example:

      basin audit flat-or-sharp
      basin audit flat-or-sharp --measures hessian_trace,path_norm

    A measure that moves tells of the parametrisation, too. It works in this process, in float64.
    """
    check_outputs(json_file)
    place = workplace(store, 0, 0.0, None)
    asked = None if measures is None else parse_measures(measures)
    from services.execution.measures import wanted
    from services.geometry.audit import audit_sweep
    from services.geometry.audit_terminal import print_audit
    from services.store.store import Store

    opened = Store(place.store)
    own, _ = wanted(opened, sweep)
    document = audit_sweep(opened, sweep, own if asked is None else asked, place.cache, tell)
    print_audit(document, Console())
    if json_file:
        write_json(json_file, document)


def parse_measures(text: str) -> "tuple[Ask, ...]":
    """Measures as the option has them: names with settings, such as sharpness_l2:rho=0.1:steps=20, or 'all'.

    Raises:
        SpecError: an unknown measure or setting.
        BadParameter: a setting that is not of the form key=value.
    """
    from models.measuring.catalogue import CATALOGUE, parse_asks

    if text.strip() == "all":
        return parse_asks(list(CATALOGUE))
    return parse_asks([_entry(part) for part in listed(text)])


def _entry(text: str) -> dict[str, Any]:
    name, *pairs = text.split(":")
    entry: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r}: expected a setting as in {name}:key=value", param_hint="--measures")
        if key.strip() in entry:
            raise typer.BadParameter(f"{pair!r}: {name} has this setting already: keep one", param_hint="--measures")
        entry[key.strip()] = _value(value.strip())
    return {**entry, "measure": name.strip()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
