"""What is said of rankings, against their figures."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from models.generalisation.generalisation import rank_measures
from services.client.ranking import Ranking as Shown
from services.geometry.chart_data import GeometryEvidence
from services.geometry.report import render_geometry_report
from services.geometry.summary import ranking_of
from services.geometry.terminal import print_geometry
from services.geometry.verdict import flat_or_sharp, typical_sentence, verdict
from tests.support.geometry_documents import sweep_document
from tests.support.grids import grid, ranks
from tests.support.pages import Page

LARGER = {"hessian_trace": "sharper", "hessian_top_eigenvalue": "sharper", "pac_bayes_sigma": "flatter"}
VALUES = {"rate": (0.1, 0.2, 0.3), "width": (8, 16), "decay": (0, 1)}


def rankings(sharpness, gap, split, settings, names=tuple(LARGER)):
    """As the document has them, of measures that are so sharp, each in its own direction."""
    columns = {name: sharpness if LARGER[name] == "sharper" else -sharpness for name in names}
    found = rank_measures(columns, {name: LARGER[name] for name in names}, gap, split, settings)
    return [ranking_of("digits", (each.measure, "", "{}"), "permutation", each) for each in found]


def frames(relation: float, seed: int, n_splits: int = 8):
    """Sharpness and gap, as alike as `relation` says, from -1 to 1."""
    rng = np.random.default_rng(seed)
    split, settings = grid(n_splits, 2, VALUES)
    gap, noise = rng.normal(size=(2, split.size))
    return relation * gap + np.sqrt(1 - relation**2) * noise, gap, split, settings


def test_where_sharper_solutions_have_the_larger_gap_flatter_ones_generalise_better():
    found = rankings(*frames(0.95, 0))
    assert verdict(found).endswith(
        "Of the other 2 measures 2 have an interval without zero, too. "
        "Flat or sharp: flatter solutions generalise better, as 3 of 3 measures of flatness show."
    )
    assert {r.larger: np.sign(r.tau.value) for r in found} == {"sharper": 1, "flatter": -1}


def test_where_sharper_solutions_have_the_smaller_gap_sharper_ones_generalise_better():
    found = rankings(*frames(-0.95, 0))
    said = verdict(found)
    assert said.endswith("Flat or sharp: sharper solutions generalise better, as 3 of 3 measures of flatness show.")
    assert re.match(r"On digits: (Sharper solutions generalise better|Flatter solutions generalise worse) here", said)


def test_where_neither_is_shown_it_says_so():
    found = rankings(*frames(0.0, 0))
    assert verdict(found) == (
        "On digits, none of 3 measures is shown to tell which solution generalises. "
        "Flat or sharp: none of 3 measures of flatness shows which generalise better."
    )


def test_measures_that_contradict_each_other_are_counted_apart():
    flat, sharp, neither = (rankings(*frames(r, 1), names=["hessian_trace"]) for r in (0.9, -0.9, 0.0))
    assert flat_or_sharp(flat) == "Flat or sharp: flatter solutions generalise better, by the one measure of flatness."
    assert flat_or_sharp(neither) == (
        "Flat or sharp: the one measure of flatness does not show which generalise better."
    )
    assert flat_or_sharp([*flat, *sharp, *neither, *flat]) == (
        "Flat or sharp: the measures contradict each other, for of 4 measures of flatness 2 show that flatter "
        "solutions generalise better, 1 that sharper ones do, and 1 shows nothing."
    )
    assert flat_or_sharp([*sharp, *neither]).endswith(
        "sharper solutions generalise better, as 1 of 2 measures of flatness shows, and 1 shows nothing."
    )
    assert flat_or_sharp([flat[0].model_copy(update={"larger": "more complex"})]) == ""


NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e-?\d+)?"


def test_sentences_agree_with_their_figures_on_random_frames():
    rng = np.random.default_rng(2)
    kinds = set()
    for seed in range(24):
        opposed = seed % 6 == 0  # within a setting that moves both alike, which random choices seldom give
        relation = -0.95 if opposed else float(rng.choice([-0.95, -0.5, 0.0, 0.5, 0.95]))
        sharpness, gap, split, settings = frames(relation, seed, int(rng.integers(5, 9)))
        shifts = (5.0, 5.0) if opposed else rng.choice([-5.0, 0.0, 5.0], 2)
        shift = np.multiply.outer(shifts, ranks(settings["rate"]))
        for found in rankings(sharpness + shift[0], gap + shift[1], split, settings, ["hessian_trace"]):
            said, tau, psi = found.sentence, found.tau, found.psi
            ends = [float(x) for x in re.search(rf"95 % interval ({NUMBER}) to ({NUMBER}),", said).groups()]
            assert ("generalise worse" in said) == (tau.lower > 0) == (ends[0] > 0)
            assert ("generalise better" in said) == (tau.upper < 0) == (ends[1] < 0)
            if "cannot be said" in said:
                continue
            side = np.sign(tau.value)
            shown = [
                float(x) for x in re.search(rf"granulated tau ({NUMBER}), ({NUMBER}) to ({NUMBER})", said).groups()
            ]
            assert shown[1] <= shown[0] <= shown[2]
            assert (
                ("holds as well" in said)
                == (min(side * psi.lower, side * psi.upper) > 0)
                == (min(side * np.array(shown[1:])) > 0)
            )
            assert ("the opposite holds" in said) == (max(side * psi.lower, side * psi.upper) < 0)
            if worst := re.search(r"orders about (\d+)% \(95 % interval (\d+)% to (\d+)%\) of the pairs", said):
                value, lower, upper = (float(x) for x in worst.groups())
                assert lower <= value <= upper
                assert value == round(100 * found.sign_error.value)
                assert ("But it does not hold everywhere" in said) <= (found.sign_error.value >= 0.5 and side > 0)
                assert ("against what is expected" in said) == (side < 0)
                assert "the opposite holds" not in said
            kinds |= {
                text for text in ("holds as well", "the opposite holds", "is not shown", "against what") if text in said
            }
    assert kinds >= {"holds as well", "the opposite holds", "against what"}


def test_every_place_tells_the_worst_sign_error_without_its_bias():
    (found,) = rankings(*frames(0.5, 4), names=["hessian_trace"])
    error = found.sign_error
    assert error.plug_in - error.value > 0.02
    document = sweep_document(rankings=(found,), datasets=("digits",))
    told, plug_in = f"{error.value:.2f}", f"{error.plug_in:.2f}"
    shown = Shown(document, lambda _: {})
    assert shown.table()["sign_error"].item() == error.value
    console = Console(width=160, record=True, file=io.StringIO())
    print_geometry(document, console)
    places = (
        found.sentence.replace(f"{error.value:.0%}", told),
        shown._repr_html_(),
        Page(render_geometry_report(document, GeometryEvidence())).text,
        console.export_text(),
    )
    for place in places:
        assert told in place
        assert plug_in not in place
    stored = json.loads(document.model_dump_json())["rankings"][0]["sign_error"]
    assert (stored["value"], stored["plug_in"]) == (error.value, error.plug_in)


@pytest.mark.parametrize(
    ("ratio", "lower", "upper", "shown"),
    [
        (3.0, 1.0004, 9.0, ("3.00", "1.0004 to 9.00)")),
        (3.2e31, 0.9996, 1e63, ("3.20e31", "0.9996 to 1.00e63), so no difference is shown")),
        (1e-12, 1e-13, 0.5, ("1.00e-12", "1.00e-13 to 0.500)")),
    ],
)
def test_a_ratio_reads_on_the_side_of_one_where_it_is(ratio, lower, upper, shown):
    said = typical_sentence("trace", "bnn", "net", ratio, lower, upper)
    times, interval = shown
    assert said == (
        f"The trace at draws of bnn is {times} times that at net's estimates "
        f"(95 % interval over chains and estimates {interval}."
    )
