"""What tests of models share."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def float64() -> Iterator[None]:
    """JAX computes in double precision during a test."""
    import jax

    with jax.enable_x64(True):
        yield
