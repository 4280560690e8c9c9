"""A plan carried out: hopeless configurations are stopped, runs that would hold all others up are spread, the rest is
fitted.
"""

from itertools import chain

import polars as pl

from cluster.executor import Executor
from cluster.resources import Resources
from models.spec.settings import canonical_json
from services.execution.chains import Spread, worth_spreading
from services.execution.early_stopping import Stopping, stop_hopeless
from services.execution.runner import OnEvent, Outcome, run
from services.store.store import Store
from services.store.writer import Writer
from services.sweeps.plan import Plan


def waiting(plan: Plan, store: Store, *, only_failed: bool = False) -> pl.DataFrame:
    """The plan's runs that the store lacks, failed and stopped ones among them; with `only_failed` the failed alone."""
    missing = plan.missing(store)
    if only_failed:
        failed = store.collect(store.runs().filter(pl.col("status") == "failed").select("run_key"))
        missing = missing.join(failed, on="run_key", how="semi", maintain_order="left")
    return missing


def carry_out(
    plan: Plan,
    writer: Writer,
    executor: Executor,
    on_event: OnEvent,
    *,
    resources: Resources,
    n_workers: int = 1,
    only_failed: bool = False,
) -> Outcome:
    """Record what the sweep asks for, then fit the runs that the store lacks.

    With more workers than one, a run that costs more than a worker's fair share of the work is sampled chain by chain
    on several of them.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    name = plan.sweep.name
    writer.put_sweep(name, canonical_json(plan.sweep), plan.members())
    missing = waiting(plan, writer, only_failed=only_failed)
    n_reused = len(plan.runs) - len(missing)
    stopping = Stopping()
    if plan.sweep.early_stopping is not None:
        stopping = stop_hopeless(plan, missing, writer, executor, on_event, resources)
        missing = missing.filter(~pl.col("run_key").is_in([*stopping.stopped, *stopping.failed]))
    apart = worth_spreading(plan, missing, n_workers, resources)
    whole = missing.join(apart, on="run_key", how="anti", maintain_order="left")
    spread = Spread(writer)
    parts = spread.items(plan.items(apart, resources), n_workers)
    first = run(
        chain(parts, plan.items(whole, resources)), plan.datasets, writer, executor, on_event, sweep=name, spread=spread
    )
    rest = run(plan.items(apart, resources), plan.datasets, writer, executor, on_event, sweep=name)
    failed = stopping.failed | dict(first.failed) | dict(rest.failed)
    n_reused += first.reused + rest.reused
    return Outcome(first.fitted + rest.fitted, n_reused, failed, len(stopping.stopped))
