"""The CLOB has the last word on tick, minimum and fees, and a say in what the market is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.markets.clob import (
    ClobMarket,
    merge,
    read_clob_market,
    unknown_to_clob,
    unread_at_clob,
    worth_asking,
)
from app.markets.exact_json import single
from app.markets.gamma import parse_market
from app.markets.model import MarketRecord

UP, DOWN = "7" * 70, "8" * 70
CONDITION = "0x" + "ab" * 32


def gamma(**changes: object) -> MarketRecord:
    """A Gamma record that is tradable as it stands: tick 0.01, minimum 5, rate 0.07."""
    whole: dict[str, object] = {
        "conditionId": CONDITION,
        "slug": "btc-updown-15m",
        "outcomes": '["Up", "Down"]',
        "clobTokenIds": json.dumps([UP, DOWN]),
        "orderPriceMinTickSize": "0.01",
        "orderMinSize": 5,
        "feesEnabled": True,
        "feeSchedule": {"exponent": 1, "rate": "0.07", "takerOnly": True},
        "negRisk": False,
        "enableOrderBook": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "endDate": "2035-03-01T14:15:00Z",
    } | changes
    record = parse_market({name: value for name, value in whole.items() if value is not ...})
    assert isinstance(record, MarketRecord)
    return record


def clob(**changes: object) -> ClobMarket:
    """The compact form; a change to ``...`` takes the key away."""
    whole: dict[str, object] = {
        "c": CONDITION,
        "t": [{"t": UP, "o": "Up"}, {"t": DOWN, "o": "Down"}],
        "mos": 5,
        "mts": "0.01",
        "mbf": 1000,
        "tbf": 1000,
        "ao": True,
        "cbos": True,
        "fd": {"r": "0.07", "e": 1, "to": True},
    } | changes
    return read({name: value for name, value in whole.items() if value is not ...})


def long_form(**changes: object) -> ClobMarket:
    whole: dict[str, object] = {
        "condition_id": CONDITION,
        "tokens": [
            {"token_id": UP, "outcome": "Up", "price": "0.4", "winner": False},
            {"token_id": DOWN, "outcome": "Down", "price": "0.6", "winner": False},
        ],
        "minimum_order_size": 5,
        "minimum_tick_size": "0.01",
        "enable_order_book": True,
        "active": True,
        "closed": False,
        "archived": False,
        "accepting_orders": True,
        "maker_base_fee": 0,
        "taker_base_fee": 0,
        "seconds_delay": 3,
        "game_start_time": None,
        "end_date_iso": "2035-03-01T00:00:00Z",
        "neg_risk": False,
        "neg_risk_market_id": "",
    } | changes
    return read({name: value for name, value in whole.items() if value is not ...})


def read(raw: dict[str, Any]) -> ClobMarket:
    """As it comes from the wire: numbers with a fraction are exact text."""
    value = single(json.dumps(raw))
    assert isinstance(value, dict)
    return read_clob_market(value)


def reasons(**changes: object) -> set[str]:
    merged = merge(gamma(), clob(**changes))
    assert merged.tradable is not bool(merged.untradable_reasons)
    return set(merged.untradable_reasons)


def test_the_compact_form_is_read_exactly() -> None:
    market = clob(mts=0.001, mos=14.96, nr=True, itode=True, gst="2035-03-01T14:00:00Z")
    assert (market.form, market.condition_id) == ("compact", CONDITION)
    assert (market.tick_micros, market.min_size_micros) == (1_000, 14_960_000)
    assert (market.fee_rate_micros, market.fee_exponent, market.fee_taker_only) == (70_000, 1, True)
    assert [(one.token_id, one.label, one.won) for one in market.tokens] == [
        (UP, "Up", None),
        (DOWN, "Down", None),
    ]
    assert (market.neg_risk, market.taker_delay, market.accepting_orders) == (True, True, True)
    assert market.game_start_ms == 2_056_370_400_000
    assert market.bad == ()


def test_the_long_form_is_read_exactly() -> None:
    market = long_form()
    assert (market.form, market.condition_id) == ("long", CONDITION)
    assert (market.tick_micros, market.min_size_micros) == (10_000, 5_000_000)
    assert (market.fee_stated, market.fee_rate_micros, market.fee_ceilings) == (False, None, (0, 0))
    assert (market.closed, market.active, market.order_book) == (False, True, True)
    assert (market.seconds_delay, market.taker_delay) == (3, True)
    assert [one.won for one in market.tokens] == [False, False]


def test_the_clobs_tick_minimum_and_fees_win() -> None:
    merged = merge(gamma(), clob(mts="0.001", mos="15", fd={"r": "0.05", "e": 2, "to": False}))
    assert merged.tradable
    assert (merged.tick_micros, merged.min_size_micros) == (1_000, 15_000_000)
    assert (merged.fee_rate_micros, merged.fee_exponent, merged.fee_taker_only) == (
        50_000,
        2,
        False,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"orderPriceMinTickSize": ...},
        {"orderPriceMinTickSize": "0.02"},
        {"orderPriceMinTickSize": "soon"},
        {"orderMinSize": 0},
        {"orderMinSize": []},
        {"feesEnabled": ..., "feeSchedule": ...},
        {"feeSchedule": {"rate": "2", "exponent": 1}},
        {"feeSchedule": {"rate": {}, "exponent": 1}},
        {"feesEnabled": "perhaps"},
    ],
)
def test_a_term_that_gamma_lacks_is_mended_by_the_clob(changes: dict[str, object]) -> None:
    record = gamma(**changes)
    assert not record.tradable
    assert worth_asking(record)
    merged = merge(record, clob())
    assert merged.tradable
    assert (merged.tick_micros, merged.min_size_micros, merged.fee_rate_micros) == (
        10_000,
        5_000_000,
        70_000,
    )


@pytest.mark.parametrize(
    "changes",
    [{"closed": True}, {"endDate": ...}, {"negRisk": ...}, {"clobTokenIds": ...}, {"active": 0}],
)
def test_what_the_clob_cannot_mend_stays_a_reason_and_is_not_asked_for(
    changes: dict[str, object],
) -> None:
    record = gamma(**changes)
    assert not worth_asking(record)
    assert set(record.untradable_reasons) <= set(merge(record, clob()).untradable_reasons)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mts": ...}, "NO_TICK"),
        ({"mts": None}, "NO_TICK"),
        ({"mts": "0.02"}, "BAD_TICK"),
        ({"mts": 0}, "BAD_TICK"),
        ({"mts": "x"}, "BAD_FIELD:clob.mts"),
        ({"mos": ...}, "NO_MIN_SIZE"),
        ({"mos": 0}, "BAD_MIN_SIZE"),
        ({"mos": True}, "BAD_FIELD:clob.mos"),
        ({"fd": {}}, "NO_FEES"),
        ({"fd": {"r": "0.07"}}, "NO_FEES"),
        ({"fd": {"r": "1.01", "e": 1}}, "BAD_FEES"),
        ({"fd": {"r": "0.07", "e": 9}}, "BAD_FEES"),
        ({"fd": {"r": "0.07", "e": "x"}}, "BAD_FIELD:clob.fd.e"),
        ({"fd": 7}, "BAD_FIELD:clob.fd"),
        ({"t": ...}, "NO_TOKENS"),
        ({"t": [{"t": UP, "o": "Up"}]}, "OUTCOME_CONFLICT"),
        ({"t": [{"t": UP, "o": "Down"}, {"t": DOWN, "o": "Up"}]}, "OUTCOME_CONFLICT"),
        ({"t": [{"t": UP, "o": "Up"}, {"t": "9", "o": "Down"}]}, "OUTCOME_CONFLICT"),
        ({"t": [{"t": UP, "o": "Up"}] * 2}, "OUTCOME_CONFLICT"),
        ({"t": "both"}, "BAD_FIELD:clob.t"),
        ({"nr": True}, "NEG_RISK_CONFLICT"),
        ({"nr": "maybe"}, "BAD_FIELD:clob.nr"),
        ({"c": "0x" + "cd" * 32}, "CLOB_MISMATCH"),
        ({"c": "0x12"}, "BAD_FIELD:clob.c"),
        ({"ao": False}, "NOT_ACCEPTING"),
        ({"gst": "tomorrow"}, "BAD_FIELD:clob.gst"),
    ],
)
def test_what_the_clob_lacks_or_contradicts_is_said_and_not_traded(
    changes: dict[str, object], reason: str
) -> None:
    assert reason in reasons(**changes)


def test_what_is_left_out_of_the_compact_form_is_false_or_gammas_to_say() -> None:
    assert reasons(nr=..., ao=..., c=..., itode=...) == set()
    neg = gamma(negRisk=True, events=[{"id": "1", "negRisk": True, "negRiskAugmented": False}])
    assert neg.tradable
    contradicted = merge(neg, clob(nr=...))
    assert "NEG_RISK_CONFLICT" in contradicted.untradable_reasons
    assert contradicted.neg_risk is None
    assert merge(neg, clob(nr=True)).tradable


def test_order_and_case_of_the_tokens_do_not_matter_their_names_do() -> None:
    turned = [{"t": DOWN, "o": "DOWN"}, {"t": UP, "o": "up"}]
    merged = merge(gamma(), clob(t=turned))
    assert merged.tradable
    assert [one.label for one in merged.outcomes] == ["Up", "Down"]
    assert merge(gamma(), clob(t=[{"t": UP, "o": "Yes"}, {"t": DOWN, "o": "No"}])).outcomes == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"closed": True}, "CLOSED"),
        ({"archived": True}, "ARCHIVED"),
        ({"active": False}, "NOT_ACTIVE"),
        ({"accepting_orders": False}, "NOT_ACCEPTING"),
        ({"enable_order_book": False}, "NO_ORDERBOOK"),
        ({"tokens": [{"token_id": UP, "outcome": "Up", "winner": True}]}, "RESOLVED"),
    ],
)
def test_the_long_form_speaks_of_the_state_too(changes: dict[str, object], reason: str) -> None:
    assert reason in merge(gamma(), long_form(**changes)).untradable_reasons
    assert merge(gamma(), long_form()).tradable


@pytest.mark.parametrize(
    ("of_gamma", "ceilings", "expected"),
    [
        # (rate that Gamma states, base fees of the CLOB, rate that counts)
        ("0.07", (1000, 1000), 70_000),
        ("0.07", (0, 0), 70_000),
        ("0.07", (..., ...), 70_000),
        ("0", (0, 0), 0),
        ("0", (..., ...), 0),
        ("0", (0, 1000), None),
        (..., (0, 0), 0),
        (..., (1000, 1000), None),
        (..., (0, ...), None),
        (..., (..., ...), None),
    ],
)
def test_without_a_fee_from_the_clob_the_higher_statement_counts_or_none(
    of_gamma: object, ceilings: tuple[object, object], expected: int | None
) -> None:
    schedule = ... if of_gamma is ... else {"rate": of_gamma, "exponent": 1, "takerOnly": True}
    merged = merge(gamma(feeSchedule=schedule), clob(fd=..., mbf=ceilings[0], tbf=ceilings[1]))
    assert merged.fee_rate_micros == expected
    assert ("NO_FEES" in merged.untradable_reasons) is (expected is None)


def test_a_rate_of_zero_at_the_clob_is_a_rate_and_the_ceiling_is_none() -> None:
    merged = merge(gamma(), clob(fd={"r": 0, "e": 0, "to": True}))
    assert merged.tradable
    assert (merged.fee_rate_micros, merged.fee_exponent) == (0, 0)


def test_protocol_v2_is_confirmed_by_its_position_ids() -> None:
    ids = [str((1 << 248) + (77 << 104) + side) for side in (0, 1)]
    short = "0x01" + "ef" * 30
    record = gamma(conditionId=short, version="v2", positionIds=ids)
    assert record.condition_id == short + "00"
    tokens = [{"t": ids[0], "o": "Up"}, {"t": ids[1], "o": "Down"}]
    for named in (short, short + "00"):
        merged = merge(record, clob(c=named, t=tokens))
        assert merged.tradable
        assert merged.protocol_version == "v2"
        assert [one.token_id for one in merged.outcomes] == ids
    assert "OUTCOME_CONFLICT" in merge(record, clob(c=short)).untradable_reasons
    swapped = [{"t": ids[1], "o": "Up"}, {"t": ids[0], "o": "Down"}]
    assert "OUTCOME_CONFLICT" in merge(record, clob(c=short, t=swapped)).untradable_reasons


def test_the_game_starts_when_the_book_says_so_and_the_longer_delay_counts() -> None:
    early = gamma(gameStartTime="2035-03-01 13:00:00+00", secondsDelay=1)
    merged = merge(early, long_form(game_start_time="2035-03-01T14:00:00Z"))
    assert merged.game_start_ms == 2_056_370_400_000
    assert merged.seconds_delay == 3
    assert merge(early, long_form(seconds_delay=0)).game_start_ms == early.game_start_ms


def test_a_market_that_the_clob_does_not_know_or_did_not_tell_of_is_not_traded() -> None:
    assert unknown_to_clob(gamma()).untradable_reasons == ("NO_CLOB_MARKET",)
    assert unread_at_clob(gamma()).untradable_reasons == ("CLOB_UNREAD",)


def test_the_digest_is_of_both_objects() -> None:
    digests = {
        merge(gamma(), clob()).raw_digest,
        merge(gamma(), clob(mts="0.001")).raw_digest,
        merge(gamma(slug="other"), clob()).raw_digest,
        gamma().raw_digest,
    }
    assert len(digests) == 4


_LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats()
_VALUE = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
_KEYS = ("c", "t", "mos", "mts", "mbf", "tbf", "ao", "nr", "fd", "gst", "itode", "condition_id")


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUE))
def test_whatever_the_clob_says_a_market_is_tradable_only_with_exact_terms(
    changes: dict[str, Any],
) -> None:
    merged = merge(gamma(), clob(**changes))
    assert json.loads(json.dumps(merged.to_row()))["condition_id"] == CONDITION
    if merged.tradable:
        assert merged.tick_micros
        assert merged.min_size_micros
        assert merged.fee_rate_micros is not None
        assert merged.neg_risk is False
        assert len(merged.outcomes) == 2
