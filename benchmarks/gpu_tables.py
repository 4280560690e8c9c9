"""The figures of `benchmarks.gpu` as tables."""

from collections.abc import Callable
from typing import Any

from benchmarks.table import Table, figure

MIB = 2**20


def sentence(found: dict[str, Any]) -> str:
    """The machine, and whether packs agreed with single runs."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("jax", "numpyro"))
    text = f"{machine['date']}, {machine['driver'] or machine['device']}, Python {machine['python']}, {versions}."
    for check in found["checks"]:
        if result := check["result"]:
            worst = max(result["pack_against_single"].values())
            verdict = "met" if result["agree"] else "NOT met"
            text += (
                f" At {check['precision']} matrix precision a pack differs from its members alone by at most "
                f"{worst:.1e} of the largest entry (tolerance {result['tolerance']:.0e}: {verdict}), and a float32 "
                f"gradient from float64 by {result['gradient_against_float64']:.1e}."
            )
        else:
            text += f" Not checked at {check['precision']} matrix precision: {check['reason']}."
    return text


def tables(found: dict[str, Any]) -> list[Table]:
    """Training, curvature, spectral densities and chains, one table for each net."""
    return [
        *(_training(net, rows, found["rows"]) for net, rows in found["training"].items()),
        *(_curvature(net, rows, found["rows"]) for net, rows in found["curvature"].items()),
        *(_densities(net, rows, found["rows"]) for net, rows in found["densities"].items()),
        *(_chains(net, rows, found["rows"]) for net, rows in found["chains"].items()),
    ]


def _training(net: str, rows: list[dict[str, Any]], n: int) -> Table:
    single = next((row["result"]["runs_x_steps_per_second"] for row in rows if row["result"]), None)
    header = [
        "nets",
        "runs × steps per second",
        "times the first row",
        "program MiB",
        "peak MiB",
        "compile s",
    ]

    def cells(r: dict[str, Any]) -> list[str]:
        rate = r["runs_x_steps_per_second"]
        return [figure(rate), figure(rate / single if single else None), *_memory(r), figure(r["compile_seconds"])]

    return table(f"Training, {net}, batches of 32 of {n:,} rows", header, rows, cells)


def _curvature(net: str, rows: list[dict[str, Any]], n: int) -> Table:
    header = ["nets", "gradients/s", "Hessian products/s", "gradients per product"]
    header += ["five eigenvalues/s", "converged", "exact traces/s", "program MiB", "peak MiB"]

    def cells(r: dict[str, Any]) -> list[str]:
        names = ("gradients_per_second", "hessian_products_per_second", "gradients_per_hessian_product")
        names += ("eigenvalues_of_nets_per_second", "eigenvalues_converged_share", "traces_per_second")
        return [*(figure(r[name]) for name in names), *_memory(r)]

    return table(f"Curvature, {net}, {n:,} rows", header, rows, cells)


def _densities(net: str, rows: list[dict[str, Any]], n: int) -> Table:
    header = ["nets", "spectral densities/s", "seconds", "program MiB", "peak MiB", "compile s"]

    def cells(r: dict[str, Any]) -> list[str]:
        rate = figure(r["densities_per_second"])
        return [rate, figure(r["seconds"]), *_memory(r), figure(r["compile_seconds"])]

    return table(f"Spectral densities, {net}, {n:,} rows", header, rows, cells)


def _chains(net: str, rows: list[dict[str, Any]], n: int) -> Table:
    header = ["chains", "draws/s", "gradients/s", "acceptance", "divergences", "peak MiB"]

    def cells(r: dict[str, Any]) -> list[str]:
        names = ("draws_per_second", "gradients_per_second", "acceptance_rate", "divergences")
        return [*(figure(r[name]) for name in names), _memory(r)[1]]

    return table(f"HMC, {net}, {n:,} rows", header, rows, cells)


def table(
    title: str, header: list[str], rows: list[dict[str, Any]], cells: Callable[[dict[str, Any]], list[str]]
) -> Table:
    """One line per size: its cells, or the reason why there are none."""
    body = []
    for row in rows:
        filled = cells(row["result"]) if row["result"] else [row["reason"], *["–"] * (len(header) - 2)]
        body.append([f"{row['size']:,}", *filled])
    return Table(title, header, body)


def _memory(r: dict[str, Any]) -> list[str]:
    """What the program needs by the compiler's account, and the most that the process has held so far."""
    of_program, of_process = r.get("program_bytes"), r.get("peak_bytes_of_process")
    return [figure(b / MIB if b else None) for b in (of_program, of_process)]
