"""Pages as tests read them: parsed, and opened by a real browser."""

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

EVIL = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&amp;"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page with")


class Page(HTMLParser):
    """Start tags with their attributes, the text outside scripts, and the scripts."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self._raw: str | None = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._raw = tag if tag in ("script", "style") else None
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._raw = None

    def handle_data(self, data):
        if self._raw == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._raw is None:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def specs(self) -> list[dict]:
        return [json.loads(text) for attrs, text in self.scripts if attrs.get("type") == "application/json"]


def in_browser(html: str, folder: Path, width: int) -> str:
    """The page's DOM after its scripts have run, by a real browser."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --virtual-time-budget=20000 --window-size={width},2000 --dump-dom"
    )
    command = [CHROMIUM, *options.split(), f"--user-data-dir={folder / 'profile'}", page.as_uri()]
    done = subprocess.run(
        command, capture_output=True, timeout=240, env={**os.environ, "HOME": str(folder)}, check=True
    )
    return done.stdout.decode()
