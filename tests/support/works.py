"""Work functions for the tests: importable by name, as workers need them.

A payload is (run key, argument). Those that wait for a sign wait for a file that the test makes.
"""

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np

from models.runs.events import Checkpoint, LateError, Progress, Result, begun
from tests.support.waiting import wait_until


def wait_for(path: Path, seconds: float = 60) -> None:
    wait_until(path.exists, seconds)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def square(payloads, data, checkpoints, emit):
    for run_key, number in payloads:
        emit(Progress(run_key, "steps", 1, 1, {"pid": os.getpid()}))
        emit(Result(run_key, number**2))


def company(payloads, data, checkpoints, emit):
    for run_key, _ in payloads:
        emit(Result(run_key, [key for key, _ in payloads]))


def wait_for_sign(payloads, data, checkpoints, emit):
    for run_key, folder in payloads:
        emit(Progress(run_key, "steps", 1, 2, {"pid": os.getpid()}))
        wait_for(Path(folder) / run_key)
        emit(Result(run_key, "seen"))


def meet(payloads, data, checkpoints, emit):
    for run_key, (folder, n) in payloads:
        (Path(folder) / run_key).touch()
        for i in range(n):
            wait_for(Path(folder) / f"run-{i}")
        emit(Result(run_key, os.getpid()))


def fail_at_two(payloads, data, checkpoints, emit):
    for run_key, number in payloads:
        if number == 2:
            raise ValueError("two is bad luck\nand this is the second line")
        emit(Result(run_key, number))


def forget_two(payloads, data, checkpoints, emit):
    for run_key, number in payloads:
        if number != 2:
            emit(Result(run_key, number))
            emit(Result(run_key, "again"))


def exit_early(payloads, data, checkpoints, emit):
    raise SystemExit(3)


def unpicklable(payloads, data, checkpoints, emit):
    for run_key, _ in payloads:
        emit(Result(run_key, (i for i in range(3))))


class CountedData:
    """Counts how often this process has pickled it."""

    def __init__(self, values: np.ndarray):
        self.values = values
        self.pickled = 0

    def __getstate__(self):
        self.pickled += 1
        return {"values": self.values}


def total(payloads, data, checkpoints, emit):
    for run_key, factor in payloads:
        emit(Result(run_key, (factor * float(data.values.sum()), data.values.flags.writeable)))


def count_up(payloads, data, checkpoints, emit):
    """Count to 10 with a checkpoint at 5, wait there for a sign, and say where the count began."""
    for run_key, folder in payloads:
        begin = int(checkpoints[run_key]["count"]) if run_key in checkpoints else 0
        for count in range(begin, 10):
            if count == 5 and begin < 5:
                emit(Progress(run_key, "count", 5, 10, {"pid": os.getpid()}))
                emit(Checkpoint(run_key, {"count": np.asarray(5), "draws": np.arange(100_000.0)}))
                wait_for(Path(folder) / run_key)
        draws = float(checkpoints[run_key]["draws"].sum()) if begin else 0.0
        emit(Result(run_key, (begin, draws)))


def die_if_told(payloads, data, checkpoints, emit):
    for run_key, deadly in payloads:
        if deadly:
            die()
        emit(Result(run_key, "alive"))


def environment(payloads, data, checkpoints, emit):
    import cluster

    for run_key, name in payloads:
        emit(Result(run_key, (os.environ.get(name), cluster.__file__)))


def gradient_steps(payloads, data, checkpoints, emit):
    """Hash of what five float32 gradient steps of a small net leave, by JAX, and of a Gram matrix, by NumPy."""
    import jax
    import jax.numpy as jnp

    def loss(weights, x, y):
        return jnp.mean((jax.nn.relu(x @ weights[0]) @ weights[1] - y) ** 2)

    @jax.jit
    def steps(weights, x, y):
        def step(weights, _):
            value, slope = jax.value_and_grad(loss)(weights, x, y)
            return jax.tree.map(lambda w, s: w - 1e-3 * s, weights, slope), value

        return jax.lax.scan(step, weights, None, length=5)

    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])
    for run_key, seed in payloads:
        keys = jax.random.split(jax.random.key(seed))
        weights = [jax.random.normal(keys[0], (x.shape[1], 256)) / 16, jax.random.normal(keys[1], (256, 10)) / 16]
        hashed = hashlib.sha256()
        for array in (*jax.tree.leaves(steps(weights, x, y)), data["x"].T @ data["x"]):
            hashed.update(np.asarray(array).tobytes())
        emit(Result(run_key, hashed.hexdigest()))


def regression_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((2001, 257), dtype=np.float32),
        "y": rng.standard_normal((2001, 10), dtype=np.float32),
    }


def _where(folder: str, run_key: str) -> str:
    """The machine that this is, and a sign there that the run has begun on it."""
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    (Path(folder) / f"{run_key}@{node_id}").touch()
    return node_id


def place(payloads, data, checkpoints, emit):
    """Say that a run begins, and where; wait for the sign to go on; the result is where it was."""
    for run_key, folder in payloads:
        emit(begun(run_key))
        where = _where(folder, run_key)
        wait_for(Path(folder) / "go")
        emit(Result(run_key, where))


def total_when_told(payloads, data, checkpoints, emit):
    """Leave the process's id, and wait for the sign to go on; the result is the sum of the data."""
    for run_key, folder in payloads:
        (Path(folder) / "pid").write_text(str(os.getpid()))
        emit(begun(run_key))
        wait_for(Path(folder) / "go")
        emit(Result(run_key, float(data.sum())))


def place_and_die(payloads, data, checkpoints, emit):
    for run_key, folder in payloads:
        _where(folder, run_key)
        die()


def count_up_somewhere(payloads, data, checkpoints, emit):
    for run_key, folder in payloads:
        _where(folder, run_key)
    count_up(payloads, data, checkpoints, emit)


def one_waits(payloads, data, checkpoints, emit):
    """Says what it begins; the runs are instant, but for one that waits for a sign."""
    for run_key, (folder, waits) in payloads:
        emit(begun(run_key))
        if waits:
            wait_for(Path(folder) / "go")
        emit(Result(run_key, os.getpid()))


def two_never_ends(payloads, data, checkpoints, emit):
    """Says what it begins, and then nothing of the second."""
    for run_key, number in payloads:
        emit(begun(run_key))
        if number == 2:
            wait_until(lambda: False, 60)
        emit(Result(run_key, number))


def two_goes_on(payloads, data, checkpoints, emit):
    """Says of the second for ever that it goes on; what befalls a run is its own result, as in
    `models.fitting.dispatch`.
    """
    for run_key, number in payloads:
        try:
            emit(begun(run_key))
            while number == 2:
                time.sleep(0.01)
                emit(Progress(run_key, "steps", 1, 2, {}))
        except LateError as error:
            emit(Result(run_key, str(error)))
        else:
            emit(Result(run_key, number))
