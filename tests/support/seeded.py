"""A server's folder in which there is one of everything: runs, a sweep, a submission, a schedule and tokens."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from models.spec.settings import canonical_json
from services.api.settings import Serving
from services.launching.options import RunOptions
from services.ledger import tokens
from services.ledger.database import Ledger
from services.scheduling import schedules
from services.store.writer import writing
from services.submissions import records
from services.sweeps.definition import parse_sweep, settle
from services.sweeps.plan import load_datasets, plan
from tests.support import factories

NOW = datetime.now(UTC)
SWEEP, SCHEDULE = "one", "nightly"


class Seeded(NamedTuple):
    """What there is.

    Attributes:
        secrets: of tokens by scope, and of one that is `expired` and one that is `revoked`.
    """

    run_key: str
    secrets: dict[str, str]


def definition(**stated: Any) -> dict[str, Any]:
    """A sweep that is accepted but for what is stated."""
    return {"name": "bad", "datasets": ["iris"], "learners": ["svm"], "budget": "quick", "splits": 2} | stated


def seed(place: Serving) -> Seeded:
    """Fill the store and the ledger. The sweep's submission has ended."""
    sweep = settle(parse_sweep(definition(name=SWEEP)))
    with writing(place.store) as writer:
        for i in range(3):
            writer.put(factories.record(factories.request(i)))
        writer.put_sweep(SWEEP, canonical_json(sweep), plan(sweep, load_datasets(sweep, place.cache)).members())
    ledger = Ledger(place.ledger)
    accepted = records.accept(ledger, sweep, 2, "admin", NOW).submission
    records.note(ledger, accepted, "succeeded", "", NOW)
    options = RunOptions(store=place.store)
    schedules.add(ledger, schedules.define(sweep, "0 2 * * *", options, NOW, name=SCHEDULE))
    secrets = {scope: tokens.create(ledger, scope, scope, NOW).secret for scope in tokens.SCOPES}
    secrets["expired"] = tokens.create(ledger, "expired", "admin", NOW - timedelta(2), NOW - timedelta(1)).secret
    secrets["revoked"] = tokens.create(ledger, "revoked", "admin", NOW).secret
    tokens.revoke(ledger, "revoked", NOW)
    ledger.close()
    return Seeded(factories.request(0).run_key, secrets)
