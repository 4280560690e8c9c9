"""What `benchmarks.gpu` measures, one function per case, on seeded synthetic classes of the size of digits."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from models.geometry.landscape import Landscape
from models.geometry.operators.lanczos import top_eigenpairs
from models.geometry.operators.products import Hessian
from models.geometry.operators.trace import exact_trace
from models.inference import hmc
from models.inference.lock_step import Member, train
from models.inference.optimise import Data, Rates, Trainer, trainer, vmapped
from models.joint import likelihoods
from models.joint.model import Model, build, log_joint
from models.joint.priors import flat_scales, normal_scales
from models.predictors.mlp import ACTIVATIONS, MLPNet

N_CLASSES = 10
BATCH_SIZE = 32
REPEATS = 3
N_EIGENVALUES = 5
# float32 has a relative precision of 1e-7; a few hundred operations and 33 steps of training amplify it.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Plan:
    """Sizes of all cases; `nets` are (inputs, hidden widths) by name, the first is the one that is sampled."""

    nets: Mapping[str, tuple[int, tuple[int, ...]]]
    rows: int
    epochs: int
    packs: tuple[int, ...]
    curvature: tuple[int, ...]
    max_products: int
    density_steps: int
    chains: tuple[int, ...]
    leapfrog_steps: int
    chunk: int
    chunks: int


FULL = Plan(
    nets={"64-32-32-10": (64, (32, 32)), "784-128-128-10": (784, (128, 128))},
    rows=1078,
    epochs=20,
    packs=(1, 4, 16, 64, 256, 1024),
    curvature=(1, 16, 256),
    max_products=100,
    density_steps=100,
    chains=(1, 4, 16, 64, 256),
    leapfrog_steps=50,
    chunk=20,
    chunks=4,
)
QUICK = Plan(
    nets={"16-8-10": (16, (8,))},
    rows=96,
    epochs=2,
    packs=(1, 2),
    curvature=(2,),
    max_products=10,
    density_steps=10,
    chains=(2,),
    leapfrog_steps=5,
    chunk=4,
    chunks=2,
)


class Setup(NamedTuple):
    """A net with its rows."""

    model: Model
    x: Array
    y: Array


def setup(n_inputs: int, widths: tuple[int, ...], rows: int) -> Setup:
    """A ReLU net, and one Gaussian cloud per class: centres N(0, 1) / 2 in each column, noise N(0, 1)."""
    rng = np.random.default_rng(0)
    centres = 0.5 * rng.normal(size=(N_CLASSES, n_inputs))
    y = np.arange(rows) % N_CLASSES
    x = centres[y] + rng.normal(size=(rows, n_inputs))
    model = build(likelihoods.categorical(N_CLASSES), MLPNet, n_inputs, N_CLASSES, widths, ACTIVATIONS["relu"])
    return Setup(model, jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32))


def _program(s: Setup, plan: Plan) -> Trainer:
    return trainer(
        s.model, optimiser="sgd", schedule="constant", epochs=plan.epochs, batch_size=BATCH_SIZE, dropout=False
    )


def _pack(s: Setup, members: int) -> tuple[Array, Array, Rates, Data]:
    """Start, key, rates and rows of each member, stacked; member i is the same in a pack of any width."""
    keys = jnp.stack([jax.random.key(i) for i in range(members)])
    rates = jax.tree.map(lambda rate: jnp.full(members, rate, jnp.result_type(type(rate))), Rates(0.02, 0.9))
    scales = jnp.asarray(flat_scales(s.model), jnp.float32)
    # Each member has rows of its own, as in a sweep over splits.
    alone = Data(s.x, s.y, s.x, s.y, scales, jnp.zeros_like(scales))
    data = jax.tree.map(lambda a: jnp.tile(a, (members, *[1] * a.ndim)), alone)
    return jax.jit(jax.vmap(s.model.init))(keys), keys, rates, data


def _timed(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """Seconds of the fastest of some calls after a first one, and the last result."""
    result = jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


class _Compiled(NamedTuple):
    call: Callable[..., Any]
    seconds: float
    n_bytes: int | None


def _compile(function: Any, *arguments: Any) -> _Compiled:
    """Compile ahead of time: its seconds, and the bytes of arguments, results and scratch space that a call needs."""
    start = time.perf_counter()
    call = function.lower(*arguments).compile()
    memory = call.memory_analysis()
    n_bytes = None
    if memory is not None:
        n_bytes = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return _Compiled(call, time.perf_counter() - start, n_bytes)


def training(s: Setup, plan: Plan, members: int) -> dict[str, Any]:
    """SGD with momentum, batches of 32, `members` nets in lock step."""
    theta, keys, rates, data = _pack(s, members)
    program = vmapped(_program(s, plan))
    arguments = (program.init(theta, rates), keys, rates, data, np.int32(plan.epochs))
    run = _compile(program.run, *arguments)
    seconds, state = _timed(lambda: run.call(*arguments))
    predict = jax.jit(jax.vmap(s.model.predict, (0, None)))
    accuracy = jnp.mean(jnp.argmax(predict(state.theta, s.x), axis=2) == s.y)
    steps = plan.epochs * (plan.rows // BATCH_SIZE)
    return {
        "runs_x_steps_per_second": members * steps / seconds,
        "seconds": seconds,
        "compile_seconds": run.seconds,
        "program_bytes": run.n_bytes,
        "training_accuracy": float(accuracy),
    }


def trained(s: Setup, plan: Plan, members: int) -> np.ndarray:
    """(members, p): parameters to start chains from and to measure the curvature at."""
    stacked = _pack(s, members)
    pack = [Member(*jax.tree.map(lambda leaf, i=i: leaf[i], stacked)) for i in range(members)]
    return np.stack([fit.theta for fit in train(_program(s, plan), pack, plan.epochs, lambda i, epoch: None)])


def curvature(s: Setup, plan: Plan, at: np.ndarray) -> dict[str, Any]:
    """Gradients, Hessian products, five eigenvalues and exact traces of nets, side by side, on all rows."""
    members, thetas = len(at), jnp.asarray(at)
    landscape = Landscape(s.model, s.x, s.y)
    keys = jax.random.split(jax.random.key(0), members)
    vectors = jax.random.normal(jax.random.key(1), thetas.shape)

    def eigenvalues(theta: Array, key: Array) -> Any:
        found = top_eigenpairs(Hessian(landscape, theta), key, k=N_EIGENVALUES, max_products=plan.max_products)
        return found._replace(vectors=None)

    gradient = _compile(jax.jit(jax.vmap(jax.grad(landscape.loss))), thetas)
    product = _compile(jax.jit(jax.vmap(lambda theta, v: Hessian(landscape, theta)(v))), thetas, vectors)
    eigen = _compile(jax.jit(jax.vmap(eigenvalues)), thetas, keys)
    trace = _compile(jax.jit(jax.vmap(lambda theta: exact_trace(landscape, theta))), thetas)
    gradient_seconds, _ = _timed(lambda: gradient.call(thetas), 10)
    product_seconds, _ = _timed(lambda: product.call(thetas, vectors), 10)
    eigen_seconds, found = _timed(lambda: eigen.call(thetas, keys))
    trace_seconds, traces = _timed(lambda: trace.call(thetas))
    return {
        "gradients_per_second": members / gradient_seconds,
        "hessian_products_per_second": members / product_seconds,
        "gradients_per_hessian_product": product_seconds / gradient_seconds,
        "eigenvalues_of_nets_per_second": members / eigen_seconds,
        "eigenvalues_converged_share": float(jnp.mean(found.converged)),
        "products_for_eigenvalues": float(jnp.mean(found.n_products)),
        "traces_per_second": members / trace_seconds,
        "median_trace": float(jnp.median(traces.value)),
        "compile_seconds": sum(c.seconds for c in (gradient, product, eigen, trace)),
        "program_bytes": max((c.n_bytes for c in (gradient, product, eigen, trace) if c.n_bytes), default=None),
    }


def density(s: Setup, plan: Plan, at: np.ndarray) -> dict[str, Any]:
    """Spectral densities of nets, side by side, by one random vector each."""
    from models.geometry.families.spectral_density import (
        lanczos_quadrature,  # needs pydantic, which a bare machine may lack
    )

    landscape = Landscape(s.model, s.x, s.y)

    def quadrature(theta: Array, key: Array) -> tuple[Array, Array]:
        found = lanczos_quadrature(Hessian(landscape, theta), key, steps=plan.density_steps, probes=1)
        return found.nodes, found.weights

    arguments = (jnp.asarray(at), jax.random.split(jax.random.key(0), len(at)))
    run = _compile(jax.jit(jax.vmap(quadrature)), *arguments)
    seconds, _ = _timed(lambda: run.call(*arguments))
    return {
        "densities_per_second": len(at) / seconds,
        "seconds": seconds,
        "compile_seconds": run.seconds,
        "program_bytes": run.n_bytes,
    }


def _posterior(s: Setup) -> tuple[Callable[[Array, Any], Array], tuple[Array, Array, Array]]:
    scales = jnp.asarray(normal_scales(s.model, 1.0, 1.0, fan_in=True), jnp.float32)
    return (lambda theta, data: log_joint(s.model, theta, *data)), (scales, s.x, s.y)


def chains(s: Setup, plan: Plan, starts: np.ndarray) -> dict[str, Any]:
    """HMC chains in lock step from trained nets; the draws after the first chunk, the warm-up, are timed."""
    members = len(starts)
    density, data = _posterior(s)
    ends: list[float] = []
    start = time.perf_counter()
    samples = hmc.sample(
        density,
        data,
        starts,
        jax.random.split(jax.random.key(2), members),
        warmup=plan.chunk,
        draws=plan.chunks * plan.chunk,
        num_steps=plan.leapfrog_steps,
        chunk=plan.chunk,
        vectorise=True,
        on_chunk=lambda *_: ends.append(time.perf_counter()),
    )
    seconds = ends[-1] - ends[0]
    draws_per_second = members * plan.chunks * plan.chunk / seconds
    return {
        "draws_per_second": draws_per_second,
        "gradients_per_second": draws_per_second * float(np.mean(samples.stats["n_steps"])),
        "seconds": seconds,
        "warmup_and_compile_seconds": ends[0] - start,
        "acceptance_rate": float(np.mean(samples.stats["acceptance_rate"])),
        "divergences": int(np.sum(samples.stats["diverging"])),
    }


def agreement(s: Setup, plan: Plan, precision: str) -> dict[str, Any]:
    """Largest differences between a pack of 4 and its members alone, and of float32 from float64, on this device.

    Relative to the largest entry. "default" lets a GPU round matrix products to TensorFloat-32; "highest" is float32.
    """
    theta, keys, rates, data = _pack(s, 4)
    one = _program(s, plan)
    landscape = Landscape(s.model, s.x, s.y)
    vectors = jax.random.normal(jax.random.key(1), theta.shape)
    density, rows = _posterior(s)
    functions: dict[str, tuple[Callable[..., Array], tuple[Array, ...]]] = {
        "hessian_product": (lambda t, v: Hessian(landscape, t)(v), (theta, vectors)),
        "log_joint_gradient": (lambda t: jax.grad(density)(t, rows), (theta,)),
    }
    with jax.default_matmul_precision(precision):
        together = vmapped(one).run(vmapped(one).init(theta, rates), keys, rates, data, 1).theta
        members = [jax.tree.map(lambda leaf, i=i: leaf[i], (theta, keys, rates, data)) for i in range(4)]
        alone = [one.run(one.init(t, r), k, r, d, 1).theta for t, k, r, d in members]
        packs = {"training_one_epoch": _difference(together, jnp.stack(alone))}
        for name, (function, arguments) in functions.items():
            single = jax.jit(function)
            packs[name] = _difference(
                jax.jit(jax.vmap(function))(*arguments),
                jnp.stack([single(*(a[i] for a in arguments)) for i in range(4)]),
            )
        gradient = np.asarray(jax.jit(jax.grad(landscape.loss))(theta[0]))
    with jax.enable_x64(True):
        wide = Landscape(s.model, s.x.astype(jnp.float64), s.y)
        reference = np.asarray(jax.jit(jax.grad(wide.loss))(theta[0].astype(jnp.float64)))
    return {
        "pack_against_single": packs,
        "gradient_against_float64": _difference(gradient, reference),
        "tolerance": TOLERANCE,
        "agree": max(packs.values()) < TOLERANCE,
    }


def _difference(found: Array | np.ndarray, reference: Array | np.ndarray) -> float:
    a, b = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
