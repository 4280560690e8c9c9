"""Routes of the pages, without a browser."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.api.envelope import PAGE_POLICY
from services.web import assets
from tests.support.live import client_of, settings_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with client_of(settings_of(tmp_path_factory.mktemp("routes"))) as opened:
        yield opened


@pytest.mark.parametrize(
    "path", ["/", "/runs", "/submit", "/schedules", "/pair", "/login", "/sweeps/none", "/runs/none"]
)
def test_every_page_forbids_what_stands_in_it_to_run_and_has_nothing_that_would(
    client: httpx.Client, path: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == (404 if path.endswith("none") else 200)
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert all(mark not in answer.text for mark in (" style=", " onclick=", "<style", "http://", "https://"))
    assert all('src="/web/static/' in part.partition(">")[0] for part in answer.text.split("<script")[1:])


def test_what_pages_are_made_with_is_kept_for_good_under_the_name_of_its_content(client: httpx.Client) -> None:
    answer = client.get(assets.url("pages.js"), headers={"Accept-Encoding": "gzip"})
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == (assets.STATIC / "pages.js").read_text()
    assert client.get("/web/static/0000000000000000/pages.js").status_code == 404
    assert client.get(assets.url("pages.js").replace("pages.js", "..%2froutes.py")).status_code == 404


def test_a_sign_in_leads_nowhere_else(client: httpx.Client) -> None:
    for wanted in ("https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example", "javascript:alert(1)"):
        assert 'name="next" value="/"' in client.get("/login", params={"next": wanted}).text
    assert 'value="/runs?where=a:eq:b"' in client.get("/login", params={"next": "/runs?where=a:eq:b"}).text


def test_another_site_signs_nobody_in(client: httpx.Client) -> None:
    answer = client.post("/login", data={"token": "basin_x"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_parts_of_pages_ask_for_a_token_too(tmp_path: Path) -> None:
    with client_of(settings_of(tmp_path, authentication=True)) as client:
        for path in ("/web/events?sweep=a", "/web/pair?a=1&b=2", "/web/sweeps/a/comparison?dataset=b"):
            assert client.get(path).status_code == 401
        assert client.post("/web/check", content="a: 1").status_code == 401
        answer = client.get("/sweeps/a?dataset=b")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/sweeps/a%3Fdataset%3Db")
        assert client.get("/login").status_code == 200
