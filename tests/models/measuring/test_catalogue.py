"""What can be asked for, and what a mistake is told."""

import re
from pathlib import Path

import pytest

from models.measuring.catalogue import CATALOGUE, ask, parse_asks
from models.spec.settings import SpecError


def test_every_measure_has_defaults_and_says_what_it_is():
    for name, definition in CATALOGUE.items():
        asked = ask(name)
        assert asked.definition is definition
        assert hash(asked) == hash(ask(name))
        assert len(definition.about) > 20


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("hesian_trace", {}, "unknown measure 'hesian_trace': did you mean 'hessian_trace'"),
        ("zzz", {}, "choose from "),
        ("hessian_trace", {"probes": 3}, "hessian_trace.probes: unknown setting; it has relative_error"),
        (
            "hessian_trace",
            {"max_products": 0},
            "hessian_trace.max_products: Input should be greater than",
        ),
    ],
)
def test_a_mistake_is_named_with_its_remedy(name, settings, said):
    with pytest.raises(SpecError, match=said):
        ask(name, **settings)


def test_a_file_lists_names_and_settings_and_twins_are_dropped():
    found = parse_asks(["hessian_trace", {"measure": "hessian_trace", "relative_error": 0.1}, "hessian_trace"])
    assert found == (ask("hessian_trace"), ask("hessian_trace", relative_error=0.1))


@pytest.mark.parametrize("entry", [3, {"name": "hessian_trace"}, {"measure": 3}, None])
def test_an_entry_of_another_shape_is_refused(entry):
    with pytest.raises(SpecError, match=r"measures\.1: expected a measure's name"):
        parse_asks(["hessian_trace", entry])


def test_the_page_on_geometry_names_every_measure():
    """`name_…` stands for all that begin so, `…_end` and `_end` for all that end so."""
    page = Path(__file__).parents[3] / "docs" / "geometry.md"
    named = set(re.findall(r"`([a-z0-9_…]+)`", page.read_text(encoding="utf-8")))
    ends = tuple(name.lstrip("…") for name in named if name.startswith(("…", "_")))
    starts = tuple(name.rstrip("…") for name in named if name.endswith("…"))
    assert [n for n in CATALOGUE if n not in named and not n.startswith(starts) and not n.endswith(ends)] == []
