"""Seconds of compiling and computing, told apart. Waiting is by sleeping, and only lower bounds are tested."""

import time

import jax
import jax.numpy as jnp
import pytest

from models.runs.clock import Clock


def fresh_program():
    """Nested compiled functions that no cache knows."""

    @jax.jit
    def inner(x):
        for _ in range(100):
            x = jnp.sin(x) + 1
        return x

    return jax.jit(lambda x: inner(inner(x) * 2.0))


def test_compiling_is_counted_once_and_apart_from_computing():
    clock = Clock()
    with clock.computing():
        fresh_program()(jnp.ones(3)).block_until_ready()
    assert 0 < clock.compile < clock.wall
    assert 0 < clock.device <= clock.wall - clock.compile


def test_a_second_call_compiles_nothing():
    program = fresh_program()
    program(jnp.ones(3))
    clock = Clock()
    program(jnp.ones(3)).block_until_ready()
    assert clock.compile == 0


def test_computing_adds_up_and_leaves_out_the_rest():
    clock = Clock()
    for _ in range(2):
        with clock.computing():
            time.sleep(0.02)
        time.sleep(0.02)
    assert clock.device >= 0.04
    assert clock.wall - clock.device >= 0.04


def test_computing_counts_what_ends_in_an_error():
    clock = Clock()

    def fault():
        with clock.computing():
            time.sleep(0.02)
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        fault()
    assert clock.device >= 0.02


def test_seconds_of_another_compiler_are_moved_from_computing_to_compiling():
    clock = Clock()
    with clock.computing():
        time.sleep(0.05)
    before = clock.device
    clock.add_compile(0.03)
    assert clock.compile == pytest.approx(0.03)
    assert clock.device == pytest.approx(before - 0.03)
