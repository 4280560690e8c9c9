"""`basin serve` with a Ray cluster of its own, started again and again on one store."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import PATIENCE, Basin, Command

_ADDRESS = re.compile(r" at (http://\S+)")


class Server:
    """A server at work.

    Attributes:
        address: of its pages.
        client: of its API, with a token.
    """

    def __init__(self, command: Command, address: str, secret: str) -> None:
        self.command, self.address = command, address
        headers = {"Authorization": f"Bearer {secret}"}
        self.client = httpx.Client(base_url=address, headers=headers, timeout=PATIENCE)


class Servers:
    """Starts the server on a store, with a folder of data.

    Attributes:
        place: the folder that has both.
        secret: a token that may submit.
    """

    def __init__(self, basin: Basin, place: Path, secret: str) -> None:
        self.place, self.secret = place, secret
        self._basin = basin
        self._started: list[Server] = []

    def start(self) -> Server:
        """Start it; it answers, and its cluster will."""
        options = ("--port", "0", "--store", self.place / "store", "--data", self.place / "data", "--workers", "2")
        command = self._basin.start("serve", *options)
        command.wait_until(lambda: _ADDRESS.search(command.errors) is not None)
        found = _ADDRESS.search(command.errors)
        assert found is not None
        self._started.append(Server(command, found[1], self.secret))
        return self._started[-1]

    def close(self) -> None:
        """End what is left of them."""
        for server in self._started:
            server.client.close()
            server.command.clean_up()


@pytest.fixture
def servers(starts_ray: None, basin: Basin, tmp_path: Path) -> Iterator[Servers]:
    """On an empty store, and a table of points in two classes."""
    (tmp_path / "data").mkdir()
    rows = [f"{(7 * i) % 40},{(11 * i) % 40},{'ab'[(7 * i) % 40 + (11 * i) % 40 > 40]}" for i in range(80)]
    (tmp_path / "data" / "points.csv").write_text("\n".join(["x,z,y", *rows]))
    made = basin.run("token", "create", "ada", "--scope", "submit", "--store", tmp_path / "store")
    assert made.status == 0, made.stderr
    servers = Servers(basin, tmp_path, made.stdout.strip())
    yield servers
    servers.close()
