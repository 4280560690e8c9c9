"""What the charts draw, from a small store: counts that add up, densities that integrate to one."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models.diagnostics.draws import PosteriorDraws, to_datatree
from services.comparison.chart_data import ENERGY_BINS, RANK_BINS, gather
from services.comparison.figures import ENERGIES, LOSSES, MEASURES, RANKS, RELIABILITY
from services.comparison.summary import collect
from services.store.store import Store
from tests.support.stored import TREES, bnn, ended, log_scores, net, put_all, request, result

NET, BNN = net("a"), bnn("bnn")
CHAINS, DRAWS = 3, 40
ROWS = np.arange(20)


def predictions(seed):
    p = np.random.default_rng(seed).dirichlet([1.0, 1.0, 1.0], size=20)
    return {"y": np.arange(20) % 3, "probabilities": p}


def posterior(draws=DRAWS, seed=0, classes=3):
    """Chain 0 alone sits elsewhere, by the prediction of test row 4."""
    rng = np.random.default_rng(seed)
    p = rng.random((CHAINS, draws, 20, classes))
    p[0, :, 4, classes - 1] += 5.0
    return to_datatree(
        PosteriorDraws(
            parameters={"theta": rng.normal(size=(CHAINS, draws, 5))},
            stats={"energy": rng.normal(size=(CHAINS, draws)), "diverging": np.zeros((CHAINS, draws), bool)},
            log_likelihood=rng.normal(size=(CHAINS, draws, 60)),
            predictions=p,
            identified=False,
        ),
        train_rows=np.arange(60),
        test_rows=100 + ROWS,
        keep_parameters=True,
    )


def curves(n):
    return {"step": np.arange(1, n + 1), "train_loss": 1.0 / np.arange(1, n + 1), "validation_loss": np.full(n, np.nan)}


def gathered(path, runs, task="classes"):
    keys = put_all(path, runs)
    store = Store(path)
    return gather(store, collect(store, keys), list(dict.fromkeys(a.learner.name for a, _ in runs)), task)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    runs = []
    for split in range(2):
        asked = request(NET, split)
        value = result(asked, curvature=2.0, effective=(7.0, "effective_dimension"))
        runs.append((asked, replace(value, curves=curves(4), predictions=predictions(split))))
        asked = request(BNN, split)
        value = result(asked, curvature=[1.0, 5.0, 3.0])
        runs.append((asked, replace(value, predictions=predictions(10 + split), posterior=posterior(seed=split))))
    gone = request(TREES)
    return gathered(tmp_path_factory.mktemp("store"), [*runs, (gone, ended(gone, "failed", "no"))])


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("reliability", RELIABILITY),
        ("measures", MEASURES),
        ("losses", LOSSES),
        ("ranks", RANKS),
        ("energies", ENERGIES),
    ],
)
def test_frames_have_the_schemas_of_the_charts(evidence, name, schema, tmp_path):
    assert dict(getattr(evidence, name).schema) == dict(schema)
    assert len(getattr(evidence, name)) > 0
    gone = request(NET)
    empty = getattr(gathered(tmp_path, [(gone, ended(gone, "failed", "no"))]), name)
    assert dict(empty.schema) == dict(schema)
    assert empty.is_empty()


def test_reliability_counts_every_row_of_every_run(evidence):
    assert dict(evidence.reliability.group_by("learner").agg(pl.col("n").sum()).iter_rows()) == {"a": 40, "bnn": 40}
    p = np.concatenate([predictions(split)["probabilities"] for split in range(2)])
    y = np.tile(np.arange(20) % 3, 2)
    found = evidence.reliability.filter(learner="a")
    assert (found["observed"] * found["n"]).sum() == pytest.approx(np.sum(p.argmax(axis=1) == y))
    assert (found["predicted"] * found["n"]).sum() == pytest.approx(p.max(axis=1).sum())
    o, n = found["observed"].to_numpy(), found["n"].to_numpy()
    np.testing.assert_allclose(found["standard_error"], np.sqrt(o * (1 - o) / n))


def test_coverage_is_the_share_of_transforms_in_central_intervals(tmp_path):
    u = np.random.default_rng(0).random((2, 20))
    runs = []
    for split in range(2):
        asked = request(NET, split)
        runs.append((asked, replace(result(asked), predictions={"y": ROWS * 1.0, "pit": u[split]})))
    found = gathered(tmp_path, runs, "real").reliability
    assert found["n"].to_list() == [40] * 19
    for nominal, observed in found.select("predicted", "observed").iter_rows():
        inside = ((1 - nominal) / 2 <= u) & (u <= (1 + nominal) / 2)
        assert observed == pytest.approx(inside.mean())


def test_measures_are_medians_over_draws_against_the_runs_gap(evidence):
    found = {(row["learner"], row["run"], row["measure"]): row for row in evidence.measures.iter_rows(named=True)}
    assert len(found) == 2 * 3 + 2 * 2
    for split in range(2):
        run = f"split {split}, seed 0"
        assert found["a", run, "hessian_trace"]["value"] == 2.0
        assert found["a", run, "effective_parameters"]["value"] == 7.0
        assert found["bnn", run, "hessian_top_eigenvalue"]["value"] == 3.0
        gap = -0.3 - log_scores(request(NET, split), -0.5).mean()
        assert found["a", run, "hessian_trace"]["gap"] == pytest.approx(gap)


def test_losses_are_the_curves(evidence):
    assert evidence.losses["learner"].unique().to_list() == ["a"]
    first = evidence.losses.filter(run="split 0, seed 0")
    assert first["step"].to_list() == [1, 2, 3, 4]
    np.testing.assert_allclose(first["train"], curves(4)["train_loss"])


def test_rank_histograms_sum_to_the_draws_and_show_the_chain_that_sits_elsewhere(evidence):
    ranks = evidence.ranks
    assert set(ranks["learner"]) == {"bnn"}
    assert set(ranks["quantity"]) == {"probability at test_row 104, class 2"}
    by_chain = ranks.group_by("chain", maintain_order=True).agg(pl.col("count").sum(), pl.len())
    assert by_chain.rows() == [(chain, DRAWS, RANK_BINS) for chain in range(CHAINS)]
    assert set(ranks["expected"]) == {DRAWS / RANK_BINS}
    total = ranks.group_by("low").agg(pl.col("count").sum())["count"]
    assert set(total) == {CHAINS * DRAWS / RANK_BINS}
    # Its draws are the largest third of all.
    assert ranks.filter((pl.col("chain") == 0) & (pl.col("high") < 0.66))["count"].sum() == 0


def test_ties_have_their_average_rank(tmp_path):
    tied = posterior()
    values = tied["predictions"]["probability"]
    values.values[:] = 0.5
    values.values[0, :, 4, 2] = 0.0
    values.values[1:, :2, 4, 2] = 0.6
    asked = request(BNN)
    ranks = gathered(tmp_path, [(asked, replace(result(asked), predictions=predictions(0), posterior=tied))]).ranks
    assert ranks.filter(pl.col("count") > 0).group_by("chain").agg(pl.len()).sort("chain")["len"].to_list() == [1, 2, 2]


def test_energies_are_densities(evidence):
    for (kind,), part in evidence.energies.group_by("kind"):
        assert kind in ("marginal", "transition")
        assert len(part) == ENERGY_BINS
        assert (part["density"] * (part["high"] - part["low"])).sum() == pytest.approx(1.0)
    energy = posterior(seed=0)["sample_stats"]["energy"].to_numpy()
    centres = (pl.col("low") + pl.col("high")) / 2
    width = pl.col("high") - pl.col("low")
    moments = evidence.energies.group_by("kind").agg((centres**2 * pl.col("density") * width).sum().sqrt().alias("sd"))
    sd = dict(moments.iter_rows())
    assert sd["marginal"] == pytest.approx(energy.std(), rel=0.05)
    assert sd["transition"] == pytest.approx(np.diff(energy, axis=1).std(), rel=0.05)


@pytest.mark.parametrize("draws", [3, 24])
def test_too_few_draws_draw_no_charts(draws, tmp_path):
    asked = request(BNN)
    short = replace(result(asked), predictions=predictions(0), posterior=posterior(draws))
    found = gathered(tmp_path, [(asked, short)])
    assert found.ranks.is_empty()
    assert found.energies.is_empty()
    assert len(found.reliability) > 0


def test_chains_that_never_move_are_drawn_all_the_same(tmp_path):
    still = posterior()
    for name in ("energy",):
        still["sample_stats"][name].values[:] = 1.0
    still["predictions"]["probability"].values[:] = 0.25
    asked = request(BNN)
    found = gathered(tmp_path, [(asked, replace(result(asked), predictions=predictions(0), posterior=still))])
    assert found.ranks["count"].sum() == CHAINS * DRAWS
    assert found.energies["density"].is_finite().all()
