"""Paths from one stored vector to others of the same net on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from models.data.dataset import Dataset
from models.data.preparation import prepare
from models.geometry.connectivity.paths import Paths, connect
from models.geometry.landscape import Landscape
from models.runs.events import Result, begun
from models.runs.result import Connected, Measurement, RunRequest
from models.runs.run import Emit, Run, rows_of
from models.spec.settings import SCHEMA_VERSION, digest

Vector = tuple[str, int]
"""A stored parameter vector: a run's key, and the draw or -1 for its point estimate."""


@dataclass(frozen=True)
class ConnectRequest:
    """Paths from a run's vector to others.

    Attributes:
        draw: of the run's posterior, -1 for its point estimate.
        others: where the paths end.
    """

    run: RunRequest
    draw: int
    others: tuple[Vector, ...]
    settings: Paths

    @property
    def key(self) -> str:
        """Hash of the ends and the settings."""
        return digest(
            {
                "from": [self.run.run_key, self.draw],
                "to": [list(other) for other in self.others],
                "settings": self.settings.model_dump(mode="json"),
                "schema_version": SCHEMA_VERSION,
            }
        )


def connect_runs(
    requests: Sequence[ConnectRequest],
    dataset: Dataset,
    vectors: Mapping[str, Mapping[str, np.ndarray]],
    emit: Emit,
) -> None:
    """Connect stored vectors on the training rows, and emit one `Result` of a `Measurement` for each request.

    `vectors` holds, by the request's key, `theta` (p,) and the `others` (m, p). The randomness of a curve depends on
    the run that it starts from alone.
    """
    for request in requests:
        emit(begun(request.key))
        run = Run(request.run, prepare(dataset, request.run.partition), emit, request.key)
        theta, others = (vectors[request.key][name] for name in ("theta", "others"))
        with jax.enable_x64(theta.dtype == np.float64), run.clock.computing():
            rows = Landscape(run.model, *rows_of(run.split.train, theta.dtype))
            found: list[Connected] = []
            for i, ((run_key, draw), other) in enumerate(zip(request.others, others, strict=True)):
                key = jax.random.fold_in(run.keys.measure, request.draw + 1)
                for c in connect(rows, jnp.asarray(theta), jnp.asarray(other, theta.dtype), key, request.settings):
                    found.append(
                        Connected(
                            draw=request.draw,
                            other_run_key=run_key,
                            other_draw=draw,
                            method=c.method,
                            barrier=c.barrier,
                            maximum=c.maximum,
                            at=c.at,
                            losses=tuple(c.losses.tolist()),
                            status=c.status,
                            reason=c.reason,
                            n_products=c.n_products,
                            settings=request.settings.model_dump(mode="json"),
                        )
                    )
                run.progress("paths", i + 1, len(others))
        emit(
            Result(
                request.key,
                Measurement(request.key, run.request.run_key, run.seconds, run.device, connections=tuple(found)),
            )
        )
