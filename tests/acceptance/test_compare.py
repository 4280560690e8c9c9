"""What `basin compare` leaves: document, table, page and tables that agree with each other."""

import csv
import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from rich.cells import cell_len

from tests.acceptance.conftest import BNN, LINEAR, NET, SPLITS, Basin, Comparison, Undisturbed, figures, write_learners

pytestmark = pytest.mark.slow

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "object": "data", "source": "src"}


class Loads(HTMLParser):
    """What a page loads from elsewhere."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADING.get(tag, ""))
        if address and not address.startswith("data:"):
            self.found.append(address)


def compare(basin: Basin, folder: Path, *arguments: str | Path) -> tuple[dict, str]:
    """The document and the table of a comparison of iris, made in the command's own process."""
    target = folder / "document.json"
    shared = ("--budget", "quick", "--splits", str(SPLITS), "--workers", "0", "--store", folder / "store")
    ended = basin.run("compare", "iris", *shared, "--json", target, *arguments)
    assert ended.status == 0, ended.stderr
    return json.loads(target.read_text()), ended.stdout


def rows(basin: Basin, comparison: Comparison, form: str, *arguments: str) -> str:
    """`basin results` in a format."""
    ended = basin.run("results", *arguments, "--format", form, "--store", comparison.store)
    assert ended.status == 0, ended.stderr
    return ended.stdout


def test_the_document_is_as_its_schema_says(basin: Basin, undisturbed: Undisturbed):
    ended = basin.run("compare", "--schema")
    assert ended.status == 0
    schema = json.loads(ended.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(undisturbed.document)
    assert not validator.is_valid({**undisturbed.document, "verdict": None})


def test_the_document_tells_every_learner_by_its_kind(undisturbed: Undisturbed):
    learners = {learner["name"]: learner for learner in undisturbed.document["learners"]}
    kinds = {name: learner["kind"] for name, learner in learners.items()}
    assert kinds == {"net": "deterministic", "linear": "glm", "bnn": "bayesian-net"}
    for name, learner in learners.items():
        test = learner["parts"]["test"]
        for estimate in (test["log_score"], test["accuracy"], test["brier"], test["calibration_error"], learner["gap"]):
            assert math.isfinite(estimate["value"]), name
            assert estimate["standard_error"] > 0, name
        for measure in learner["geometry"].values():
            assert measure["value"] > 0, name
        assert learner["runs"] == {"finished": SPLITS, "diverged": 0, "stopped": 0, "failed": 0}
    # Four columns and three classes: a hidden layer of 4 and three logits, and a GLM's two, by reference coding.
    assert (learners["net"]["n_parameters"], learners["linear"]["n_parameters"]) == (5 * 3 + 4 * 3, 5 * 2)
    assert learners["net"]["posterior"] is learners["linear"]["posterior"] is None
    posterior, asked = learners["bnn"]["posterior"], BNN["inference"]
    assert (posterior["n_chains"], posterior["n_draws"]) == (asked["chains"], asked["draws"])
    assert posterior["r_hat_max"] >= 0.99
    for metric in ("log_score", "accuracy"):
        pairs = [{c["a"], c["b"]} for c in undisturbed.document["comparisons"] if c["metric"] == metric]
        assert len(pairs) == 3
        assert all(pair in pairs for pair in ({"net", "bnn"}, {"net", "linear"}, {"bnn", "linear"}))
    for c in undisturbed.document["comparisons"]:
        assert c["p_better"] + c["p_equivalent"] + c["p_worse"] == pytest.approx(1, abs=1e-9)


def test_the_table_fits_120_columns_and_has_the_best_first(undisturbed: Undisturbed):
    lines = undisturbed.ended.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 120
    first = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in ("net", "linear", "bnn")]
    assert first[:3] == [learner["name"] for learner in undisturbed.document["learners"]]
    scores = [learner["parts"]["test"]["log_score"]["value"] for learner in undisturbed.document["learners"]]
    assert scores == sorted(scores, reverse=True)


def test_the_table_says_the_verdict_and_every_warning(undisturbed: Undisturbed):
    said = " ".join(undisturbed.ended.stdout.split())
    for text in (undisturbed.document["verdict"], *undisturbed.document["warnings"]):
        assert " ".join(text.split()) in said
    assert "Traceback" not in undisturbed.ended.stderr
    assert "Warning" not in undisturbed.ended.stderr


def test_the_page_holds_all_that_it_shows(undisturbed: Undisturbed):
    html = undisturbed.comparison.report.read_text()
    assert Loads(html).found == []
    assert "vega" in html
    for learner in undisturbed.document["learners"]:
        assert learner["name"] in html


def test_results_agree_with_the_document_in_every_format(basin: Basin, undisturbed: Undisturbed):
    comparison = undisturbed.comparison
    asked = ("metrics", "--where", "part=test", "--where", "metric=log_score", "--select", "learner,split,value")
    records = json.loads(rows(basin, comparison, "json", *asked, "--sort", "learner,split"))
    assert len(records) == SPLITS * 3
    for learner in undisturbed.document["learners"]:
        values = [record["value"] for record in records if record["learner"] == learner["name"]]
        assert sum(values) / SPLITS == pytest.approx(learner["parts"]["test"]["log_score"]["value"], rel=1e-12)

    from_csv = list(csv.DictReader(io.StringIO(rows(basin, comparison, "csv", *asked, "--sort", "learner,split"))))
    assert [(r["learner"], int(r["split"]), float(r["value"])) for r in from_csv] == [
        (r["learner"], r["split"], r["value"]) for r in records
    ]
    table = rows(basin, comparison, "table", *asked, "--sort", "learner,split")
    assert [line.split()[:2] for line in table.splitlines()[1 : 1 + len(records)]] == [
        [r["learner"], str(r["split"])] for r in records
    ]


def test_results_as_parquet_have_the_document_s_pairs(basin: Basin, undisturbed: Undisturbed):
    ended = basin.run("results", "comparisons", "--format", "parquet", "--store", undisturbed.comparison.store)
    assert ended.status == 0, ended.stderr
    frame = pl.read_parquet(ended.output)
    told = pl.DataFrame(undisturbed.document["comparisons"], infer_schema_length=None)
    columns = ["a", "b", "metric", "difference", "standard_error", "p_better", "p_equivalent", "p_worse", "outcome"]
    assert sorted(frame.select(columns).rows()) == sorted(told.select(columns).rows())


def test_one_learner_under_two_names_does_not_differ_from_itself(basin: Basin, tmp_path: Path):
    twins = [{**NET, "name": "twin-a"}, {**NET, "name": "twin-b"}]
    document, table = compare(basin, tmp_path, "--learners", write_learners(tmp_path / "same.yaml", twins))
    assert document["fitted"] == 2 * SPLITS
    assert {c["outcome"] for c in document["comparisons"]} == {"equivalent"}
    assert {c["difference"] for c in document["comparisons"]} == {0.0}
    assert not any(c["shown"] for c in document["comparisons"])
    assert "no difference from it is shown for twin-b (practically equivalent" in document["verdict"]
    assert "twin-a" in table


def test_a_learner_that_diverges_is_a_row_and_harms_no_other(basin: Basin, undisturbed: Undisturbed, tmp_path: Path):
    # It shares its program with `net`, so the two travel in one pack.
    wild = {**NET, "name": "wild", "inference": {**NET["inference"], "learning_rate": 1e30}}
    file = write_learners(tmp_path / "wild.yaml", [wild, NET, LINEAR])
    document, table = compare(basin, tmp_path, "--learners", file)
    learners = {learner["name"]: learner for learner in figures(document)["learners"]}
    assert learners["wild"]["runs"] == {"finished": 0, "diverged": SPLITS, "stopped": 0, "failed": 0}
    assert learners["wild"]["parts"]["test"]["log_score"]["value"] is None
    assert any(warning.startswith("wild: ") and "diverged" in warning for warning in document["warnings"])
    assert "wild" in table
    alone = {learner["name"]: learner for learner in figures(undisturbed.document)["learners"]}
    for name in ("net", "linear"):
        assert learners[name] == alone[name]

    ended = basin.run("results", "runs", "--where", "learner=wild", "--format", "json", "--store", tmp_path / "store")
    assert [(row["status"], "no longer finite" in row["error"]) for row in json.loads(ended.stdout)] == (
        [("diverged", True)] * SPLITS
    )
