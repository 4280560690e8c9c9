"""The audit of a sweep: one stored net of each learner, rescaled and permuted, and what each measure makes of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from models.data.preparation import prepare
from models.measuring.at_runs import points_of
from models.measuring.audit import APPLIES, audit
from models.measuring.catalogue import Ask
from models.runs.run import Run
from services.errors import ServiceError
from services.execution.measures import draws_of, request_of, vectors
from services.geometry.document import AuditDocument, AuditRow
from services.store.store import Store
from services.sweeps.plan import datasets_of


def audit_sweep(
    store: Store, sweep: str, asks: Sequence[Ask], cache: Path, say: Callable[[str], None]
) -> AuditDocument:
    """Audit the first finished run of each learner and dataset: its point estimate, or its posterior's first draw.

    Raises:
        StoreError: there is no such sweep, or a bundle is damaged.
        ServiceError: the sweep has no finished run with a parameter vector.
    """
    _, members = store.sweep(sweep)
    runs = store.runs().filter(status="finished").join(members.lazy().select("run_key").unique(), on="run_key")
    firsts = runs.sort("dataset", "learner", "split", "seed", "run_key").unique(
        ["dataset", "learner"], keep="first", maintain_order=True
    )
    datasets = datasets_of(store, sweep, cache)
    rows: list[AuditRow] = []
    for row in store.collect(firsts).iter_rows(named=True):
        (draw, *_), unable = draws_of(row, 1)
        if unable is not None:
            continue
        say(f"auditing {row['learner']} on {row['dataset']}, split {row['split']}, seed {row['seed']}")
        request = request_of(row)
        run = Run(request, prepare(datasets[request.fingerprint], request.partition), lambda event: None)
        (point,) = points_of(run, vectors(store.bundle(request.run_key), [draw]), [draw])
        with jax.enable_x64(True):
            found = audit(point, asks, key=run.keys.measure)
        rows += [
            AuditRow(dataset=row["dataset"], learner=row["learner"], run_key=request.run_key, **each._asdict())
            for each in found
        ]
    if not rows:
        raise ServiceError(f"sweep {sweep!r} has no finished run with a parameter vector: fit a net by basin sweep run")
    return AuditDocument(sweep=sweep, applies=APPLIES, rows=tuple(rows))
