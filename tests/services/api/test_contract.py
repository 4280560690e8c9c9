"""What the documentation of the interface says, held against what it does, by schemathesis."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.server.application import create_application
from tests.support.live import live, settings_of
from tests.support.seeded import SCHEDULE, SWEEP, seed

EXAMPLES = 12
# Of these a schema cannot say all: whether a condition, an order or a cursor goes with a table, whether there is such
# a dataset or learner, whether a setting can be varied, whether a cron expression ever fires.
MEANT = ("tables", "sweeps", "schedules")


class Contract:
    """A server, and what it says of itself."""

    def __init__(self, address: str, secret: str, run_key: str) -> None:
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.known = {"run_key": run_key, "part": "run.json", "table": "runs"}
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        found = [each.ok() for each in schema.get_all_operations()]
        # What removes something comes last.
        self.operations = sorted(found, key=lambda each: ("get", "post", "delete").index(each.method))

    def fill(self, case: schemathesis.Case) -> None:
        """Let a case be about what there is."""
        known = self.known | {"name": SCHEDULE if "/schedules" in case.path else SWEEP}
        for name in case.path_parameters or {}:
            case.path_parameters[name] = known[name]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    place = settings_of(tmp_path_factory.mktemp("served"), authentication=True, dashboard="http://127.0.0.1:1")
    seeded = seed(place)
    with live(create_application(place)) as address:
        yield Contract(address, seeded.secrets["admin"], seeded.run_key)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_as_documented(contract: Contract, mode: schemathesis.GenerationMode) -> None:
    assert len(contract.operations) >= 35
    for operation in contract.operations:
        hold(contract, operation, mode)


def hold(contract: Contract, operation: schemathesis.schemas.APIOperation, mode: schemathesis.GenerationMode) -> None:
    """An operation against all checks of schemathesis, on the same cases each time."""
    positive = mode == schemathesis.GenerationMode.POSITIVE
    beyond = [positive_data_acceptance] if set(operation.tags or ()) & set(MEANT) else []

    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case, is_known: bool) -> None:
        if positive and is_known:
            contract.fill(case)
        case.call_and_validate(headers=contract.headers, excluded_checks=beyond)

    try:
        check()
    except Unsatisfiable:  # nothing to get wrong
        assert not positive


def test_a_server_does_without_jax_and_ray_until_it_is_asked_for_what_takes_them() -> None:
    code = "import services.server.application, sys; sys.exit(len({'jax', 'ray', 'pymc'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
