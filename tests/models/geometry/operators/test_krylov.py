"""Orthogonal bases, to working precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.geometry.operators.krylov import (
    BLOCK,
    begin,
    matrix,
    new_basis,
    orthogonalise,
    random_direction,
    split,
    step,
)
from tests.support.landscapes import with_spectrum

pytestmark = pytest.mark.usefixtures("float64")


def orthonormal(count, p, dtype):
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(p, count)))
    return new_basis(jnp.zeros(p, dtype), count + 1).at[:count].set(q.T.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, BLOCK, BLOCK + 1, 40])
def test_a_vector_is_split_into_its_components_and_the_rest(count, dtype):
    p, eps = 200, np.finfo(dtype).eps
    basis = orthonormal(count, p, dtype)
    w = jnp.asarray(np.random.default_rng(1).normal(size=p), dtype)
    rest, along = jax.jit(split)(w, basis, count)
    assert rest.dtype == along.dtype == dtype
    np.testing.assert_allclose(along[:count], basis[:count] @ w, atol=40 * eps)
    np.testing.assert_array_equal(along[count:], 0)
    np.testing.assert_allclose(rest + along @ basis, w, atol=40 * eps)
    assert np.max(np.abs(basis @ rest)) < 4 * eps * np.linalg.norm(rest)
    np.testing.assert_array_equal(rest, jax.jit(orthogonalise)(w, basis, count))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_lies_almost_in_the_span_leaves_an_orthogonal_rest(dtype):
    count, p, eps = 20, 200, np.finfo(dtype).eps
    basis = orthonormal(count, p, dtype)
    rng = np.random.default_rng(2)
    w = basis[:count].T @ rng.normal(size=count) + 1e-3 * rng.normal(size=p)
    rest, _ = jax.jit(split)(jnp.asarray(w, dtype), basis, count)
    assert np.max(np.abs(basis @ rest)) < 4 * eps * np.linalg.norm(rest)


def test_random_directions_are_orthogonal_unit_vectors():
    basis = orthonormal(20, 200, np.float64)
    directions = [random_direction(jax.random.key(i), basis, 20) for i in range(2)]
    for direction in directions:
        assert np.linalg.norm(direction) == pytest.approx(1)
        assert np.max(np.abs(basis @ direction)) < 1e-15
    assert abs(directions[0] @ directions[1]) < 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_basis_stays_orthonormal_and_reduces_the_matrix(dtype):
    """Also far beyond convergence, with eigenvalues that are small next to the largest, where errors could grow."""
    m, eps = 60, np.finfo(dtype).eps
    operator = with_spectrum([1e4, *-np.linspace(1, 100, 79)], dtype=dtype)
    product = operator.linearise()
    state = begin(random_direction(jax.random.key(0), new_basis(operator.like, 1), 0), m)
    state = jax.jit(lambda s: jax.lax.fori_loop(0, m, lambda _, s: step(product, s, jax.random.key(1)), s))(state)
    q = np.asarray(state.basis[: m + 1], np.float64)
    assert np.max(np.abs(q @ q.T - np.eye(m + 1))) < 100 * eps
    projected = q[:m] @ np.asarray(operator.matrix, np.float64) @ q[:m].T
    np.testing.assert_allclose(matrix(state, jnp.zeros((), dtype)), projected, atol=100 * eps * 1e4)
