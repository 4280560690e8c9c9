"""The command `python -m benchmarks`: measure, print, keep as JSON, and bring the figures into the documentation."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks import gpu_tables, machine
from benchmarks.table import Table, markdown, write_section
from cluster.resources import Resources, apply_environment

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
PAGES = {"chaos": DOCS / "reliability.md"}  # those that stand elsewhere

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Out = Annotated[Path | None, typer.Option(help="Write the figures and the machine's facts here, as JSON.")]
WriteDocs = Annotated[bool, typer.Option("--write-docs", help=f"Bring the figures into {PAGE.name}.")]


def _training() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import training  # imports JAX: after `apply_environment`

    found = training.measure()
    return found, training.tables(found)


def _overhead() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import overhead

    found = overhead.measure()
    return found, overhead.tables(found)


def _geometry() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import geometry

    found = geometry.measure()
    return found, geometry.tables(found)


def _memory() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import memory

    found = memory.measure()
    return {"programs": found}, memory.tables(found)


def _scaling() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import scaling

    found = scaling.measure()
    return found, scaling.tables(found)


def _queries() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import queries

    found = queries.measure()
    return found, queries.tables(found)


def _planning() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import planning

    found = planning.measure()
    return found, planning.tables(found)


def _service() -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import service

    found = service.measure()
    return found, service.tables(found)


def _chaos(seed: int = 0) -> tuple[dict[str, Any], list[Table]]:
    from benchmarks import chaos

    found = chaos.measure(seed)
    return found, chaos.tables(found)


# Those that start Ray first: it forks, and JAX's threads do not survive a fork.
BENCHMARKS: dict[str, Callable[..., tuple[dict[str, Any], list[Table]]]] = {
    "overhead": _overhead,
    "scaling": _scaling,
    "training": _training,
    "geometry": _geometry,
    "memory": _memory,
    "queries": _queries,
    "planning": _planning,
    "service": _service,
    "chaos": _chaos,
}


def _measure(names: Iterable[str], out: Path | None, write_docs: bool, **settings: Any) -> None:
    apply_environment(Resources())
    results: dict[str, Any] = {}
    for name in names:
        facts = machine.facts()
        found, tables = BENCHMARKS[name](**settings)
        results[name] = {"machine": facts, "result": found}
        _print(tables)
        if write_docs:
            write_section(PAGES.get(name, PAGE), name, "\n\n".join([machine.sentence(facts), *map(markdown, tables)]))
        if out:
            out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _print(tables: Iterable[Table]) -> None:
    console = Console()
    for table in tables:
        shown = RichTable(title=table.title)
        for i, column in enumerate(table.header):
            shown.add_column(column, justify="right" if i else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


@app.command()
def training(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Training throughput, against PyTorch (in the interpreter that BASIN_TORCH_PYTHON names)."""
    _measure(["training"], out, write_docs)


@app.command()
def overhead(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Overhead per trivial run, against Ray Tune (in the interpreter that BASIN_TUNE_PYTHON names)."""
    _measure(["overhead"], out, write_docs)


@app.command()
def scaling(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Scaling over 1 to 8 machines, simulated on this one, with runs that sleep."""
    _measure(["scaling"], out, write_docs)


@app.command()
def geometry(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Costs of the geometry, against PyHessian, curvlinops and eigenthings (where BASIN_TORCH_PYTHON has them)."""
    _measure(["geometry"], out, write_docs)


@app.command()
def memory(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Memory of the geometric measures, and what it grows with."""
    _measure(["memory"], out, write_docs)


@app.command()
def queries(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Questions to a million runs, against SQLite with the same rows."""
    _measure(["queries"], out, write_docs)


@app.command()
def planning(out: Out = None, write_docs: WriteDocs = False) -> None:
    """Planning, and resuming when all is done, sweeps of up to 100,000 runs; seconds and memory of the driver."""
    _measure(["planning"], out, write_docs)


@app.command()
def service(out: Out = None, write_docs: WriteDocs = False) -> None:
    """`basin serve` with 50 readers, 5 submitters and 100,000 runs stored; then it is killed, and started again."""
    _measure(["service"], out, write_docs)


@app.command()
def chaos(
    seed: Annotated[int, typer.Option(help="Decides what is killed, and when.")] = 0,
    out: Out = None,
    write_docs: WriteDocs = False,
) -> None:
    """A sweep whose workers, nodes and driver are killed, against the same sweep undisturbed: the same bits?"""
    _measure(["chaos"], out, write_docs, seed=seed)


@app.command(name="all")
def all_benchmarks(out: Out = None, write_docs: WriteDocs = False) -> None:
    """All of them, one after the other."""
    _measure(BENCHMARKS, out, write_docs)


@app.command()
def gpu(
    figures: Annotated[Path, typer.Argument(help="What `python -m benchmarks.gpu --out` wrote.")],
    write_docs: WriteDocs = False,
) -> None:
    """Print what `python -m benchmarks.gpu` measured on another machine."""
    found = json.loads(figures.read_text(encoding="utf-8"))
    tables = gpu_tables.tables(found)
    _print(tables)
    if write_docs:
        write_section(PAGE, "gpu", "\n\n".join([gpu_tables.sentence(found), *map(markdown, tables)]))


if __name__ == "__main__":
    app()
