"""The main job: the same learners on the same splits of one dataset, fitted, compared and told."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from cluster.executor import Executor
from cluster.resources import Resources
from models.build import model_of
from models.dataset import Dataset, Partition
from models.events import Event
from models.preparation import prepare
from models.result import RunRequest
from models.spec import SCHEMA_VERSION, BlackBox, Learner, SpecError, digest, resolve
from services.document import DatasetFacts, Document, Invocation, gather_warnings
from services.evidence import gather
from services.figures import Evidence
from services.provenance import provenance
from services.runner import Outcome, run
from services.schemas import SCHEMAS
from services.store import Writer
from services.summary import Summary, collect, summarise


@dataclass(frozen=True)
class Plan:
    """What a comparison asks for: learners with their likelihoods, and every run."""

    dataset: Dataset
    learners: tuple[Learner, ...]
    requests: tuple[RunRequest, ...]
    budget: str
    splits: int
    seeds: int
    notes: tuple[str, ...]

    def words(self) -> dict[str, str]:
        """Each run in words, by its key."""
        return {r.run_key: f"{r.learner.name}, split {r.partition.index}, seed {r.seed}" for r in self.requests}


@dataclass(frozen=True)
class Compared:
    """A comparison's document, and what its charts draw."""

    document: Document
    evidence: Evidence
    outcome: Outcome


def plan(dataset: Dataset, learners: Sequence[Learner], budget: str, splits: int, seeds: int) -> Plan:
    """Cross learners, splits and seeds. What would fail on every split is refused here, before anything is fitted.

    Raises:
        SpecError: a likelihood that does not fit the target, or a predictor that does not fit the inputs.
        DataError: the dataset cannot be split or prepared.
    """
    resolved = tuple(resolve(learner, dataset.task, dataset.n_classes) for learner in learners)
    first = prepare(dataset, Partition())
    for learner in resolved:
        if not isinstance(learner.predictor, BlackBox):
            assert learner.likelihood is not None
            shapes = (dataset.n_classes, len(first.columns), dataset.shape)
            try:
                model_of(learner.predictor, learner.likelihood, *shapes)  # pyright: ignore[reportArgumentType] - hashable
            except SpecError as error:
                raise SpecError(f"learner {learner.name!r}: {error}") from None
    requests = tuple(
        RunRequest(learner, Partition(index=split), seed, dataset.fingerprint)
        for learner in resolved
        for split in range(splits)
        for seed in range(seeds)
    )
    return Plan(dataset, resolved, requests, budget, splits, seeds, first.notes)


def compare(
    plan: Plan,
    writer: Writer,
    executor: Executor,
    on_event: Callable[[Event], None],
    *,
    n_workers: int,
    resources: Resources,
) -> Compared:
    """Fit what the store lacks, and compare all runs of the plan.

    Raises:
        StoreError: the store cannot be written to.
        ClusterError: no worker can be had.
    """
    outcome = run(
        plan.requests,
        plan.dataset,
        writer,
        executor,
        on_event,
        sweep="compare",
        n_workers=n_workers,
        resources=resources,
    )
    names = [learner.name for learner in plan.learners]
    rows = collect(writer, [request.run_key for request in plan.requests])
    summary = summarise(rows, names, plan.dataset.task)
    _keep(writer, plan, summary)
    document = _document(plan, summary, outcome)
    return Compared(document, gather(writer, rows, names, plan.dataset.task), outcome)


def _document(plan: Plan, summary: Summary, outcome: Outcome) -> Document:
    dataset = plan.dataset
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
            notes=tuple(filter(None, (shape, *dataset.notes, *plan.notes))),
        ),
        task=dataset.task,
        learners=summary.learners,
        comparisons=summary.comparisons,
        verdict=summary.verdict,
        warnings=gather_warnings(summary.learners, [note for note in dataset.notes if note.startswith("LEAK")]),
        fitted=outcome.fitted,
        reused=outcome.reused,
        invocation=Invocation(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            budget=plan.budget,
            splits=plan.splits,
            seeds=plan.seeds,
        ),
        provenance=provenance(),
    )


def _keep(writer: Writer, plan: Plan, summary: Summary) -> None:
    """Append the pairs to the table `comparisons`, keyed by the runs that they come from."""
    runs = {"runs": sorted(request.run_key for request in plan.requests), "schema_version": SCHEMA_VERSION}
    rows = [
        {
            "comparison_key": digest({**runs, "a": c.a, "b": c.b, "metric": c.metric}),
            "stored_at": datetime.now(UTC),
            "sweep": "compare",
            "dataset": plan.dataset.name,
            "fingerprint": plan.dataset.fingerprint,
            **c.model_dump(),
        }
        for c in summary.comparisons
    ]
    if rows:
        writer.put_comparisons(pl.DataFrame(rows, schema=SCHEMAS["comparisons"], orient="row"))
