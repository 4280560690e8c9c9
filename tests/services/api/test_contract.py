"""What the documentation of the interface says, held against what it does, by schemathesis."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services import tokens
from services.api.application import create_application
from services.ledger import Ledger
from services.store import writing
from tests.services import factories
from tests.services.api.live import live, settings_of


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, schemathesis.BaseSchema]]:
    folder = tmp_path_factory.mktemp("served")
    with writing(folder / "store") as writer:
        for seed in range(3):
            writer.put(factories.record(factories.request(seed)))
        writer.put_sweep("one", "{}", pl.DataFrame({"run_key": [factories.request(0).run_key]}))
    place = settings_of(folder, authentication=True)
    ledger = Ledger(place.ledger)
    secret = tokens.create(ledger, "admin", "admin", datetime.now(UTC)).secret
    ledger.close()
    with live(create_application(place)) as address:
        yield secret, schemathesis.openapi.from_url(f"{address}/openapi.json").include(tag=["tables", "runs", "analyses", "server"])


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_every_answer_is_as_documented(
    documented: tuple[str, schemathesis.BaseSchema], mode: schemathesis.GenerationMode
) -> None:
    secret, schema = documented
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case) -> None:
            # Whether a condition or a cursor can be meant is more than a schema can say.
            headers, beyond = {"Authorization": f"Bearer {secret}"}, [positive_data_acceptance]
            case.call_and_validate(headers=headers, excluded_checks=beyond)

        try:
            check()
        except Unsatisfiable:  # nothing to get wrong
            assert mode == schemathesis.GenerationMode.NEGATIVE


def test_a_server_does_without_jax_and_ray_until_it_is_asked_for_what_takes_them() -> None:
    code = "import services.api.application, sys; sys.exit(len({'jax', 'ray', 'pymc'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
