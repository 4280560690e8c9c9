"""Jobs on a real cluster, by way of its dashboard."""

import http.server
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from cluster.errors import ClusterError
from cluster.jobs import Jobs
from tests.support.head import PATIENCE, Head, free_ports
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jobs(head: Head) -> Jobs:
    return Jobs(head.address)


@pytest.fixture
def job_id() -> str:
    return f"test-{uuid4().hex[:8]}"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of a job; the same for all, so that it is unpacked once."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "word.txt").write_text("hello\n")
    return folder


def said(told: list[str]) -> list[str]:
    """The lines of a log that are the job's own, and not Ray's."""
    return [line for line in "".join(told).splitlines() if not re.search("Runtime env|Running entrypoint", line)]


def test_a_job_runs_in_its_folder_with_its_variables_once_for_each_id(jobs, job_id, files, tmp_path):
    entrypoint = f"cat word.txt; echo $WHO; echo ran >> {tmp_path}/ran"
    assert jobs.find(job_id) is None
    with ThreadPoolExecutor(4) as pool:  # all at the same time
        submitted = pool.map(lambda _: jobs.submit(job_id, entrypoint, files, {"WHO": "world"}), range(4))
        assert sorted(submitted) == [False, False, False, True]
    told: list[str] = []
    job = jobs.follow(job_id, told.append)
    assert (job.id, job.state, job.exit_code, job.over) == (job_id, "succeeded", 0, True)
    assert said(told) == ["hello", "world"]
    assert job.started and job.ended and job.started < job.ended
    assert not jobs.submit(job_id, entrypoint, files, {})
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert [each.id for each in jobs.list(job_id[:-1])] == [job_id]
    assert jobs.list("other-") == []


def test_a_job_that_fails_says_so(jobs, job_id, files):
    jobs.submit(job_id, "echo no; exit 3", files, {})
    job = jobs.follow(job_id, lambda _: None)
    assert (job.state, job.exit_code) == ("failed", 3)
    assert "no" in job.message


def test_a_job_that_is_stopped_has_time_to_end_well(jobs, job_id, files):
    # Longer than the three seconds that Ray gives.
    script = "trap 'sleep 4; echo kept; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    jobs.submit(job_id, script, files, {})
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if said([text]) == ["up"]:
            jobs.stop(job_id)

    job = jobs.follow(job_id, tell)
    assert job.state == "stopped"
    assert said(told)[-1] == "kept"
    jobs.stop(job_id)  # again, which changes nothing
    assert jobs.get(job_id) == job


class Tunnel(socketserver.ThreadingTCPServer):
    """Passes connections on to the dashboard until it is cut."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, target: int, port: int = 0):
        self.target = target
        self.open: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), _Pipe)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def cut(self) -> None:
        self.shutdown()
        self.server_close()
        for each in self.open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Pipe(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Tunnel)
        with socket.create_connection(("127.0.0.1", server.target)) as far:
            server.open += [self.request, far]
            back = threading.Thread(target=_pass_on, args=(far, self.request), daemon=True)
            back.start()
            _pass_on(self.request, far)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_a_log_is_followed_over_dropped_connections_and_nothing_is_told_twice(head, job_id, files, tmp_path):
    tunnel = Tunnel(head.dashboard_port)
    jobs = Jobs(f"127.0.0.1:{tunnel.port}")
    script = f"for i in 1 2 3; do echo line $i; while [ ! -e {tmp_path}/go$i ]; do sleep 0.05; done; done; echo end"
    jobs.submit(job_id, script, files, {})
    told: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(jobs.follow, job_id, told.append)
        for i in (1, 2, 3):
            wait_until(lambda i=i: f"\nline {i}\n" in "".join(told) or following.done(), PATIENCE)
            assert not following.done()
            tunnel.cut()
            (tmp_path / f"go{i}").touch()
            if i == 3:
                wait_until(lambda: Jobs(head.address).get(job_id).over, PATIENCE)
            tunnel = Tunnel(head.dashboard_port, tunnel.port)
        job = following.result(PATIENCE)
    tunnel.cut()
    assert job.state == "succeeded"
    assert said(told) == ["line 1", "line 2", "line 3", "end"]
    with pytest.raises(ClusterError, match=f"job '{job_id}' was lost sight of, and may go on: nothing answers at"):
        jobs.follow(job_id, told.append, patience=0.5)


def test_what_the_cluster_does_not_know_is_told(jobs):
    for ask in (jobs.get, jobs.stop, lambda job_id: jobs.follow(job_id, print)):
        with pytest.raises(ClusterError, match="has no job 'nobody': `basin jobs list` has those that it knows"):
            ask("nobody")


def test_the_address_that_is_given_counts_and_not_the_environments(head, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    assert Jobs(f"{head.address}/").address == head.address


# --- addresses that cannot be meant -----------------------------------------------------------------------------------


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.answer)  # pyright: ignore[reportAttributeAccessIssue]

    def log_message(self, *_: object) -> None: ...


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that gives one answer to all."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.answer = answer  # pyright: ignore[reportAttributeAccessIssue]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_port_of_the_gcs_is_told_from_the_dashboards(head):
    with pytest.raises(ClusterError, match=r"does not speak HTTP.* port of the cluster's dashboard \(8265"):
        Jobs(f"127.0.0.1:{head.port}")


@pytest.mark.parametrize("answer", [b"<html>hello</html>", b"[]", b"{}"])
def test_what_is_no_dashboard_of_ray_is_refused(answer):
    with answering(answer) as address, pytest.raises(ClusterError, match="is not the dashboard of a Ray cluster"):
        Jobs(address)


def test_another_version_of_ray_is_refused():
    with (
        answering(json.dumps({"ray_version": "2.9.0"}).encode()) as address,
        pytest.raises(ClusterError, match=r"runs Ray 2\.9\.0, and this is .*: install the same version"),
    ):
        Jobs(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (f"http://127.0.0.1:{free_ports(1)[0]}", "nothing answers at http://127.0.0.1:"),
        ("http://nowhere.invalid:8265", "there is no host of the name in http://nowhere.invalid:8265"),
        ("ray://127.0.0.1:10001", "is not of the form http://HOST:PORT"),
    ],
    ids=["a free port", "no host", "no URL"],
)
def test_an_address_that_leads_nowhere_is_refused(address, message):
    with pytest.raises(ClusterError, match=message):
        Jobs(address)


def test_what_never_answers_is_given_up_on():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ClusterError, match="did not answer in time"),
    ):
        Jobs(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.5)


_TRY = """
import sys
from cluster.errors import ClusterError
from cluster.jobs import Jobs
try:
    Jobs(sys.argv[1])
except ClusterError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RAY_AUTH_TOKEN": ""}, "asks for its token: set RAY_AUTH_TOKEN to the cluster's"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": "token"}, "asks for its token: set RAY_AUTH_TOKEN to the cluster's"),
        ({"RAY_AUTH_TOKEN": "another"}, "does not take this token: set RAY_AUTH_TOKEN to the cluster's"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "/none"}, "RAY_AUTH_TOKEN_PATH names '/none', which cannot be"),
    ],
)
def test_the_token_is_asked_for(head, python, tmp_path, environment, message):
    said = python(_TRY, head.address, HOME=str(tmp_path), **environment)
    assert message in said


def test_a_token_in_a_file_will_do(head, python, tmp_path):
    (tmp_path / "token").write_text(head.token)
    environment = {"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "HOME": str(tmp_path)}
    assert python(_TRY, head.address, **environment) == ""


_JOBS_AND_THEN_WORKERS = """
import sys
from ray.cluster_utils import Cluster
from cluster.jobs import Jobs
from cluster.ray_executor import RayExecutor
from tests.support import works
from tests.cluster.test_executor_contract import execute, items_of, values

Jobs(sys.argv[1])
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
with RayExecutor(address=nodes.address, n_workers=1) as executor:
    print(*values(execute(executor, items_of([3]), works.square)).values())
nodes.shutdown()
"""


@pytest.mark.slow
def test_a_process_that_asked_a_cluster_for_its_jobs_can_start_workers_on_another(head, python):
    assert python(_JOBS_AND_THEN_WORKERS, head.address).split()[-1] == "9"
