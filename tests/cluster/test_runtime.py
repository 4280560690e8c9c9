import os
import signal
import socket
import subprocess
import sys

import pytest

from cluster.errors import ClusterError
from cluster.runtime import connect

_LOCAL = """
import os, sys
from cluster.executor import Lost
from cluster.ray_executor import RayExecutor
from tests.support import works
from tests.cluster.test_executor_contract import execute, items_of

with RayExecutor(n_workers=1, attempts=1) as executor:
    from ray._raylet import AuthenticationMode, get_authentication_mode
    assert get_authentication_mode() == AuthenticationMode.TOKEN
    (lost,) = execute(executor, items_of([True]), works.die_if_told)
    assert isinstance(lost, Lost)
import ray
assert not ray.is_initialized()
"""

_BROKEN = """
import os, signal, sys
import ray
from cluster.ray_executor import RayExecutor
from models.runs.events import Checkpoint
from tests.support import works
from tests.cluster.test_executor_contract import execute, items_of, values

(folder,) = sys.argv[1:]
events, told = [], []
with RayExecutor(n_workers=1, env={"PYTHONPATH": os.getcwd()}, tell=told.append) as executor:
    for event in execute(executor, items_of([folder]), works.count_up):
        events.append(event)
        if isinstance(event, Checkpoint) and not told:
            (raylet,) = ray._private.worker._global_node.all_processes["raylet"]
            os.kill(raylet.process.pid, signal.SIGKILL)
            raylet.process.wait()
print(values(events)["run-0"][0], len(told), told[0].startswith("Ray's own processes on this machine died"))
"""

_REMOTE = """
import os, sys
import ray
from ray.cluster_utils import Cluster
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
first = nodes.add_node(num_cpus=1)

from cluster.errors import ClusterError
from cluster.ray_executor import RayExecutor
from cluster.runtime import connect
from models.runs.events import Checkpoint
from tests.support import works
from tests.cluster.test_executor_contract import execute, items_of, values

os.environ["RAY_AUTH_MODE"] = "disabled"
try:
    connect(nodes.address)
except ClusterError as error:
    print("token" if "asks for its token" in str(error) else error)
os.environ["RAY_AUTH_MODE"] = "token"

# As on another machine: this checkout is not where the workers are, and the tests' module travels with its functions.
(folder,) = sys.argv[1:]
sys.path.insert(0, os.getcwd())
os.chdir(folder)
ray.cloudpickle.register_pickle_by_value(works)
with RayExecutor(address=nodes.address) as executor:
    (found,) = values(execute(executor, items_of(["X"]), works.environment)).values()
    print("shipped" if "py_modules_files" in found[1] else found[1])
    events = []
    for event in execute(executor, items_of([folder]), works.count_up):
        events.append(event)
        if isinstance(event, Checkpoint):
            nodes.add_node(num_cpus=1)
            nodes.remove_node(first, allow_graceful=False)
    print(values(events)["run-0"][0])
nodes.shutdown()
"""


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://127.0.0.1:10001", "not of the form HOST:PORT"),
        ("localhost", "not of the form HOST:PORT"),
        ("127.0.0.1:99999", "nothing answers at '127.0.0.1:99999'"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(address, message):
    with pytest.raises(ClusterError, match=message):
        connect(address)


def test_an_address_where_nothing_listens_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"nothing answers at '{address}'"):
            connect(address)


def test_auto_is_refused_in_seconds_where_ray_address_names_a_cluster_that_is_gone(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:99999")
    with pytest.raises(ClusterError, match=r"nothing answers at '127\.0\.0\.1:99999'"):
        connect("auto")


def test_auto_is_refused_where_there_is_no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", set)
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda temp: None)
    with pytest.raises(ClusterError, match="--address auto: no Ray cluster runs on this machine"):
        connect("auto")


@pytest.mark.parametrize("times", [1, 2])
def test_a_start_that_takes_too_long_is_tried_once_more_and_what_it_left_is_ended(monkeypatch, times):
    left = []

    def init(**options):
        if len(left) < times:
            left.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
            raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", init)
    if times == 1:
        assert connect()
    else:
        with pytest.raises(ClusterError, match=r"Ray did not start on this machine in time, twice: .* --workers 0"):
            connect()
    assert all(child.wait(20) for child in left)


def test_sigterm_while_ray_starts_is_an_interrupt_and_does_afterwards_what_it_did(monkeypatch):
    def init(**options):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", init)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        connect()
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_listens_but_is_not_ray_is_given_up_on():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ClusterError, match="did not answer as Ray within 3 s"),
    ):
        connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout=3)


def test_a_process_without_a_token_is_told_to_set_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH"),
    ):
        connect(f"127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.ray
def test_ray_started_here_asks_for_a_token_stops_with_its_executor_and_prints_nothing(python):
    assert python(_LOCAL) == ""


@pytest.mark.ray
@pytest.mark.slow
def test_ray_that_dies_under_the_command_is_said_to_and_started_again(python, tmp_path):
    assert python(_BROKEN, str(tmp_path)).splitlines()[-1] == "5 1 True"


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_asks_for_its_token_gets_the_packages_and_survives_the_loss_of_a_machine(python, tmp_path):
    assert python(_REMOTE, str(tmp_path), RAY_AUTH_MODE="token").split() == ["token", "shipped", "5"]
