"""deploy/serve.yaml: held against Ray Serve's own schema, and against what it names.

tests/acceptance/test_ray_serve.py deploys it.
"""

import importlib

import pytest
from sqlalchemy.engine import make_url

from services.api.access import is_loopback
from services.settings import Environment
from tests.support.project import ROOT, pins, read_yaml

CONFIG = read_yaml(ROOT / "deploy" / "serve.yaml")
(APPLICATION,) = CONFIG["applications"]
VARIABLES = APPLICATION["runtime_env"]["env_vars"]

# Ray Serve's own, of its use of pydantic, when it is imported: so that is done within the tests.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field` is deprecated")


def test_ray_serve_takes_it_and_knows_every_field():
    from ray.serve.schema import ServeDeploySchema

    found = ServeDeploySchema.model_validate(CONFIG)
    (application,) = found.applications
    ((given,), (deployment,)) = APPLICATION["deployments"], application.deployments
    # The schema lets unknown fields pass, so that a misspelt one would do nothing.
    for fields, model in (
        (CONFIG, found),
        (CONFIG["http_options"], found.http_options),
        (APPLICATION, application),
        (given, deployment),
        (given["ray_actor_options"], deployment.ray_actor_options),
    ):
        assert fields.keys() <= type(model).model_fields.keys()


def test_what_it_names_is_there():
    from ray import serve

    from cluster.serve import Options, Server, build

    module, _, function = APPLICATION["import_path"].partition(":")
    assert getattr(importlib.import_module(module), function) is build
    module, _, function = Options(**APPLICATION["args"]).application.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    application = build(Options(**APPLICATION["args"]))
    assert isinstance(application, serve.Application)
    assert [each["name"] for each in APPLICATION["deployments"]] == [Server.name]
    assert {name.removeprefix("BASIN_").lower() for name in VARIABLES} <= Environment.model_fields.keys()


def test_it_lets_nobody_in_from_the_network_unless_it_is_changed():
    assert is_loopback(CONFIG["http_options"]["host"])


def test_its_ledger_can_be_used_by_what_a_node_installs():
    assert make_url(VARIABLES["BASIN_LEDGER"]).get_driver_name() in pins("base")


def test_it_holds_no_secret():
    assert not [name for name in VARIABLES if "TOKEN" in name or "SECRET" in name or "PASSWORD" in name]
    assert make_url(VARIABLES["BASIN_LEDGER"]).password is None
