"""What `benchmarks.geometry` measures on: two trained nets, and the true values at them in float64."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits

from models.geometry.landscape import Landscape
from models.inference.lock_step import Member, train
from models.inference.optimise import Data, Rates, trainer
from models.joint import likelihoods
from models.joint.model import build
from models.joint.priors import flat_scales
from models.predictors.mlp import ACTIVATIONS, MLPNet

N_CLASSES = 10
BATCH_SIZE = 32


class Problem(NamedTuple):
    """A net of one activation on all rows, at the ends of several training runs."""

    landscape: Landscape
    thetas: Float[np.ndarray, "m p"]


class Truth(NamedTuple):
    """At the first of the problem's nets.

    Attributes:
        eigenvalues: the largest of the Hessian, in descending order.
        trace: the trace of the Hessian.
        direction: a random vector, and `product` the Hessian's product with it.
    """

    eigenvalues: Float[np.ndarray, " k"]
    trace: float
    direction: Float[np.ndarray, " p"]
    product: Float[np.ndarray, " p"]


def digits(rows: int, enlarge: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of digits enlarged from 8 x 8, with a frame of 2: (rows, d) float32 from 0 to 1 and (rows,) classes.

    Where there are not enough, the first ones come again, shifted by a pixel.
    """
    images, classes = load_digits(return_X_y=True)
    images = np.pad(np.kron(images.reshape(-1, 8, 8) / 16.0, np.ones((enlarge, enlarge))), ((0, 0), (2, 2), (2, 2)))
    images = np.concatenate([images, np.roll(images, 1, axis=2)])[:rows]
    return images.reshape(rows, -1).astype(np.float32), np.tile(classes, 2)[:rows]


def problem(x: np.ndarray, y: np.ndarray, activation: str, widths: tuple[int, ...], epochs: int, nets: int) -> Problem:
    """Nets trained by SGD with momentum from different starts."""
    model = build(likelihoods.categorical(N_CLASSES), MLPNet, x.shape[1], N_CLASSES, widths, ACTIVATIONS[activation])
    rows, classes = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32)
    program = trainer(model, optimiser="sgd", schedule="constant", epochs=epochs, batch_size=BATCH_SIZE, dropout=False)
    # Validation on one row: its loss is not wanted here.
    data = Data(rows, classes, rows[:1], classes[:1], jnp.asarray(flat_scales(model), jnp.float32))
    keys = [jax.random.key(i) for i in range(nets)]
    fits = train(program, [Member(model.init(k), k, Rates(0.01, 0.9), data) for k in keys], epochs, lambda i, e: None)
    return Problem(Landscape(model, rows, classes), np.stack([fit.theta for fit in fits]))


def truth(p: Problem, k: int) -> Truth:
    """The values that the measurements are compared with, in float64; eigenvalues by ARPACK to 1e-8."""
    direction = np.random.default_rng(0).normal(size=p.thetas.shape[1])
    with jax.enable_x64(True):
        wide = Landscape(p.landscape.model, jnp.asarray(p.landscape.x, jnp.float64), p.landscape.y)
        theta = jnp.asarray(p.thetas[0], jnp.float64)
        hessian = _Hessian(wide, theta)
        start = np.random.default_rng(1).normal(size=theta.size)
        found = eigsh(hessian, k=k, which="LA", tol=1e-8, v0=start, return_eigenvectors=False)  # pyright: ignore[reportArgumentType]
        return Truth(np.sort(found)[::-1], float(jax.jit(trace)(wide, theta)), direction, hessian.matvec(direction))


class _Hessian(LinearOperator):
    """The Hessian by its products, for SciPy."""

    def __init__(self, landscape: Landscape, theta: Array) -> None:
        super().__init__(np.dtype(theta.dtype), (theta.size, theta.size))
        product = jax.jit(lambda of, t, v: jax.jvp(jax.grad(of.loss), (t,), (v,))[1])
        self._product = lambda v: np.asarray(product(landscape, theta, v))

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._product(x.reshape(-1))


def trace(landscape: Landscape, theta: Float[Array, " p"]) -> Float[Array, ""]:
    """Trace of the mean loss's Hessian for an MLP of any activation, by as many passes as it has units.

    A layer z = W a + b is affine in W, and a does not depend on it, so d2 loss / d W_ij2 = a_j^2 d2 loss / d z_i2:

        tr H = sum_l mean_n (|a_{l-1}|^2 + 1) sum_i d2 loss_n / d z_{l,i}^2.
    """
    net = landscape.model.unravel(theta)
    family, extra = landscape.model.family, landscape.model.extra(theta)

    def run(shifts: list[Array], x: Array) -> tuple[Array, list[Array]]:
        inputs = []
        for i, (layer, shift) in enumerate(zip(net.layers, shifts, strict=True)):
            inputs.append(x)
            z = layer(x) + shift
            x = net.activation(z) if i < len(net.layers) - 1 else z
        return x, inputs

    def of_row(row: tuple[Array, Array]) -> Array:
        x, y = row
        zeros = [jnp.zeros(layer.out_features, theta.dtype) for layer in net.layers]
        inputs = run(zeros, x)[1]

        def second(i: int) -> Array:
            def loss(shift: Array) -> Array:
                eta, _ = run([shift if j == i else zero for j, zero in enumerate(zeros)], x)
                return -family.log_density(eta[None], extra, y[None])[0]

            return jnp.trace(jax.hessian(loss)(zeros[i]))

        return jnp.sum(jnp.stack([(a @ a + 1.0) * second(i) for i, a in enumerate(inputs)]))

    return jnp.mean(jax.lax.map(of_row, (landscape.x, landscape.y), batch_size=50))
