"""A person at the page: a sweep submitted and watched, its comparison, a run of it, and that run fitted again."""

import re

import pytest
import yaml
from playwright.sync_api import expect
from polars.testing import assert_frame_equal

from services.store.store import Store
from tests.acceptance.conftest import BNN, LINEAR, NET, PATIENCE, Basin
from tests.support.browsing import Tab, browser, colours, needs_chromium
from tests.support.servers import Servers, servers  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, needs_chromium]

SWEEP = {
    "name": "looked-at",
    "datasets": [{"data": "points.csv", "target": "y"}],
    "learners": [NET, LINEAR, BNN],
    "splits": 2,
    "seeds": 1,
    "measures": [],
}
SOON = 1000 * PATIENCE  # milliseconds
OF_TIME = ("stored_at", "wall_seconds", "compile_seconds", "device_seconds")


def test_a_sweep_is_submitted_watched_opened_and_one_run_of_it_fitted_again(servers: Servers, basin: Basin):  # noqa: F811
    server = servers.start()
    with browser() as chromium:
        context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
        tab = Tab(context, server.address)
        page = tab.page

        tab.open("/submit")
        page.fill("#token", servers.secret)
        page.keyboard.press("Enter")
        page.fill("#text", yaml.safe_dump(SWEEP))
        page.click("#check")
        expect(page.locator("#faults")).to_contain_text("looked-at: 6 runs at most", timeout=SOON / 4)
        page.click("#go")

        page.wait_for_url("**/sweeps/looked-at")
        state = page.locator(".standing .state")
        expect(state).to_have_text(re.compile("running|finished"), timeout=SOON)
        expect(state).to_have_text("finished", timeout=SOON)
        expect(page.locator(".standing .done")).to_have_text("6 of 6")

        expect(page.get_by_role("heading", name="Paired comparison")).to_be_visible(timeout=SOON)  # without a reload
        tab.settle()
        charts = page.locator(".chart:visible")
        assert charts.count() >= 3
        assert min(colours(chart) for chart in charts.all()) > 8

        page.get_by_role("link", name="All runs of this sweep").click()
        page.wait_for_url("**/runs?*")
        rows = page.locator("#rows tbody tr")
        expect(rows).to_have_count(6)
        page.select_option("#column", "learner")
        page.fill("#value", BNN["name"])
        page.keyboard.press("Enter")
        expect(rows).to_have_count(2)
        rows.first.get_by_role("link").first.click()
        page.wait_for_url("**/runs/*")
        tab.settle()
        titles = " ".join(page.locator("figcaption h3").all_inner_texts())
        assert all(kind in titles for kind in ("Rank plots", "Traces", "Energy plots"))
        charts = page.locator(".chart")
        assert charts.count() >= 3
        assert min(colours(chart) for chart in charts.all()) > 8

        page.locator("[data-copy=command]").click()
        expect(page.locator("[data-copy=command]")).to_have_text("Copied")
        command = page.evaluate("navigator.clipboard.readText()").split()
        assert tab.faults == []

    assert command[:2] == ["basin", "reproduce"]
    again = servers.place / "again"
    ended = basin.run(*command[1:], "--store", servers.place / "store", "--into", again)
    assert ended.status == 0, ended.stderr
    assert "every number is the same, to the bit" in ended.stdout
    ours, theirs = (
        Store(store).runs().filter(run_key=command[2]).collect() for store in (servers.place / "store", again)
    )
    assert_frame_equal(ours.drop(OF_TIME), theirs.drop(OF_TIME))
    assert len(ours) == 1
