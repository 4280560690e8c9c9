"""Accepted sweeps: recorded once for a key and a name, and noted by whoever read them last."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from services.errors import ConflictError
from services.ledger.database import Ledger
from services.submissions import records
from services.submissions.records import Accepted, Key, Submission
from services.sweeps.definition import Sweep
from tests.support import scheduled

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def accept(ledger: Ledger, sweep: Sweep | None = None, key: str | None = None, body: str = "body") -> Accepted:
    given = None if key is None else Key(key, body)
    return records.accept(ledger, sweep or scheduled.sweep(), 3, "ada", NOW, given)


def other(name: str = "tiny") -> Sweep:
    return scheduled.sweep(name).model_copy(update={"seeds": 7})


def end(ledger: Ledger, submission: Submission, state: records.State = "succeeded") -> None:
    assert records.note(ledger, submission, state, "", NOW)


def test_a_submission_is_there_when_it_is_accepted(ledger: Ledger):
    submission, is_new = accept(ledger)
    assert is_new
    assert (submission.name, submission.state, submission.runs, submission.submitter) == ("tiny", "accepted", 3, "ada")
    assert records.active(ledger) == [submission] == [records.latest(ledger, "tiny")]
    assert records.names(ledger) == {"tiny"}


def test_the_last_submissions_of_many_sweeps_are_found_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "_NAMES_AT_ONCE", 2)
    wanted = [f"sweep-{i}" for i in range(5)]
    last = {}
    for moment in range(2):
        for name in wanted:
            accepted = records.accept(ledger, scheduled.sweep(name), 3, "ada", NOW + timedelta(seconds=moment))
            end(ledger, accepted.submission)
            last[name] = accepted.submission.id
    found = records.latest_of(ledger, [*wanted, "nothing"])
    assert {name: submission.id for name, submission in found.items()} == last
    assert records.latest_of(ledger, []) == {}


def test_the_same_key_and_body_are_one_submission_even_after_its_end(ledger: Ledger):
    first = accept(ledger, key="k")
    assert accept(ledger, key="k") == Accepted(first.submission, is_new=False)
    end(ledger, first.submission)
    again = accept(ledger, key="k")
    assert (again.is_new, again.submission.id, again.submission.state) == (False, first.submission.id, "succeeded")
    answered = records.answered(ledger, "ada", Key("k", "body"))
    assert answered is not None and answered.id == first.submission.id


def test_the_same_key_with_another_body_is_refused_and_changes_nothing(ledger: Ledger):
    first = accept(ledger, key="k").submission
    for ask in (
        lambda: accept(ledger, other("else"), key="k", body="another"),
        lambda: records.answered(ledger, "ada", Key("k", "another")),
    ):
        with pytest.raises(ConflictError, match="idempotency key 'k' was sent with another sweep before"):
            ask()
    assert records.active(ledger) == [first]


def test_a_key_is_its_submitters_own(ledger: Ledger):
    accept(ledger, key="k")
    assert records.answered(ledger, "bob", Key("k", "another")) is None
    theirs = records.accept(ledger, scheduled.sweep("else"), 1, "bob", NOW, Key("k", "another"))
    assert theirs.is_new


def test_the_same_sweep_while_it_is_active_is_one_submission_and_another_of_its_name_is_refused(ledger: Ledger):
    first = accept(ledger).submission
    assert accept(ledger, key="later") == Accepted(first, is_new=False)
    assert accept(ledger, key="later") == Accepted(first, is_new=False)
    with pytest.raises(ConflictError, match="sweep 'tiny' is at work with another definition"):
        accept(ledger, other(), key="unused", body="b")
    end(ledger, first)
    second = accept(ledger, other(), key="unused", body="c")  # the refused request left no trace of its key
    assert second.is_new
    assert [each.id for each in records.active(ledger)] == [second.submission.id]


def test_of_many_at_once_one_is_new(ledger: Ledger):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: accept(ledger, key=f"k{i % 2}"), range(16)))
    assert sum(each.is_new for each in found) == 1
    assert len({each.submission.id for each in found}) == 1


def test_who_notes_must_have_seen_what_was_noted_last(ledger: Ledger):
    accepted = accept(ledger).submission
    assert records.note(ledger, accepted, "submitted", "", NOW)
    assert not records.note(ledger, accepted, "failed", "it was read before", NOW)
    (submitted,) = records.active(ledger)
    assert records.note(ledger, submitted, "accepted", "lost", NOW, attempt=2)
    (again,) = records.active(ledger)
    assert (again.state, again.attempt, again.reason) == ("accepted", 2, "lost")
    assert again.job_id != submitted.job_id
    assert not records.note(ledger, accepted, "submitted", "", NOW)  # of the first attempt
    end(ledger, again)
    assert records.active(ledger) == []
    ended = records.latest(ledger, "tiny")
    assert ended is not None and (ended.state, ended.ended) == ("succeeded", NOW)


def test_only_what_is_active_can_be_asked_to_stop(ledger: Ledger):
    assert not records.request_stop(ledger, "tiny")
    submission = accept(ledger).submission
    assert records.request_stop(ledger, "tiny")
    assert records.active(ledger)[0].stop_requested
    end(ledger, submission, "stopped")
    assert not records.request_stop(ledger, "tiny")


def test_the_latest_is_the_one_that_was_made_last(ledger: Ledger):
    first = accept(ledger).submission
    end(ledger, first)
    second = records.accept(ledger, scheduled.sweep(), 3, "ada", NOW + timedelta(seconds=1)).submission
    latest = records.latest(ledger, "tiny")
    assert latest is not None and latest.id == second.id != first.id
    assert records.latest(ledger, "nothing") is None
