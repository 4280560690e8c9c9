"""deploy/kuberay: held against Kubernetes' published schemas and KubeRay's fields, and against what must hold."""

import copy
import json
from importlib import resources

import jsonschema
import kubernetes_validate
import pytest
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS
from ray.scripts.scripts import start
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.support.project import KUBERAY, ROOT, pins, read_yaml

KUBERNETES = "1.37"
CLUSTER = read_yaml(KUBERAY / "raycluster.yaml")
JOB = read_yaml(KUBERAY / "rayjob.yaml")
CRON = read_yaml(KUBERAY / "cronjob.yaml")
POLICY = read_yaml(KUBERAY / "networkpolicy.yaml")
GROUPS = [CLUSTER["spec"]["headGroupSpec"], *CLUSTER["spec"]["workerGroupSpecs"]]
PODS = {
    **{group.get("groupName", "head"): group["template"] for group in GROUPS},
    "submitter": JOB["spec"]["submitterPodTemplate"],
    "cron": CRON["spec"]["jobTemplate"]["spec"]["template"],
}


@pytest.fixture(scope="module")
def schemas() -> Registry:
    """KubeRay's fields as `kuberay`, Kubernetes' strict definitions as `kubernetes`."""
    folder = resources.files(kubernetes_validate) / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text())
    fields = read_yaml(ROOT / "tests" / "deploy" / "kuberay.schema.yaml")
    contents = {"kuberay": fields, "kubernetes": definitions}
    return Registry().with_resources(
        (name, Resource.from_contents(content, default_specification=DRAFT202012)) for name, content in contents.items()
    )


def check(schemas: Registry, document: dict) -> None:
    schema = {"$ref": f"kuberay#/$defs/{document['kind']}"}
    jsonschema.Draft202012Validator(schema, registry=schemas).validate(document)


@pytest.mark.parametrize("document", [CLUSTER, JOB], ids=lambda document: document["kind"])
def test_kuberay_has_every_field_of_ours(schemas, document):
    check(schemas, document)


@pytest.mark.parametrize("document", [CRON, POLICY], ids=lambda document: document["kind"])
def test_kubernetes_has_every_field_of_ours(document):
    assert kubernetes_validate.validate(document, KUBERNETES, strict=True) == KUBERNETES


def _misspelt_auth(spec):
    spec["authOptions"]["secret"] = spec["authOptions"].pop("secretName")


def _misspelt_probe(spec):
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["livenessProb"] = container.pop("livenessProbe")


def _number_for_a_string(spec):
    spec["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


@pytest.mark.parametrize("mistake", [_misspelt_auth, _misspelt_probe, _number_for_a_string])
def test_a_mistake_would_be_found(schemas, mistake):
    broken = copy.deepcopy(CLUSTER)
    mistake(broken["spec"])
    with pytest.raises(jsonschema.ValidationError):
        check(schemas, broken)


def test_the_jobs_cluster_is_the_standing_one():
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_its_ray_is_the_locked_one_and_knows_the_start_parameters():
    assert CLUSTER["spec"]["rayVersion"] == pins("base")["ray"]
    for group in GROUPS:
        parameters = group["rayStartParams"].items()
        flags = [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in parameters]
        start.make_context("start", flags)


def test_tokens_are_asked_for_and_come_from_one_secret():
    options = CLUSTER["spec"]["authOptions"]
    assert options["mode"] == "token"
    (container,) = PODS["cron"]["spec"]["containers"]
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["RAY_AUTH_MODE"]["value"] == "token"
    token = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert token == {"name": options["secretName"], "key": "auth_token"}


def test_no_file_holds_a_secret():
    for path in KUBERAY.glob("*.yaml"):
        assert read_yaml(path)["kind"] != "Secret"
    for pod in PODS.values():
        for variable in (variable for container in pod["spec"]["containers"] for variable in container.get("env", [])):
            if any(word in variable["name"] for word in ("TOKEN", "SECRET", "PASSWORD", "ACCESS_KEY")):
                assert "value" not in variable


@pytest.mark.parametrize("name", PODS)
def test_pods_meet_the_restricted_security_standard_on_a_read_only_root(name):
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/tmp", "/home/basin"}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", PODS)
def test_containers_say_what_they_need_and_may_use(name):
    for container in PODS[name]["spec"]["containers"]:
        needs = container["resources"]
        assert needs["requests"]["memory"] and needs["requests"]["cpu"]
        assert needs["limits"]["memory"] and needs["limits"]["cpu"]
        assert needs["requests"].get("nvidia.com/gpu") == needs["limits"].get("nvidia.com/gpu")


@pytest.mark.parametrize("name", ["head", "cpu", "gpu"])
def test_ray_nodes_are_probed_where_no_token_is_asked_for(name):
    public = {(8265, "/api/gcs_healthz"), *((52365, path) for path in PUBLIC_EXACT_PATHS)}
    (container,) = PODS[name]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert (asked["port"], asked["path"]) in public


@pytest.mark.parametrize("name", PODS)
def test_the_network_policy_covers_every_pod(name):
    wanted = POLICY["spec"]["podSelector"]["matchLabels"]
    assert wanted.items() <= PODS[name]["metadata"]["labels"].items()


def test_the_submission_goes_to_the_clusters_head_and_never_overlaps():
    (container,) = PODS["cron"]["spec"]["containers"]
    assert f"http://{CLUSTER['metadata']['name']}-head-svc:8265" in container["args"]
    assert CRON["spec"]["concurrencyPolicy"] == "Forbid" and CRON["spec"]["timeZone"]
