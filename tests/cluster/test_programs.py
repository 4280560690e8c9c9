"""Compiled programs are dropped before the kernel refuses more memory maps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from cluster.programs import drop_programs

COUNT = """
from pathlib import Path
import jax
import jax.numpy as jnp
from cluster.programs import drop_programs

jax.config.update("jax_enable_compilation_cache", False)  # whose writers come and go

def maps():
    return len(Path("/proc/self/maps").read_text().splitlines())

def compile_some(n):
    for i in range(n):
        jax.jit(lambda x, i=i: jnp.sin(x @ x.T).sum() * i)(jnp.ones((i + 3, 4))).block_until_ready()

limit = int(Path("/proc/sys/vm/max_map_count").read_text())
compile_some(1)
first = maps()
compile_some(40)
before = maps()
below, kept = drop_programs(share=(before + 100) / limit), maps()
above, left = drop_programs(share=(before - 1) / limit), maps()
print(below, above, before - first, kept - first, left - first)
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the limit is one of Linux")
def test_programs_are_dropped_above_the_share_of_maps_and_kept_below(python):
    below, above, before, kept, left = python(COUNT).split()  # in a process that maps nothing else meanwhile
    assert (below, above) == ("False", "True")
    assert int(before) >= 40 and int(kept) >= int(before)
    assert int(left) < int(before) / 2


def test_a_dropped_program_is_compiled_anew_when_it_is_called():
    double = jax.jit(lambda x: 2 * x)
    assert double(jnp.ones(3)).sum() == 6
    assert drop_programs(share=0.0)
    assert double(jnp.ones(3)).sum() == 6
