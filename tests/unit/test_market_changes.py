"""Two views of a market compared: what is told, what is stopped, what is written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.markets.changes import (
    COLUMNS,
    SEVERITY,
    ChangeKind,
    StoredMarket,
    compare,
    differs,
    plan,
    settled,
)
from app.markets.exact_json import single
from app.markets.gamma import parse_market
from app.markets.model import TICKS_MICROS, MarketRecord, OutcomeRecord, Reason
from tests.support.gamma import condition, gamma_market


def _fresh() -> MarketRecord:
    """As it comes from the wire, where 0.01 is text and no float."""
    raw = single(json.dumps(gamma_market("a")))
    assert isinstance(raw, dict)
    record = parse_market(raw, {"id": "7", "title": "An event"})
    assert isinstance(record, MarketRecord)
    assert record.tradable
    return record


FRESH = _fresh()


def stored_as(record: MarketRecord) -> StoredMarket:
    """What the database holds after an import of the record."""
    row: dict[str, Any] = {name: getattr(record, name) for name in COLUMNS}
    row["question"] = record.question or ""
    row["fee_rate_micros"] = record.fee_rate_micros or 0
    row["fee_exponent"] = 1 if record.fee_exponent is None else record.fee_exponent
    row["neg_risk"] = record.neg_risk or False
    outcomes = tuple((one.index, one.label, one.token_id) for one in record.outcomes)
    return StoredMarket(
        condition_id=record.condition_id, raw_digest=record.raw_digest, outcomes=outcomes, **row
    )


def kinds(fresh: MarketRecord, stored: StoredMarket | None = None) -> list[ChangeKind]:
    return [change.kind for change in compare(stored or stored_as(FRESH), fresh)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"tick_micros": 1_000}, ["TICK"]),
        ({"min_size_micros": 15_000_000}, ["MIN_SIZE"]),
        ({"fee_rate_micros": 50_000}, ["FEE"]),
        ({"fee_exponent": 2}, ["FEE"]),
        ({"fee_taker_only": False}, ["FEE"]),
        ({"neg_risk": True}, ["NEG_RISK_ON"]),
        ({"neg_risk_augmented": True}, ["AUGMENTED"]),
        ({"protocol_version": "v2"}, ["PROTOCOL"]),
        ({"event_id": "8"}, ["EVENT"]),
        ({"window_end_ms": FRESH.window_end_ms or 0}, []),
        ({"window_end_ms": (FRESH.window_end_ms or 0) + 60_000}, ["END_MOVED"]),
        ({"window_end_ms": (FRESH.window_end_ms or 0) - 60_000}, ["END_MOVED"]),
        ({"window_start_ms": 1}, ["START_MOVED"]),
        ({"untradable_reasons": ("CLOSED",)}, ["CLOSED"]),
        ({"untradable_reasons": ("RESOLVED", "NOT_ACTIVE")}, ["CLOSED"]),
        ({"untradable_reasons": ("NOT_ACCEPTING",)}, ["STOPPED"]),
        ({"untradable_reasons": ("NO_CLOB_MARKET",)}, ["STOPPED"]),
        ({"untradable_reasons": ("PLACEHOLDER_OUTCOME",)}, ["PLACEHOLDER", "STOPPED"]),
        ({"tick_micros": None, "untradable_reasons": ("NO_TICK",)}, ["STOPPED"]),
        ({"min_size_micros": None, "untradable_reasons": ("NO_MIN_SIZE",)}, ["STOPPED"]),
        (
            {"fee_rate_micros": None, "fee_exponent": None, "untradable_reasons": ("NO_FEES",)},
            ["STOPPED"],
        ),
        ({"window_end_ms": None, "untradable_reasons": ("NO_END_DATE",)}, ["STOPPED"]),
        ({"outcomes": (), "untradable_reasons": ("OUTCOME_CONFLICT",)}, ["STOPPED"]),
        ({"outcomes": (OutcomeRecord(0, "Up", "5"), OutcomeRecord(1, "Down", "6"))}, ["TOKENS"]),
        ({"slug": "renamed", "question": "Other?", "raw_digest": "0"}, []),
        (
            {"neg_risk": None, "untradable_reasons": ("NEG_RISK_CONFLICT",)},
            ["NEG_RISK_ON", "STOPPED"],
        ),
        ({"neg_risk": None, "untradable_reasons": ("NEG_RISK_UNKNOWN",)}, ["STOPPED"]),
    ],
)
def test_each_difference_is_told_by_its_kind(changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds(replace(FRESH, **changes)) == expected


def test_a_change_says_what_was_and_what_is() -> None:
    (change,) = compare(stored_as(FRESH), replace(FRESH, tick_micros=1_000))
    assert (change.before, change.after, change.severity) == (10_000, 1_000, "info")
    (change,) = compare(stored_as(FRESH), replace(FRESH, neg_risk=True))
    assert (change.before, change.after, change.severity) == (False, True, "error")


def test_every_kind_has_a_severity() -> None:
    assert set(SEVERITY) == set(ChangeKind)


def test_neg_risk_that_turns_off_is_told_and_stops_nothing() -> None:
    stored = stored_as(replace(FRESH, neg_risk=True))
    assert kinds(FRESH, stored) == ["NEG_RISK_OFF"]
    assert plan([stored], [FRESH]).halt == {}


def test_a_market_that_is_over_is_not_told_of_again_and_one_that_trades_again_is() -> None:
    closed = replace(FRESH, untradable_reasons=("CLOSED",))
    assert (
        kinds(replace(closed, untradable_reasons=("CLOSED", "RESOLVED")), stored_as(closed)) == []
    )
    waiting = stored_as(replace(FRESH, untradable_reasons=("NOT_ACCEPTING",)))
    assert kinds(FRESH, waiting) == ["TRADABLE"]
    assert kinds(replace(FRESH, untradable_reasons=("NO_ORDERBOOK",)), waiting) == []


def test_an_exchange_that_becomes_unclear_stays_what_it_was_and_is_no_turn_when_it_clears() -> None:
    neg = replace(FRESH, neg_risk=True)
    unclear = replace(neg, neg_risk=None, untradable_reasons=("NEG_RISK_CONFLICT",))
    first = plan([stored_as(neg)], [unclear])
    assert first.halt == {}
    assert [one.neg_risk for one in first.store] == [True]
    second = plan([stored_as(first.store[0])], [neg])
    assert second.halt == {}
    assert [change.kind for change in second.changes[neg.condition_id]] == ["TRADABLE"]


def test_a_contradiction_counts_as_a_turn_once() -> None:
    unclear = replace(FRESH, neg_risk=None, untradable_reasons=("NEG_RISK_CONFLICT",))
    first = plan([stored_as(FRESH)], [unclear])
    assert list(first.halt) == [FRESH.condition_id]
    after = stored_as(first.store[0])
    assert after.neg_risk is False
    assert plan([after], [unclear]).halt == {}
    assert list(plan([after], [replace(FRESH, neg_risk=True)]).halt) == [FRESH.condition_id]


def test_a_market_that_turns_stops_every_stored_market_of_its_event() -> None:
    sister = replace(FRESH, condition_id=condition("b"), slug="b")
    stranger = replace(FRESH, condition_id=condition("c"), slug="c", event_id="9")
    alone = replace(FRESH, condition_id=condition("d"), slug="d", event_id=None)
    stored = [stored_as(one) for one in (FRESH, sister, stranger, alone)]
    turned = replace(FRESH, neg_risk=True)
    made = plan(stored, [turned, stranger, alone])
    assert set(made.halt) == {FRESH.condition_id, sister.condition_id}
    assert all(why.startswith("NEG_RISK_ON:") for why in made.halt.values())
    assert FRESH.condition_id in made.halt[sister.condition_id]
    assert [one.condition_id for one in made.store] == [FRESH.condition_id]
    (lonely,) = plan(stored, [replace(alone, neg_risk=True)]).halt
    assert lonely == alone.condition_id


def test_only_what_a_reader_could_see_is_written() -> None:
    stored = stored_as(FRESH)
    assert not differs(stored, FRESH)
    assert not differs(stored, replace(FRESH, raw_digest="other", tags=("x",), seconds_delay=9))
    renamed = OutcomeRecord(0, "UP", FRESH.outcomes[0].token_id)
    for changed in (
        replace(FRESH, slug="renamed"),
        replace(FRESH, group_key="tournament:x"),
        replace(FRESH, tick_micros=None, untradable_reasons=("NO_TICK",)),
        replace(FRESH, outcomes=(renamed, FRESH.outcomes[1])),
    ):
        assert differs(stored, changed)
    assert plan([stored], [FRESH]).store == ()
    assert plan([], [FRESH]).store == (FRESH,)
    assert plan([], [FRESH]).changes == {}


def test_a_market_that_is_not_shown_is_left_alone() -> None:
    made = plan([stored_as(FRESH)], [])
    assert (made.changes, made.halt, made.store) == ({}, {}, ())


def test_a_tick_told_by_the_stream_overrules_metadata_but_does_not_make_up_a_tick() -> None:
    stored = stored_as(replace(FRESH, tick_micros=1_000))
    made = plan([stored], [FRESH], ticks={FRESH.condition_id: 1_000})
    assert (made.changes, made.store) == ({}, ())
    lost = replace(FRESH, tick_micros=None, untradable_reasons=("NO_TICK",))
    made = plan([stored], [lost], ticks={FRESH.condition_id: 1_000})
    assert [one.tick_micros for one in made.store] == [None]


def test_a_stored_market_is_written_again_as_it_is() -> None:
    row = stored_as(FRESH).to_row()
    fresh = FRESH.to_row()
    assert all(row[name] == fresh[name] for name in (*COLUMNS, "condition_id", "outcomes"))


# ------------------------------------------------------------------------------------- properties

_REASONS = st.lists(
    st.sampled_from([one for one in Reason if one is not Reason.NEG_RISK_UNKNOWN]),
    max_size=3,
    unique=True,
).map(tuple)
_IDS = st.sampled_from([condition(name) for name in "abcdef"])


@st.composite
def records(draw: st.DrawFn, condition_id: str | None = None) -> MarketRecord:
    """Any record the readers could make, as far as the comparison looks at it."""
    neg_risk = draw(st.sampled_from([True, False, None]))
    reasons = draw(_REASONS)
    if neg_risk is None:
        reasons = (*reasons, draw(st.sampled_from(["NEG_RISK_CONFLICT", "NEG_RISK_UNKNOWN"])))
    rate = draw(st.sampled_from([0, 50_000, 70_000, None]))
    return replace(
        FRESH,
        condition_id=condition_id or draw(_IDS),
        event_id=draw(st.sampled_from(["1", "2", None])),
        tick_micros=draw(st.sampled_from([*sorted(TICKS_MICROS), None])),
        min_size_micros=draw(st.sampled_from([1_000_000, 5_000_000, None])),
        fee_rate_micros=rate,
        fee_exponent=None if rate is None else draw(st.integers(0, 3)),
        fee_taker_only=draw(st.booleans()),
        neg_risk=neg_risk,
        neg_risk_augmented=draw(st.booleans()),
        protocol_version=draw(st.sampled_from(["v1", "v2"])),
        window_start_ms=draw(st.sampled_from([None, 1, 2])),
        window_end_ms=draw(st.sampled_from([None, 10, 20])),
        outcomes=draw(st.sampled_from([FRESH.outcomes, ()])),
        untradable_reasons=tuple(dict.fromkeys(reasons)),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[StoredMarket, MarketRecord]:
    before = draw(records())
    return stored_as(before), draw(records(before.condition_id))


@given(pairs())
def test_each_kind_is_told_at_most_once_and_only_for_a_difference(
    pair: tuple[StoredMarket, MarketRecord],
) -> None:
    stored, fresh = pair
    found = compare(stored, fresh)
    assert len({change.kind for change in found}) == len(found)
    assert all(change.before != change.after for change in found)


@given(pairs())
def test_after_storing_nothing_is_left_to_tell_or_to_write(
    pair: tuple[StoredMarket, MarketRecord],
) -> None:
    stored, fresh = pair
    after = stored_as(settled(stored, fresh))
    assert not differs(after, fresh)
    # of terms that are missing now the stored ones were forgotten with the reason to show for it
    assert {change.kind for change in compare(after, fresh)} <= {ChangeKind.TOKENS}
    assert plan([after], [fresh]).halt == {}


@given(pairs())
def test_what_is_told_is_also_written(pair: tuple[StoredMarket, MarketRecord]) -> None:
    stored, fresh = pair
    if compare(stored, fresh):
        assert differs(stored, settled(stored, fresh))


@given(st.lists(records(), max_size=6), st.lists(records(), max_size=6))
def test_a_plan_stops_whole_events_and_never_forgets_an_exchange(
    before: list[MarketRecord], after: list[MarketRecord]
) -> None:
    stored = {one.condition_id: stored_as(one) for one in before}
    shown = {one.condition_id: one for one in after}
    made = plan(stored.values(), shown.values())
    turned = {
        name
        for name, one in shown.items()
        if name in stored and one.neg_risk is True and not stored[name].neg_risk
    }
    assert turned <= set(made.halt) <= set(stored)
    for name in made.halt:
        sisters = {
            other.condition_id
            for other in stored.values()
            if other.event_id and other.event_id == stored[name].event_id
        }
        if name in turned:
            assert sisters <= set(made.halt)
    for one in made.store:
        if one.condition_id in stored:
            assert one.neg_risk is not None
        assert one.condition_id in shown
    assert list(made.store) == sorted(made.store, key=lambda one: one.condition_id)


@given(pairs())
def test_a_market_that_turns_is_never_stored_without_being_stopped(
    pair: tuple[StoredMarket, MarketRecord],
) -> None:
    stored, fresh = pair
    made = plan([stored], [fresh])
    if any(one.neg_risk and not stored.neg_risk for one in made.store):
        assert stored.condition_id in made.halt


def test_nothing_that_an_import_writes_escapes_the_comparison() -> None:
    """A column that is added to the stored market must be compared, or named here with its reason."""
    not_compared = {"condition_id", "raw_digest", "outcomes"}
    assert {one.name for one in fields(StoredMarket)} == {*COLUMNS, *not_compared}
