"""Leases: renewed, taken over, released, and left to those who can see the launch."""

from services.launching.options import RunOptions
from services.ledger.database import Ledger
from services.scheduling.firing import Claimant, fire
from services.scheduling.leases import abandon, appear, has_scheduler, hold, note, release
from tests.support import scheduled
from tests.support.scheduled import at, let_pass, outcomes, statuses

LEASE = 60.0


def claim(ledger: Ledger, place: str | None = None, **settings) -> None:
    """One occurrence, claimed by a scheduler `first`."""
    scheduled.added(ledger, **settings)
    fire(ledger, "tiny", at(1), Claimant("first", lambda _: place, LEASE))


def test_a_claim_has_what_the_launch_needs(ledger: Ledger):
    options = RunOptions(store="/store", address="http://head:8265")
    claim(ledger, options=options)
    (held,) = hold(ledger, "first", "here", LEASE)
    assert (held.schedule, held.planned, held.status, held.stop_requested) == ("tiny", at(1), "claimed", False)
    assert (held.sweep, held.options) == (scheduled.schedule().sweep, options)
    assert held.misfire_grace_seconds == 3600
    assert 0 <= held.age_seconds < 5


def test_what_was_changed_since_the_claim_does_not_change_the_claim(ledger: Ledger):
    claim(ledger)
    scheduled.added(ledger, options=RunOptions(store="/elsewhere"), now=at(1.5))
    (held,) = hold(ledger, "first", "here", LEASE)
    assert held.options.store == "/store"
    assert note(ledger, "first", held, "succeeded", "")
    fire(ledger, "tiny", at(2), Claimant("first", lambda _: None, LEASE))
    assert hold(ledger, "first", "here", LEASE)[0].options.store == "/elsewhere"


def test_nobody_takes_what_another_holds_until_the_lease_has_ended(ledger: Ledger):
    claim(ledger)
    let_pass(ledger, LEASE - 5)
    assert hold(ledger, "second", "here", LEASE) == []
    let_pass(ledger, 6)
    assert len(hold(ledger, "second", "here", LEASE)) == 1
    assert hold(ledger, "first", "here", LEASE) == []
    assert hold(ledger, "third", "here", LEASE) == []


def test_a_holder_renews_its_lease_before_it_ends(ledger: Ledger):
    claim(ledger)
    for _ in range(5):
        let_pass(ledger, LEASE * 0.6)
        assert len(hold(ledger, "first", "here", LEASE)) == 1
        assert hold(ledger, "second", "here", LEASE) == []
    (left,) = scheduled.lease_left(ledger)
    assert LEASE - 5 < left <= LEASE


def test_a_lease_far_in_the_future_is_one_of_before_the_clock_was_put_back(ledger: Ledger):
    claim(ledger)
    let_pass(ledger, -3600)
    assert len(hold(ledger, "second", "here", LEASE)) == 1
    (left,) = scheduled.lease_left(ledger)
    assert left <= LEASE


def test_one_that_lost_its_lease_notes_nothing(ledger: Ledger):
    claim(ledger)
    (mine,) = hold(ledger, "first", "here", LEASE)
    let_pass(ledger, LEASE + 1)
    (theirs,) = hold(ledger, "second", "here", LEASE)
    assert not note(ledger, "first", mine, "failed", "too late")
    assert note(ledger, "second", theirs, "running", "")
    assert note(ledger, "second", theirs, "succeeded", "")
    assert not note(ledger, "second", theirs, "failed", "it has ended already")
    assert outcomes(ledger) == [(1, "succeeded", "")]
    let_pass(ledger, 10 * LEASE)
    assert hold(ledger, "third", "here", LEASE) == []


def test_what_is_released_is_taken_over_at_once(ledger: Ledger):
    claim(ledger)
    release(ledger, "first")
    assert len(hold(ledger, "second", "here", LEASE)) == 1


def test_what_was_launched_elsewhere_is_left_to_those_there_and_lost_when_none_comes(ledger: Ledger):
    claim(ledger, place="there")
    let_pass(ledger, LEASE + 1)
    assert hold(ledger, "second", "here", LEASE) == []
    assert abandon(ledger, "here", 3600) == 0
    assert len(hold(ledger, "third", "there", LEASE)) == 1
    let_pass(ledger, 3600 + LEASE)
    assert abandon(ledger, "there", 3600) == 0
    assert abandon(ledger, "here", 3600) == 1
    assert outcomes(ledger) == [(1, "lost", "no scheduler has been at work for long where it was launched: there")]


def test_what_everyone_can_see_is_never_abandoned(ledger: Ledger):
    claim(ledger, place=None)
    let_pass(ledger, 1e6)
    assert abandon(ledger, "here", 3600) == 0
    assert statuses(ledger) == [(1, "claimed")]


def test_a_scheduler_is_seen_while_it_is_at_work(ledger: Ledger):
    assert not has_scheduler(ledger)
    appear(ledger, "first")
    appear(ledger, "first")
    assert has_scheduler(ledger)
    release(ledger, "first")
    assert not has_scheduler(ledger)
