"""A Gamma object becomes a record, and what it lacks becomes a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from app.markets.gamma import Unusable, parse_market
from app.markets.model import MarketRecord, OutcomeRecord, rows_of

UP, DOWN = "7" * 70, "8" * 70
CONDITION = "0x" + "ab" * 32


def market(**changes: object) -> dict[str, object]:
    """A complete market; a change to ``...`` takes the field away."""
    whole: dict[str, object] = {
        "conditionId": CONDITION,
        "questionID": "0x" + "cd" * 32,
        "slug": "btc-updown-15m-2056370400",
        "question": "Bitcoin Up or Down?",
        "outcomes": '["Up", "Down"]',
        "clobTokenIds": json.dumps([UP, DOWN]),
        "orderPriceMinTickSize": "0.01",
        "orderMinSize": 5,
        "feesEnabled": True,
        "feeSchedule": {"exponent": 1, "rate": "0.07", "takerOnly": True, "rebateRate": "0.2"},
        "negRisk": False,
        "enableOrderBook": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "archived": False,
        "eventStartTime": "2035-03-01T14:00:00Z",
        "endDate": "2035-03-01T14:15:00Z",
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def read(parent: Mapping[str, object] | None = None, /, **changes: object) -> MarketRecord:
    record = parse_market(market(**changes), parent)
    assert isinstance(record, MarketRecord)
    return record


def reasons(parent: Mapping[str, object] | None = None, /, **changes: object) -> set[str]:
    record = read(parent, **changes)
    assert record.tradable is not bool(record.untradable_reasons)
    return set(record.untradable_reasons)


def test_a_complete_market_is_tradable_and_exact() -> None:
    record = read()
    assert record.tradable
    assert record.condition_id == CONDITION
    assert record.outcomes == (OutcomeRecord(0, "Up", UP), OutcomeRecord(1, "Down", DOWN))
    assert (record.tick_micros, record.min_size_micros) == (10_000, 5_000_000)
    assert (record.fee_rate_micros, record.fee_exponent, record.fee_taker_only) == (70_000, 1, True)
    assert (record.neg_risk, record.neg_risk_augmented) == (False, False)
    assert record.protocol_version == "v1"
    assert record.window_start_ms == 2_056_370_400_000
    assert record.window_end_ms == 2_056_371_300_000


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("clobTokenIds", "NO_TOKENS"),
        ("outcomes", "NOT_BINARY"),
        ("orderPriceMinTickSize", "NO_TICK"),
        ("orderMinSize", "NO_MIN_SIZE"),
        ("feeSchedule", "NO_FEES"),
        ("negRisk", "NEG_RISK_UNKNOWN"),
        ("enableOrderBook", "NO_ORDERBOOK"),
        ("acceptingOrders", "NOT_ACCEPTING"),
        ("active", "NOT_ACTIVE"),
        ("closed", "CLOSED_UNKNOWN"),
        ("endDate", "NO_END_DATE"),
    ],
)
@pytest.mark.parametrize("missing", [..., None, ""])
def test_a_market_that_lacks_what_trading_needs_says_which(
    field: str, reason: str, missing: object
) -> None:
    assert reasons(**{field: missing}) == {reason}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"closed": True}, "CLOSED"),
        ({"active": False}, "NOT_ACTIVE"),
        ({"archived": True}, "ARCHIVED"),
        ({"acceptingOrders": False}, "NOT_ACCEPTING"),
        ({"enableOrderBook": "false"}, "NO_ORDERBOOK"),
        ({"umaResolutionStatus": "resolved"}, "RESOLVED"),
        ({"orderPriceMinTickSize": "0.02"}, "BAD_TICK"),
        ({"orderPriceMinTickSize": 0}, "BAD_TICK"),
        ({"orderMinSize": 0}, "BAD_MIN_SIZE"),
        ({"orderMinSize": -5}, "BAD_MIN_SIZE"),
        ({"marketType": "scalar"}, "NOT_BINARY"),
        ({"outcomes": '["A", "B", "C"]'}, "NOT_BINARY"),
        ({"negRiskOther": True}, "PLACEHOLDER_OUTCOME"),
    ],
)
def test_a_market_in_the_wrong_state_says_which(changes: dict[str, object], reason: str) -> None:
    assert reasons(**changes) == {reason}


@pytest.mark.parametrize("tick", ["0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001"])
def test_every_tick_of_the_venue_is_taken_exactly(tick: str) -> None:
    record = read(orderPriceMinTickSize=tick)
    assert record.tradable
    assert record.tick_micros == int(tick[2:].ljust(6, "0"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clobTokenIds", "not json"),
        ("clobTokenIds", "[" * 100_000),
        ("clobTokenIds", json.dumps([UP, UP])),
        ("clobTokenIds", json.dumps([UP])),
        ("clobTokenIds", ["0x1f", DOWN]),
        ("clobTokenIds", [str(1 << 256), DOWN]),
        ("clobTokenIds", "[1.5e76, 2]"),
        ("clobTokenIds", [True, DOWN]),
        ("outcomes", '["Yes", "Yes"]'),
        ("outcomes", '["Yes", ""]'),
        ("outcomes", {"a": 1}),
        ("outcomes", ["Yes", "\x1b[2J"]),
        ("orderPriceMinTickSize", "NaN"),
        ("orderPriceMinTickSize", "1e-2"),
        ("orderPriceMinTickSize", "0.0000001"),
        ("orderPriceMinTickSize", True),
        ("orderMinSize", [5]),
        ("orderMinSize", "9" * 40),
        ("feesEnabled", 1),
        ("feeSchedule", "free"),
        ("negRisk", "maybe"),
        ("closed", "soon"),
        ("active", 1),
        ("endDate", "tomorrow"),
        ("endDate", "2035-03-01T14:15:00"),
        ("endDate", 2_056_371_300),
        ("endDate", "0001-01-01T00:00:00+23:00"),
        ("secondsDelay", "-3"),
        ("secondsDelay", 0.5),
        ("question", 7),
        ("question", "\ud800"),
        ("slug", "x" * 5_000),
        ("tags", "many"),
        ("events", [None]),
        ("version", "v3"),
    ],
)
def test_a_field_of_a_wrong_type_makes_the_market_untradable_by_its_name(
    field: str, value: object
) -> None:
    assert reasons(**{field: value}) == {f"BAD_FIELD:{field}"}


@pytest.mark.parametrize("part", ["rate", "exponent", "takerOnly"])
def test_a_bad_part_of_the_fee_schedule_is_named(part: str) -> None:
    schedule = {"exponent": 1, "rate": "0.07", "takerOnly": True, part: {}}
    assert reasons(feeSchedule=schedule) == {f"BAD_FIELD:feeSchedule.{part}"}


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (..., Unusable.NO_CONDITION_ID),
        (None, Unusable.NO_CONDITION_ID),
        ("", Unusable.NO_CONDITION_ID),
        (5, Unusable.BAD_CONDITION_ID),
        ("0x12", Unusable.BAD_CONDITION_ID),
        ("ab" * 32, Unusable.BAD_CONDITION_ID),
        ("0x" + "zz" * 32, Unusable.BAD_CONDITION_ID),
    ],
)
def test_an_object_that_nothing_identifies_gives_no_record(value: object, answer: Unusable) -> None:
    assert parse_market(market(conditionId=value)) is answer


def test_ids_are_lower_case_and_a_structural_condition_is_padded() -> None:
    assert read(conditionId="0x" + "AB" * 32).condition_id == CONDITION
    assert read(conditionId="0x01" + "EF" * 30).condition_id == "0x01" + "ef" * 30 + "00"


def test_lists_and_numbers_are_read_whether_text_or_not() -> None:
    plain = read(outcomes=["Up", "Down"], clobTokenIds=[int(UP), int(DOWN)], orderMinSize="5.0")
    assert plain.outcomes == read().outcomes
    assert plain.min_size_micros == 5_000_000


def test_a_resting_start_comes_from_the_match_and_never_from_the_listing() -> None:
    listed = read(eventStartTime=..., startDate="2035-02-01T00:00:00Z")
    assert listed.window_start_ms is None
    match = read(eventStartTime=..., gameStartTime="2035-03-01 14:00:00+00")
    assert match.window_start_ms == match.game_start_ms == 2_056_370_400_000
    event = read({"id": 1, "startTime": "2035-03-01T14:00:00.5Z"}, eventStartTime=...)
    assert event.window_start_ms == 2_056_370_400_500


def test_a_start_at_the_end_is_no_window() -> None:
    record = read(eventStartTime=..., gameStartTime="2035-03-01 14:15:00+00")
    assert record.window_start_ms is None
    assert record.game_start_ms == record.window_end_ms == 2_056_371_300_000
    assert record.tradable


def test_the_end_of_the_event_never_stands_in_for_the_end_of_the_market() -> None:
    parent = {"id": "9", "endDate": "2036-01-01T00:00:00Z"}
    assert reasons(parent, endDate=..., endDateIso="2035-03-01") == {"NO_END_DATE"}


def test_protocol_v2_uses_position_ids_and_checks_their_space_and_order() -> None:
    ids = [str((1 << 248) + (77 << 104) + side) for side in (0, 1)]
    record = read(version="v2", positionIds=ids)
    assert record.tradable
    assert record.protocol_version == "v2"
    assert [o.token_id for o in record.outcomes] == ids
    assert reasons({"id": 1, "version": "v2"}, positionIds=ids) == set()
    assert reasons(version="v2") == {"NO_TOKENS"}
    assert reasons(version="v2", positionIds=ids[::-1]) == {"PROTOCOL_MISMATCH"}
    assert reasons(version="v2", positionIds=[UP, DOWN]) == {"PROTOCOL_MISMATCH"}
    assert reasons(clobTokenIds=ids) == {"PROTOCOL_MISMATCH"}


def test_event_data_is_applied_from_the_parent_and_from_inside() -> None:
    event = {
        "id": 45_027,
        "slug": "a-match",
        "title": "A match",
        "eventMetadata": {"league": "Midwinter Masters!", "tournament": "Playoffs"},
        "tags": [{"id": "1", "label": "Esports", "slug": "esports"}, {"label": "Dota 2"}],
    }
    for record in (read(event), read(events=[event])):
        assert (record.event_id, record.event_slug, record.event_title) == (
            "45027",
            "a-match",
            "A match",
        )
        assert record.group_key == "tournament:midwinter-masters"
        assert record.tags == ("esports", "Dota 2")
    assert read({"id": "7"}).group_key == "event:7"
    assert read().group_key is None


def test_a_state_that_is_not_known_reads_as_the_closed_side() -> None:
    record = read(closed=..., active=..., acceptingOrders=...)
    assert (record.closed, record.active, record.accepting_orders) == (True, False, False)


def test_a_closed_event_closes_its_markets() -> None:
    assert reasons({"id": 1, "closed": True}) == {"EVENT_CLOSED"}


def test_a_bad_field_of_the_event_is_named_as_the_events() -> None:
    assert reasons({"id": 1, "title": 5}) == {"BAD_FIELD:event.title"}
    assert reasons(events=[{"id": 1, "closed": "?"}]) == {"BAD_FIELD:events[0].closed"}


def test_neg_risk_of_which_two_opinions_exist_is_not_traded() -> None:
    assert reasons({"id": 1, "negRisk": True}) == {"NEG_RISK_CONFLICT"}
    assert read({"id": 1, "negRisk": True}).neg_risk is None
    borrowed = read({"id": 1, "negRisk": True, "negRiskAugmented": False}, negRisk=...)
    assert borrowed.tradable
    assert borrowed.neg_risk is True


def test_neg_risk_without_word_of_augmentation_is_not_traded() -> None:
    assert reasons({"id": 1, "negRisk": True}, negRisk=True) == {"AUGMENTED_UNKNOWN"}


@pytest.mark.parametrize("name", ["Other", "other", "Another team", "Person B", "Company AA", ...])
def test_a_placeholder_of_an_augmented_event_is_not_traded(name: object) -> None:
    event = {"id": 1, "negRisk": True, "negRiskAugmented": True}
    assert reasons(event, negRisk=True, groupItemTitle=name) == {"PLACEHOLDER_OUTCOME"}


@pytest.mark.parametrize("name", ["Ada Brandt", "New York J", "T1", "25 bps decrease"])
def test_a_named_outcome_of_an_augmented_event_is_traded(name: str) -> None:
    event = {"id": 1, "negRisk": True, "negRiskAugmented": True}
    record = read(event, negRisk=True, groupItemTitle=name)
    assert record.tradable
    assert record.neg_risk_augmented


def test_a_row_is_json_without_floats_and_holds_all_that_trading_needs() -> None:
    def flat(value: object) -> list[object]:
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in flat(item)]
        if isinstance(value, list):
            return [leaf for item in value for leaf in flat(item)]
        return [value]

    row = read(secondsDelay="3").to_row()
    assert json.loads(json.dumps(row)) == row
    assert all(leaf is None or isinstance(leaf, (str, int)) for leaf in flat(row))
    assert row["tradable"] is True
    assert row["untradable_reasons"] == []
    assert row["outcomes"] == [
        {"index": 0, "label": "Up", "token_id": UP},
        {"index": 1, "label": "Down", "token_id": DOWN},
    ]
    fields = set(MarketRecord.__dataclass_fields__)
    assert set(row) == fields | {"tradable"}


def test_rows_come_sorted_so_that_two_imports_lock_in_one_order() -> None:
    records = [read(conditionId=f"0x{i:064x}") for i in (3, 1, 2)]
    assert [row["condition_id"] for row in rows_of(records)] == [f"0x{i:064x}" for i in (1, 2, 3)]


def test_the_digest_changes_with_any_field_and_not_with_their_order() -> None:
    one = read().raw_digest
    turned = parse_market(dict(reversed(market().items())))
    assert isinstance(turned, MarketRecord)
    assert turned.raw_digest == one
    assert read(description="new words").raw_digest != one
