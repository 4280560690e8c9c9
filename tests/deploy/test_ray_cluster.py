"""ray_cluster.yaml: what Ray's launcher, its autoscaler and AWS's interface make of it."""

import copy
import shlex
from pathlib import PurePosixPath

import botocore.session
import jsonschema
import pytest
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.scripts.scripts import start

from tests.support.project import ROOT, installs, is_locked, pins, read_yaml

FILE = ROOT / "ray_cluster.yaml"
GPU_TYPES = ("gpu-spot", "gpu-on-demand")


@pytest.fixture
def config():
    """The file with the launcher's defaults."""
    return prepare_config(read_yaml(FILE))


@pytest.fixture
def autoscaling():
    """As the autoscaler on the head reads it."""
    return AutoscalingConfig(read_yaml(FILE), skip_content_hash=True)


def launched(
    autoscaling, demand: dict[str, float], count: int = 1, unavailable: tuple[str, ...] = ()
) -> dict[str, int]:
    """Nodes by type that Ray's autoscaler starts for `count` actors, after starts of the `unavailable` types failed."""
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=autoscaling.get_node_type_configs(),
        max_num_nodes=autoscaling.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(demand)] * count),
        recoverable_resource_availabilities=dict.fromkeys(unavailable, 0.0),
    )
    return {launch.instance_type: launch.count for launch in ResourceDemandScheduler(None).schedule(request).to_launch}


def exports_and_arguments(commands: list[str]) -> tuple[dict[str, str], list[str]]:
    """The environment and the arguments of the one `ray start` among the commands."""
    (command,) = [command for command in commands if "ray start" in command]
    words = shlex.split(command.split(";")[0])
    assert words[0] == "export"
    return dict(word.split("=", 1) for word in words[1:]), shlex.split(command.split("ray start", 1)[1])


def test_rays_validator_accepts_it(config):
    validate_config(config)


def test_rays_validator_would_refuse_a_misspelt_field(config):
    broken = copy.deepcopy(config)
    broken["available_node_types"]["cpu"]["max_worker"] = 1
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(broken)


@pytest.mark.parametrize("name", ["head", "cpu", *GPU_TYPES])
def test_the_ec2_interface_accepts_every_node(config, name):
    run_instances = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")
    asked = {**config["available_node_types"][name]["node_config"], "MinCount": 1, "MaxCount": 1}
    assert not ParamValidator().validate(asked, run_instances.input_shape).generate_report()


def test_tokens_are_asked_for_on_every_node_and_lie_where_ray_looks_for_them(config):
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        environment, _ = exports_and_arguments(commands)
        assert environment["RAY_AUTH_MODE"] == "token"
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_token_is_readable_by_its_owner_alone_before_ray_starts(autoscaling):
    for setup in (
        autoscaling.get_head_setup_commands(),
        *map(autoscaling.get_worker_setup_commands, ["cpu", *GPU_TYPES]),
    ):
        assert setup[0] == "chmod 700 ~/.ray && chmod 600 ~/.ray/auth_token"


def test_ray_knows_every_flag_and_the_dashboard_listens_on_loopback_alone(config):
    _, head = exports_and_arguments(config["head_start_ray_commands"])
    _, worker = exports_and_arguments(config["worker_start_ray_commands"])
    parameters = start.make_context("start", head).params
    assert parameters["dashboard_host"] == "127.0.0.1" and parameters["head"]
    assert parameters["autoscaling_config"]
    assert start.make_context("start", worker).params["address"] == "$RAY_HEAD_IP:6379"


def test_drivers_store_in_s3(config):
    environment, _ = exports_and_arguments(config["head_start_ray_commands"])
    assert environment["BASIN_STORE"].startswith("s3://")


def test_everything_is_installed_from_locks_with_hashes(autoscaling):
    expected = {"cpu": {"base", "build"}, **{name: {"gpu", "build"} for name in GPU_TYPES}}
    setups = {name: autoscaling.get_worker_setup_commands(name) for name in expected}
    setups["head"] = autoscaling.get_head_setup_commands()
    expected["head"] = {"base", "build", "launcher"}
    for name, setup in setups.items():
        found = [install for command in setup for install in installs(command)]
        assert all(is_locked(install) for install in found), name
        locks = {PurePosixPath(word).stem for install in found for word in install.split() if word.endswith(".lock")}
        assert locks == expected[name]
        assert all(pins(lock) for lock in locks)


def test_what_is_mounted_is_there_and_holds_all_of_the_project(config):
    mounted = {local for remote, local in config["file_mounts"].items() if remote.startswith("~/basin/")}
    assert all((ROOT / local).exists() for local in mounted)
    assert {"models", "cluster", "services", "requirements", "pyproject.toml", "README.md"} <= mounted


def test_nets_go_to_spot_machines_first(autoscaling):
    assert launched(autoscaling, {"CPU": 1, "GPU": 1}, 3) == {"gpu-spot": 3}


def test_nets_go_on_demand_while_there_are_no_spot_machines(autoscaling):
    assert launched(autoscaling, {"CPU": 1, "GPU": 1}, 3, unavailable=("gpu-spot",)) == {"gpu-on-demand": 3}


def test_two_nets_share_a_gpu(autoscaling):
    assert launched(autoscaling, {"CPU": 1, "GPU": 0.5}, 4) == {"gpu-spot": 2}


def test_glms_do_not_start_gpu_machines(autoscaling):
    assert launched(autoscaling, {"CPU": 1}, 20) == {"cpu": 2}


def test_more_work_than_machines_stays_within_the_bounds(autoscaling):
    found = launched(autoscaling, {"GPU": 1}, 100)
    assert found == {"gpu-spot": 8, "gpu-on-demand": 4}


def test_the_head_runs_no_fit_and_workers_go_when_idle(config):
    types = config["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0} and types["head"]["max_workers"] == 0
    assert all(types[name]["min_workers"] == 0 for name in types)
    assert all(0 < types[name]["max_workers"] <= config["max_workers"] for name in types if name != "head")
    assert config["idle_timeout_minutes"] > 0


def test_spot_and_its_fallback_differ_in_the_market_alone(config):
    spot, fallback = (copy.deepcopy(config["available_node_types"][name]) for name in GPU_TYPES)
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot.pop("priority") > fallback.pop("priority")
    assert spot | {"max_workers": None} == fallback | {"max_workers": None}


def test_machines_encrypt_their_disks_and_refuse_the_old_metadata_service(config):
    for node in (node["node_config"] for node in config["available_node_types"].values()):
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])
