"""The suite runs several cases at once and yields them in order."""

import threading

import jax
import pytest

from ebmjax.verify import suite
from ebmjax.verify.examples import ring

KEY, REPORT = jax.random.key(0), ring()


def outcomes_of(monkeypatch, cases):
    monkeypatch.setattr(suite, "verification_cases", lambda is_quick: cases)
    monkeypatch.setattr(suite, "controls", dict)
    monkeypatch.setattr(suite, "MOST_AT_ONCE", 2)
    return suite.run_suite(KEY)


def test_cases_run_at_once_and_come_in_order(monkeypatch):
    both = threading.Barrier(2, timeout=60)

    def case(key, **_):
        both.wait()
        return REPORT

    found = list(outcomes_of(monkeypatch, dict.fromkeys("dbca", case)))
    assert [number for number, _, _ in found] == [1, 2, 3, 4]
    assert [outcome.name for *_, outcome in found] == ["d", "b", "c", "a"]
    assert all(outcome.is_right for *_, outcome in found)


def test_no_case_begins_after_the_caller_has_stopped(monkeypatch):
    begun, go = [], threading.Event()

    def waits(key, **_):
        begun.append(key)
        go.wait(60)
        return REPORT

    cases = {"a": lambda key, **_: REPORT, **dict.fromkeys("bcdefgh", waits)}
    outcomes = outcomes_of(monkeypatch, cases)
    next(outcomes)
    threading.Timer(0.5, go.set).start()
    outcomes.close()
    assert len(begun) < 7


def test_an_error_in_a_case_is_raised(monkeypatch):
    def case(key, **_):
        raise ValueError("of a case")

    with pytest.raises(ValueError, match="of a case"):
        list(outcomes_of(monkeypatch, {"a": case}))
