"""Ray's launcher and our role's template against an HTTP server that answers as AWS does (moto)."""

import copy

import boto3
import pytest
from cfnlint.api import lint
from moto.server import ThreadedMotoServer
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config

from tests.support.project import ROOT, read_yaml

ROLE = (ROOT / "deploy" / "aws" / "head-role.yaml").read_text()


@pytest.fixture
def region(monkeypatch, tmp_path):
    """A region of a fresh account; Ray writes the key that it makes into the home folder."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    for name, value in {
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }.items():
        monkeypatch.setenv(name, value)
    yield read_yaml(ROOT / "ray_cluster.yaml")["provider"]["region"]
    server.stop()


def test_cloudformations_linter_finds_nothing_in_the_role():
    assert lint(ROLE, regions=["us-west-2"]) == []


def test_rays_provider_starts_every_kind_of_machine_under_the_role(region):
    formation = boto3.client("cloudformation", region_name=region)
    formation.create_stack(
        StackName="basin-head",
        TemplateBody=ROLE,
        Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "any"}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    config = bootstrap_aws(copy.deepcopy(prepare_config(read_yaml(ROOT / "ray_cluster.yaml"))))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, node in config["available_node_types"].items():
        provider.create_node(node["node_config"], {"ray-user-node-type": name}, 1)

    reservations = boto3.client("ec2", region_name=region).describe_instances()["Reservations"]
    started = {}
    for machine in (machine for reservation in reservations for machine in reservation["Instances"]):
        tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
        assert tags["ray-cluster-name"] == "basin"  # by which the role lets the head end machines
        started[tags["ray-user-node-type"]] = machine
    assert started.keys() == config["available_node_types"].keys()
    assert [name for name, machine in started.items() if machine.get("InstanceLifecycle") == "spot"] == ["gpu-spot"]
    roles = {name: machine.get("IamInstanceProfile", {}).get("Arn", "") for name, machine in started.items()}
    assert roles.pop("head").endswith("instance-profile/basin-head")
    assert not any(roles.values())
