"""What the charts draw, from a small store of made-up measurements."""

import json

import numpy as np
import polars as pl
import pytest

from models.runs.result import MeasuredProfile, Measurement, Seconds
from services.geometry.chart_data import CURVES, PROFILES, VALUES, gather_evidence
from services.geometry.summary import collect
from services.store.measurements import MeasurementRecord
from services.store.store import Store
from services.store.writer import writing
from tests.support.factories import PROVENANCE, STORED_AT, measured
from tests.support.stored import bnn, net, put_all, request, result

RATES = (0.1, 0.2, 0.3)
NETS = [net("net", learning_rate=rate) for rate in RATES]
SPLITS = 3
BNN = bnn("bnn")
CHAINS = {"r_hat_max": 1.0, "ess_min": 50.0, "divergences": 0, "n_chains": 2, "n_draws": 10}
LINE = np.linspace(-1, 1, 5)


def curve(measure: str, draw: int = -1, *, level: float = 0.0, surface: bool = False, **settings) -> MeasuredProfile:
    x, y = (axis.ravel() for axis in np.meshgrid(LINE, LINE, indexing="ij")) if surface else (LINE, None)
    return MeasuredProfile(draw, measure, x, y, level + x**2, np.zeros_like(x), settings)


def keep(writer, run_key: str, name: str = "first", **fields) -> None:
    found = Measurement(f"{run_key}-{name}", run_key, Seconds(1.0, 0.5, 0.5), "cpu", **fields)
    writer.put_measurement(MeasurementRecord(found, "all", PROVENANCE, STORED_AT))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("evidence")
    rates = {request(n, split).run_key: rate for n, rate in zip(NETS, RATES, strict=True) for split in range(SPLITS)}
    nets, posterior = [request(n, split) for n in NETS for split in range(SPLITS)], request(BNN)
    put_all(folder, [*((asked, result(asked)) for asked in nets), (posterior, result(posterior, summary=CHAINS))])
    varied = [
        json.dumps({"inference.learning_rate": rates[key]} if key in rates else {})
        for key in (*rates, posterior.run_key)
    ]
    with writing(folder) as writer:
        writer.put_sweep("all", "{}", pl.DataFrame({"run_key": [*rates, posterior.run_key], "varied": varied}))
        for asked in nets:
            profiles = [curve(measure, points=5) for measure in ("loss_slice", "hessian_spectral_density")]
            rows = (measured("l2_norm", 2.0), measured("hessian_trace", None))
            keep(writer, asked.run_key, geometry=rows, profiles=(*profiles, curve("loss_surface", surface=True)))
        keep(writer, nets[0].run_key, "other", profiles=(curve("loss_slice", level=9.0, points=4),))
        draws = tuple(curve("loss_slice", draw, level=draw, points=5) for draw in (0, 9))
        norms = tuple(measured("l2_norm", 1.0 + draw, draw) for draw in (0, 9))
        keep(writer, posterior.run_key, geometry=norms, profiles=draws)
    return Store(folder)


@pytest.fixture(scope="module")
def evidence(store):
    return gather_evidence(store, collect(store, "all"))


def test_frames_have_the_schemas_of_the_charts(evidence, tmp_path):
    assert dict(evidence.values.schema) == dict(VALUES)
    assert dict(evidence.profiles.schema) == dict(PROFILES)
    asked = request(NETS[0])
    put_all(tmp_path, [(asked, result(asked))])
    with writing(tmp_path) as writer:
        writer.put_sweep("bare", "{}", pl.DataFrame({"run_key": [asked.run_key], "varied": ["{}"]}))
    bare = gather_evidence(Store(tmp_path), collect(Store(tmp_path), "bare"))
    assert dict(bare.values.schema) == dict(VALUES) and bare.values.is_empty()
    assert dict(bare.profiles.schema) == dict(PROFILES) and bare.profiles.is_empty()


def test_values_are_those_that_converged_with_the_gap_of_their_run(store, evidence):
    values = evidence.values
    assert set(values["measure"]) == {"l2_norm"}
    assert len(values) == len(NETS) * SPLITS + 2
    gaps = collect(store, "all").gaps["gap"]
    assert set(values["gap"]) == set(gaps)
    assert values.filter(learner="bnn").sort("draw")["value"].to_list() == [1.0, 10.0]


def test_runs_are_told_by_split_seed_and_what_was_varied(evidence):
    assert "split 2, seed 0, learning_rate 0.3" in set(evidence.values["run"])
    assert set(evidence.values.filter(learner="bnn")["run"]) == {"split 0, seed 0"}


def test_few_curves_of_each_learner_are_read_those_of_the_first_splits(evidence):
    counts = evidence.profiles.group_by("measure", "learner").agg(pl.col("run").n_unique()).sort("measure", "learner")
    found = {(measure, learner): n for measure, learner, n in counts.iter_rows()}
    assert found == {
        ("hessian_spectral_density", "net"): 1,
        ("loss_slice", "bnn"): 1,
        ("loss_slice", "net"): CURVES["loss_slice"],
        ("loss_surface", "net"): 1,
    }
    slices = evidence.profiles.filter(measure="loss_slice", learner="net")
    assert {run.partition(",")[0] for run in slices["run"]} == {"split 0", "split 1"}


def test_a_posterior_is_drawn_at_its_first_draw(evidence):
    slices = evidence.profiles.filter(measure="loss_slice", learner="bnn")
    assert set(slices["draw"]) == {0}
    np.testing.assert_allclose(slices["value"], LINE**2)


def test_curves_of_other_settings_are_not_mixed_in(evidence):
    slices = evidence.profiles.filter(measure="loss_slice", learner="net")
    assert slices["value"].max() == 1.0
    assert set(slices.group_by("run").len()["len"]) == {len(LINE)}


def test_grids_are_in_order(evidence):
    surface = evidence.profiles.filter(measure="loss_surface")
    assert surface.select("x", "y").rows() == [(x, y) for x in LINE for y in LINE]
    assert evidence.profiles.filter(measure="loss_slice")["y"].is_null().all()
