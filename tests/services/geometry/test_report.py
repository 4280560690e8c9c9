import json

import pytest

from services.geometry.chart_data import GeometryEvidence
from services.geometry.report import render_geometry_report, write_geometry_report
from tests.support.geometry_documents import BLACK_BOX, ENVIRONMENT, evidence_of, sweep_document
from tests.support.pages import EVIL, Page, in_browser, needs_a_browser

N_CHARTS = 8 + 3


@pytest.fixture(scope="module")
def html() -> str:
    return render_geometry_report(sweep_document(), evidence_of(sweep_document()))


@pytest.fixture(scope="module")
def evil_html() -> str:
    """The page of a sweep, a dataset and a learner with markup for a name."""

    def renamed(text: str) -> str:
        evil = json.dumps(EVIL)[1:-1]
        return text.replace('"mlp-sgd"', f'"{evil}"').replace("mlp-sgd, seed", f"{evil}, seed")

    document = sweep_document(warnings=(EVIL,), verdict=EVIL)
    evidence = evidence_of(document)
    frames = {
        name: frame.with_columns(learner=frame["learner"].replace("mlp-sgd", EVIL))
        for name, frame in (("values", evidence.values), ("profiles", evidence.profiles))
    }
    changed = type(document).model_validate_json(renamed(document.model_dump_json()))
    return render_geometry_report(changed, GeometryEvidence(**frames))


def test_the_page_says_what_the_document_says(html):
    document, text = sweep_document(), Page(html).text
    for said in (document.verdict, *document.warnings, BLACK_BOX, ENVIRONMENT, "484 finished runs"):
        assert said in text
    for said in ("+0.52 +0.31 to +0.73", "−0.36 −0.57 to −0.15", "0.61 0.48 to 0.74"):  # tau, tau, sign error
        assert said in text
    for said in ("61.2 ± 1.8", "182.1 ± 4.2", "3.47 to 4.18", "0.38 0.10 24"):  # trace, dimension, ratio, basin
        assert said in text
    parts = ("Verdict", "2 warnings", "digits Which measure", "diabetes Effective", "Where this comes from")
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)


def test_the_page_says_how_to_reproduce_it(html):
    text = Page(html).text
    for command in ("sweep run flat-or-sharp.yaml", "measure flat-or-sharp", "geometry flat-or-sharp --report"):
        assert f"basin {command}" in text


def test_each_learner_stands_beneath_each_measure_once(html):
    rows = html[html.index("All measures on digits") :].partition("</details>")[0]
    assert rows.count('scope="rowgroup"') == 8  # measures with their settings
    assert rows.count('class="under"') == 8 * 4 + 4 - 2  # one has two components, one applies to nets alone
    assert rows.count("sharpness_l2, rho 0.05") == 1


def test_nothing_is_fetched(html):
    for tag, attrs in Page(html).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "data", "srcset"):
            assert not (attrs.get(name) or "").lower().startswith(("http:", "https:", "//", "file:"))
    assert "@import" not in html


def test_the_page_can_be_read_without_sight_or_mouse(html):
    page = Page(html)
    tags = [tag for tag, _ in page.tags]
    assert (tags.count("main"), tags.count("h1")) == (1, 1)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs["aria-labelledby"] in ids for _, attrs in page.tags if "aria-labelledby" in attrs)
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    charts = [attrs for _, attrs in page.tags if attrs.get("class") == "chart"]
    assert len(charts) == N_CHARTS
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert all(attrs["tabindex"] == "0" for _, attrs in page.tags if attrs.get("class") == "scroll")


def test_names_with_markup_stay_text(html, evil_html):
    page = Page(evil_html)
    assert EVIL in page.text
    assert [tag for tag, _ in page.tags if tag in ("script", "img")] == ["script"] * len(Page(html).scripts)
    assert not any("onerror" in attrs for _, attrs in page.tags)


def test_a_sweep_without_measures_is_a_page_without_charts():
    nothing = dict.fromkeys(("measures", "rankings", "effective", "typical", "barriers", "basins", "warnings"), ())
    page = Page(render_geometry_report(sweep_document(**nothing), GeometryEvidence()))
    assert page.scripts == []
    assert "Nothing is measured yet: basin measure flat-or-sharp" in page.text
    assert "warnings" not in page.text


def test_the_file_holds_the_page_and_nothing_is_left_aside(tmp_path, html):
    path = tmp_path / "geometry.html"
    write_geometry_report(sweep_document(), evidence_of(sweep_document()), path)
    assert path.read_text(encoding="utf-8") == html
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@needs_a_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_draws_every_chart(tmp_path, html, width):
    tags = Page(in_browser(html, tmp_path, width)).tags
    assert sum("data-drawn" in attrs for _, attrs in tags) == N_CHARTS
    assert [tag for tag, _ in tags].count("svg") == N_CHARTS


@pytest.mark.slow
@needs_a_browser
def test_a_browser_runs_nothing_that_stands_in_a_name(tmp_path, evil_html):
    dom = in_browser(evil_html, tmp_path, 1280)
    tags = Page(dom).tags
    assert sum("data-drawn" in attrs for _, attrs in tags) == N_CHARTS
    assert "<title>taken</title>" not in dom
    assert "img" not in [tag for tag, _ in tags]
