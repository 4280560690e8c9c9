"""The pages, in a real browser over a real connection."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from services.execution.status import Standing, Worksite
from services.ledger.database import Ledger
from services.ledger.tokens import create
from services.server.application import create_application
from services.store.objects import Storage
from tests.support.browsing import Tab, browser, colours, needs_chromium
from tests.support.factories import STORED_AT
from tests.support.live import live, settings_of
from tests.support.made import HOSTILE, make_store
from tests.support.scheduled import added

pytestmark = needs_chromium

NARROW = {"width": 380, "height": 800}
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, list[str]]:
    return make_store(folder / "store")


@pytest.fixture(scope="module")
def address(folder: Path, runs: dict[str, list[str]]) -> Iterator[str]:
    settings = settings_of(folder)
    ledger = Ledger(settings.ledger)
    added(ledger, "nightly")
    ledger.close()
    with live(create_application(settings)) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator:
    """`visit(path, **how)` opens a page as somebody with such a screen does."""
    contexts = []

    def visit(path: str, **how) -> Tab:
        contexts.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | how))
        tab = Tab(contexts[-1], address)
        tab.open(path)
        return tab

    yield visit
    for context in contexts:
        context.close()


@pytest.mark.slow
def test_a_sweep_has_its_warnings_first_and_every_chart_drawn(visit) -> None:
    tab = visit("/sweeps/flat-or-sharp")
    headings = tab.page.locator("main h2").all_inner_texts()
    assert headings[:4] == ["Read first: 2 warnings", "Verdict", "Learners", "Paired comparison"]
    charts = tab.page.locator(".chart:visible")
    assert charts.count() == 14
    assert min(colours(chart) for chart in charts.all()) > 8
    assert tab.page.evaluate(GROUND) == "rgb(255, 255, 255)"
    assert tab.faults == []


def test_on_a_narrow_and_dark_screen_pages_are_dark_and_never_wider(visit, runs) -> None:
    tab = visit("/sweeps/flat-or-sharp", viewport=NARROW, color_scheme="dark")
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert colours(tab.page.locator(".chart").first) > 8
    assert tab.page.evaluate(GROUND) == "rgb(20, 23, 26)"
    for path in ("/", "/runs", f"/runs/{runs['flat-or-sharp'][0]}", "/schedules", "/submit", "/login"):
        tab.open(path)
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert tab.faults == []


def test_what_is_brushed_in_one_panel_stands_out_in_all(visit) -> None:
    tab = visit("/sweeps/flat-or-sharp")
    chart = tab.page.locator("[data-spec='spec-measures']")
    faint = "[data-spec='spec-measures'] path[opacity='0.1']"
    assert tab.page.locator(faint).count() == 0
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    tab.page.mouse.move(box["x"] + 70, box["y"] + 130)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 150, box["y"] + 205, steps=4)
    tab.page.mouse.up()
    expect(tab.page.locator(faint)).not_to_have_count(0)
    assert tab.faults == []


def test_a_posterior_and_a_net_have_their_plots(visit, runs) -> None:
    net, posterior = runs["flat-or-sharp"][0], runs["flat-or-sharp"][4]
    tab = visit(f"/runs/{net}")
    titles = tab.page.locator("figcaption h3").all_inner_texts()
    assert titles[:2] == ["Training curves", "Eigenvalues of the Hessian"]
    assert titles[-1] == "Barriers between solutions, split 0"
    tab.open(f"/runs/{posterior}")
    titles = tab.page.locator("figcaption h3").all_inner_texts()
    assert {"Rank plots of the worst-mixing quantity", "Traces of the worst-mixing quantity", "Energy plots"} <= {
        *titles
    }
    assert min(colours(chart) for chart in tab.page.locator(".chart").all()) > 8
    assert tab.faults == []


def test_the_command_that_reproduces_a_run_is_copied_with_the_store(visit, runs, folder) -> None:
    key = runs["flat-or-sharp"][0]
    tab = visit(f"/runs/{key}", permissions=["clipboard-read", "clipboard-write"])
    tab.page.locator("[data-copy=command]").click()
    expect(tab.page.locator("[data-copy=command]")).to_have_text("Copied")
    assert tab.page.evaluate("navigator.clipboard.readText()") == f"basin reproduce {key} --store {folder / 'store'}"


def test_runs_are_filtered_sorted_opened_and_compared(visit) -> None:
    tab = visit("/runs")
    rows = tab.page.locator("#rows tbody tr")
    expect(rows).to_have_count(25)  # one learner is the same in both sweeps
    tab.page.select_option("#column", "learner")
    tab.page.fill("#value", "mlp-sgd")
    tab.page.keyboard.press("Enter")
    expect(rows).to_have_count(12)
    tab.page.select_option("#column", "sweep")
    tab.page.fill("#value", "flat-or-sharp")
    tab.page.keyboard.press("Enter")
    expect(rows).to_have_count(9)
    assert tab.page.url.endswith("?where=learner%3Aeq%3Amlp-sgd&where=sweep%3Aeq%3Aflat-or-sharp")
    tab.page.click("[data-sort=learning_rate]")
    expect(rows.first.locator("td").nth(6)).to_have_text("0.01")
    tab.page.click("[data-sort=learning_rate]")
    expect(rows.first.locator("td").nth(6)).to_have_text("0.1")
    expect(rows.first.locator("td").last).not_to_have_text("–")
    for row in (0, 3):
        rows.nth(row).locator("input").check()
    tab.page.click("#pair")
    tab.settle()
    differing = tab.page.get_by_role("region", name="What differs").locator("tbody th").all_inner_texts()
    assert "inference.learning_rate" in differing and "predictor.widths" not in differing
    assert tab.page.locator(".chart svg").count() >= 3
    assert tab.faults == []


def test_a_condition_that_makes_no_sense_is_told(visit) -> None:
    tab = visit("/runs")
    tab.page.select_option("#column", "split")
    tab.page.fill("#value", "many")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#told")).to_contain_text("split")


def test_pages_of_the_table_go_on_and_back(visit) -> None:
    tab = visit("/runs?where=learner:eq:mlp-sgd")

    def few(route: Route) -> None:
        route.continue_(url=route.request.url.replace("limit=50", "limit=5"))

    tab.page.route("**/api/v1/runs?limit=50&**", few)
    tab.page.reload()
    expect(tab.page.locator("#next")).to_be_enabled()
    first = tab.page.locator("#rows tbody a").first.get_attribute("href")
    tab.page.locator("body").press("]")
    expect(tab.page.locator("#previous")).to_be_enabled()
    assert tab.page.locator("#rows tbody a").first.get_attribute("href") != first
    tab.page.locator("body").press("[")
    expect(tab.page.locator("#previous")).to_be_disabled()
    assert tab.page.locator("#rows tbody a").first.get_attribute("href") == first


def test_everything_can_be_reached_by_the_keyboard(visit) -> None:
    tab = visit("/")
    page = tab.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="flat-or-sharp")).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="hostile")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/sweeps/hostile")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs")
    tab.settle()
    page.keyboard.press("/")
    expect(page.locator("#value")).to_be_focused()


def test_names_with_markup_are_text_everywhere(visit, runs) -> None:
    tab = visit("/sweeps/hostile")
    assert tab.page.locator(".warnings li").first.inner_text().endswith(HOSTILE)
    for path in (f"/runs/{runs['hostile'][0]}", f"/runs/{runs['hostile'][1]}", f"/runs/{runs['hostile'][-1]}", "/runs"):
        tab.open(path)
        assert HOSTILE in tab.page.locator("main").inner_text() + tab.page.title()
        assert tab.page.locator("main img").count() == 0
        assert tab.page.title() != "taken"
    tab.open(f"/pair?a={runs['hostile'][0]}&b={runs['flat-or-sharp'][0]}")
    assert tab.page.locator("main img").count() == 0
    assert tab.faults == []


def test_a_sweep_is_checked_before_it_is_submitted(visit) -> None:
    tab = visit("/submit")
    tab.page.fill("#text", "name: 'no name'\ndatasets: []\nlearnerz: [svm]\n")
    tab.page.click("#check")
    faults = tab.page.locator("#faults li")
    expect(faults).to_have_count(3)
    assert faults.locator("code").all_inner_texts() == ["name", "datasets", "learnerz"]
    assert tab.page.locator("#go").is_disabled()
    tab.page.click("#example")
    expect(tab.page.locator("#faults h2")).to_have_text("It can be submitted")
    assert tab.page.locator("#go").is_enabled()
    assert tab.faults == []


def test_schedules_are_paused_resumed_and_asked_to_run(visit) -> None:
    tab = visit("/schedules")
    for name, state in (("Pause", "paused"), ("Resume", "active")):
        tab.page.get_by_role("button", name=name).click()
        expect(tab.page.locator("td .state").first).to_have_text(state)
    tab.page.get_by_role("button", name="Run now").click()
    expect(tab.page.locator("td .state").nth(1)).to_have_text("queued")
    tab.open("/schedules/nightly")
    expect(tab.page.get_by_role("row").nth(1)).to_contain_text("asked for")
    assert tab.faults == []


def test_without_a_token_one_is_asked_for_and_kept_where_scripts_cannot_read_it(
    chromium: Browser, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, authentication=True)
    ledger = Ledger(settings.ledger)
    secret = create(ledger, "reader", "read", datetime.now(UTC)).secret
    ledger.close()
    with live(create_application(settings)) as served:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{served}/runs?where=split:eq:0")
        assert "/login?next=" in page.url
        page.fill("#token", "basin_" + 43 * "x")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not known")
        page.fill("#token", secret)
        page.keyboard.press("Enter")
        page.wait_for_url("**/runs?where=split:eq:0")
        expect(page.locator("#none")).to_have_text("No run meets all of these conditions.")
        assert page.evaluate("document.cookie") == ""
        (cookie,) = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        page.goto(served)
        expect(page.locator(".empty")).to_contain_text("No sweeps are stored yet")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")
        assert context.cookies() == []
        context.close()


def test_progress_moves_without_a_reload(visit, folder) -> None:
    storage = Storage(folder / "store")
    standing = Standing(
        name="flat-or-sharp",
        state="running",
        runs=18,
        reused=3,
        ended={"finished": 2},
        running=2,
        seconds=9.0,
        seconds_left=40.0,
        cpu_hours=0.1,
        gpu_hours=0.0,
        started_at=STORED_AT,
        updated_at=STORED_AT,
        at=Worksite(host="elsewhere", process=1, started=0.0, job=None),
    )

    def say(**changes) -> None:
        said = standing.model_copy(update={"updated_at": datetime.now(UTC), **changes})
        storage.replace("sweeps", "flat-or-sharp.state.json", said.model_dump_json().encode())

    try:
        say()
        tab = visit("/")
        row = tab.page.locator("[data-sweep=flat-or-sharp]")
        expect(row.locator(".state")).to_have_text("running")
        expect(row.locator(".done")).to_have_text("5 of 18")
        say(ended={"finished": 9, "diverged": 1})
        expect(row.locator(".done")).to_have_text("13 of 18", timeout=20_000)
        expect(row.locator(".words")).to_contain_text("1 diverged")
        say(state="finished", ended={"finished": 14, "diverged": 1}, running=0)
        expect(row.locator(".state")).to_have_text("finished", timeout=20_000)
        assert tab.faults == []
    finally:
        storage.remove("sweeps", "flat-or-sharp.state.json")
