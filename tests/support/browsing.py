"""Pages in a real browser."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

EXECUTABLE = Path("/usr/bin/chromium")
needs_chromium = pytest.mark.skipif(not EXECUTABLE.exists(), reason=f"no Chromium at {EXECUTABLE} to open pages with")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE = 60.0


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=EXECUTABLE, args=list(ARGUMENTS))
        yield opened
        opened.close()


class Tab:
    """A page of a context, and everything that went wrong in it: errors, refusals of its policy, failed requests."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address, self.page = address, context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)

    def open(self, path: str) -> Page:
        """Go there, and wait until every part and chart is there."""
        self.page.goto(self.address + path)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until nothing more is to come."""
        self.until("!document.querySelector('[aria-busy=true]')")
        drawn = "c.dataset.drawn || !c.parentElement.clientWidth"
        self.until(f"[...document.querySelectorAll('.chart')].every((c) => {drawn})")

    def until(self, condition: str) -> None:
        """Wait for a condition in JavaScript: playwright's own waiting asks for what the pages' policy forbids."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"{condition} does not come to hold; the page says {self.faults}"
            time.sleep(0.05)


def colours(place: Locator) -> int:
    """How many colours there are in a picture of a place."""
    with Image.open(io.BytesIO(place.screenshot())) as image:
        return len(image.convert("RGB").getcolors(1 << 24))
