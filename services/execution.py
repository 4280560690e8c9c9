"""A plan carried out: what the store lacks is fitted and kept."""

import polars as pl

from cluster.executor import Executor
from cluster.resources import Resources
from models.spec import canonical_json
from services.plans import Plan
from services.runner import OnEvent, Outcome, run
from services.store import Store, Writer


def waiting(plan: Plan, store: Store, *, only_failed: bool = False) -> pl.DataFrame:
    """The plan's runs that the store lacks, failed ones among them; with `only_failed` these alone."""
    missing = plan.missing(store)
    if only_failed:
        failed = store.runs().filter(pl.col("status") == "failed").select("run_key").collect()
        missing = missing.join(failed, on="run_key", how="semi", maintain_order="left")
    return missing


def carry_out(
    plan: Plan,
    writer: Writer,
    executor: Executor,
    on_event: OnEvent,
    *,
    resources: Resources,
    only_failed: bool = False,
) -> Outcome:
    """Record what the sweep asks for, then fit the runs that the store lacks.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    name = plan.sweep.name
    writer.put_sweep(name, canonical_json(plan.sweep), plan.members())
    missing = waiting(plan, writer, only_failed=only_failed)
    outcome = run(plan.items(missing, resources), plan.datasets, writer, executor, on_event, sweep=name)
    return Outcome(outcome.fitted, len(plan.runs) - len(missing), outcome.failed, outcome.stopped)
