"""deploy/serve.yaml: held against Ray Serve's own schema, and against what it names."""

import importlib

import pytest

from tests.deploy.project import ROOT, read_yaml

CONFIG = read_yaml(ROOT / "deploy" / "serve.yaml")
(APPLICATION,) = CONFIG["applications"]

# Ray Serve's own, of its use of pydantic, when it is imported: so that is done within the tests.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field` is deprecated")


def test_ray_serve_takes_it_and_knows_every_field():
    from ray.serve.schema import ServeDeploySchema

    found = ServeDeploySchema.model_validate(CONFIG)
    assert [application.name for application in found.applications] == ["basin"]
    # The schema lets unknown fields pass, so that a misspelt one would do nothing.
    for given, model in (
        (CONFIG, found),
        (CONFIG["http_options"], found.http_options),
        (APPLICATION, found.applications[0]),
    ):
        assert given.keys() <= type(model).model_fields.keys()


def test_what_it_names_is_there():
    from ray import serve

    from cluster.serve import Options, build

    module, _, function = APPLICATION["import_path"].partition(":")
    assert getattr(importlib.import_module(module), function) is build
    module, _, function = Options(**APPLICATION["args"]).application.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    application = build(Options(**APPLICATION["args"]))
    assert isinstance(application, serve.Application)
    assert [each["name"] for each in APPLICATION["deployments"]] == ["http"]


def test_it_holds_no_secret():
    values = APPLICATION["runtime_env"]["env_vars"]
    assert not [name for name in values if "TOKEN" in name or "SECRET" in name or "PASSWORD" in name]
    assert ":" not in values["BASIN_LEDGER"].partition("://")[2].partition("@")[0]
