"""The main job: the same learners on the same splits of one dataset, fitted, compared and told."""

import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from cluster.executor import Executor
from cluster.resources import Resources
from models.spec.settings import SCHEMA_VERSION, digest
from services.comparison.chart_data import gather
from services.comparison.document import DatasetFacts, Document, Invocation, gather_warnings
from services.comparison.figures import Evidence
from services.comparison.summary import Summary, collect, summarise
from services.execution.carry_out import carry_out
from services.execution.runner import OnEvent, Outcome
from services.provenance import provenance
from services.store.schemas import SCHEMAS
from services.store.writer import Writer
from services.sweeps.plan import Plan


@dataclass(frozen=True)
class Compared:
    """A comparison's document, and what its charts draw."""

    document: Document
    evidence: Evidence
    outcome: Outcome


def compare(
    plan: Plan,
    writer: Writer,
    executor: Executor,
    on_event: OnEvent,
    *,
    resources: Resources,
    n_workers: int = 1,
) -> Compared:
    """Fit what the store lacks, and compare all runs of the plan, which has one dataset.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    outcome = carry_out(plan, writer, executor, on_event, resources=resources, n_workers=n_workers)
    (part,) = plan.parts
    rows = collect(writer, plan.run_keys)
    summary = summarise(rows, part.learners, part.dataset.task)
    _keep(writer, plan, summary)
    document = _document(plan, summary, outcome)
    return Compared(document, gather(writer, rows, part.learners, part.dataset.task), outcome)


def _document(plan: Plan, summary: Summary, outcome: Outcome) -> Document:
    (part,) = plan.parts
    dataset = part.dataset
    shape = "" if dataset.shape is None else f"each row is an array of {' x '.join(map(str, dataset.shape))}"
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return Document(
        dataset=DatasetFacts(
            name=dataset.name,
            rows=dataset.n_rows,
            columns=len(dataset.names) + len(dataset.factors),
            target=dataset.target_name,
            classes=dataset.classes,
            fingerprint=dataset.fingerprint,
            notes=tuple(filter(None, (shape, *dataset.notes, *part.notes))),
        ),
        task=dataset.task,
        learners=summary.learners,
        comparisons=summary.comparisons,
        verdict=summary.verdict,
        warnings=gather_warnings(
            summary.learners,
            [*summary.warnings, *(note for note in dataset.notes if note.startswith("LEAK"))],
        ),
        fitted=outcome.fitted,
        reused=outcome.reused,
        invocation=Invocation(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            budget=plan.sweep.budget,
            splits=plan.sweep.n_splits,
            seeds=plan.sweep.n_seeds,
        ),
        provenance=provenance(),
    )


def _keep(writer: Writer, plan: Plan, summary: Summary) -> None:
    """Append the pairs to the table `comparisons`, keyed by the runs that they come from."""
    (part,) = plan.parts
    runs = {"runs": sorted(plan.run_keys), "schema_version": SCHEMA_VERSION}
    rows = [
        {
            "comparison_key": digest({**runs, "a": c.a, "b": c.b, "metric": c.metric}),
            "stored_at": datetime.now(UTC),
            "sweep": plan.sweep.name,
            "dataset": part.dataset.name,
            "fingerprint": part.dataset.fingerprint,
            **c.model_dump(include=set(SCHEMAS["comparisons"].names())),
        }
        for c in summary.comparisons
    ]
    if rows:
        writer.put_comparisons(pl.DataFrame(rows, schema=SCHEMAS["comparisons"], orient="row"))
