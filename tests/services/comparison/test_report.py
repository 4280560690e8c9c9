import base64
import hashlib
import json

import pytest

from services.comparison.document import DatasetFacts
from services.comparison.report import render_report, write_report
from tests.support.documents import digits_document, evidence_of, real_document
from tests.support.pages import EVIL, Page, in_browser, needs_a_browser


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(digits_document(), evidence_of(digits_document()))


@pytest.fixture(scope="module")
def evil_html() -> str:
    document = digits_document()
    facts = DatasetFacts(name=EVIL, rows=2, columns=1, target=EVIL, classes=(EVIL,), fingerprint=EVIL, notes=(EVIL,))
    renamed = tuple(each.model_copy(update={"name": EVIL + each.name}) for each in document.learners)
    pairs = tuple(each.model_copy(update={"a": EVIL + each.a, "b": EVIL + each.b}) for each in document.comparisons)
    invocation = document.invocation.model_copy(update={"command": EVIL})
    provenance = document.provenance.model_copy(update={"versions": {EVIL: EVIL}})
    changes = {"dataset": facts, "learners": renamed, "comparisons": pairs, "verdict": EVIL, "warnings": (EVIL,)}
    document = document.model_copy(update={**changes, "invocation": invocation, "provenance": provenance})
    return render_report(document, evidence_of(document))


def test_the_page_says_what_the_document_says(html):
    document, text = digits_document(), Page(html).text
    for said in (document.verdict, *document.warnings, document.invocation.command, document.dataset.fingerprint):
        assert said in text
    for learner in document.learners:
        assert learner.name in text
    assert "−0.079 ± 0.011" in text
    assert "2.31 [1.41, 4.39]" in text
    assert text.index("warnings") < text.index("Verdict") < text.index("Learners") < text.index("Charts")


def test_a_page_of_a_real_target_speaks_of_rmse_and_coverage():
    document = real_document()
    text = Page(render_report(document, evidence_of(document))).text
    assert "RMSE" in text
    assert "Coverage of predictive intervals" in text
    assert "accuracy" not in text


def test_nothing_is_fetched(html):
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "data", "srcset"):
            assert not (attrs.get(name) or "").lower().startswith(("http:", "https:", "//", "file:"))
    assert "@import" not in html
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def test_the_policy_names_the_hash_of_each_script_that_runs(html):
    page = Page(html)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    running = [text for attrs, text in page.scripts if "type" not in attrs]
    assert len(running) == 2
    for text in running:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_names_with_markup_stay_text(html, evil_html):
    page = Page(evil_html)
    assert EVIL in page.text
    assert [tag for tag, _ in page.tags if tag in ("script", "img")] == ["script"] * len(Page(html).scripts)
    assert not any("onerror" in attrs for _, attrs in page.tags)


def test_names_with_markup_survive_in_the_charts(evil_html):
    specs = Page(evil_html).specs
    assert len(specs) == 7
    assert all(EVIL in json.dumps(spec, ensure_ascii=False).replace('\\"', '"') for spec in specs)


def test_the_page_can_be_read_without_sight_or_mouse(html):
    page = Page(html)
    assert page.tags[0] == ("html", {"lang": "en"})
    assert [tag for tag, _ in page.tags].count("main") == 1
    assert [tag for tag, _ in page.tags].count("h1") == 1
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert all(attrs["aria-labelledby"] in ids for _, attrs in page.tags if "aria-labelledby" in attrs)
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    charts = [attrs for _, attrs in page.tags if attrs.get("class") == "chart"]
    assert len(charts) == 7
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert all(attrs["tabindex"] == "0" for _, attrs in page.tags if attrs.get("class") == "scroll")


def test_a_page_without_charts_carries_no_script():
    diverged = tuple(each for each in digits_document().learners if each.name == "convnet")
    document = digits_document(learners=diverged, comparisons=(), warnings=())
    page = Page(render_report(document, evidence_of(digits_document(learners=(), comparisons=()))))
    assert page.scripts == []
    assert "Read first" not in page.text


def test_the_file_holds_the_page_and_nothing_is_left_aside(tmp_path, html):
    path = tmp_path / "report.html"
    write_report(digits_document(), evidence_of(digits_document()), path)
    assert path.read_text(encoding="utf-8") == html
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@needs_a_browser
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_draws_every_chart(tmp_path, html, width):
    dom = in_browser(html, tmp_path, width)
    tags = Page(dom).tags
    assert sum("data-drawn" in attrs for _, attrs in tags) == 7
    assert [tag for tag, _ in tags].count("svg") == 7
    assert [tag for tag, _ in tags].count("path") > 100


@pytest.mark.slow
@needs_a_browser
def test_a_browser_runs_nothing_that_stands_in_a_name(tmp_path, evil_html):
    dom = in_browser(evil_html, tmp_path, 1280)
    tags = Page(dom).tags
    assert sum("data-drawn" in attrs for _, attrs in tags) == 7
    assert "<title>taken</title>" not in dom
    assert "img" not in [tag for tag, _ in tags]


def test_a_page_of_data_whose_columns_are_not_known_leaves_them_out():
    document = digits_document()
    unknown = document.model_copy(update={"dataset": document.dataset.model_copy(update={"columns": None})})
    text = Page(render_report(unknown, evidence_of(unknown))).text
    assert "rows; target" in " ".join(text.split())
    assert "columns; target" not in text
