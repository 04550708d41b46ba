"""Whatever the bytes, the answer is a report or `BadInput`, and the two never mix."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import BadInput, Code
from app.markets.files import ImportReport, read_market_bytes, sample_path

EVENTS: list[dict[str, Any]] = json.loads(sample_path().read_text(encoding="utf-8"))
ONE: dict[str, Any] = {**EVENTS[8]["markets"][0], "events": [EVENTS[8] | {"markets": None}]}

NAMES = st.sampled_from(
    [
        "markets",
        "events",
        "data",
        "value",
        "raw",
        "conditionId",
        "condition_id",
        "tokens",
        "tags",
        "question",
        "outcomes",
        "clobTokenIds",
        "feeSchedule",
        "negRisk",
        "endDate",
        "eventMetadata",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["[]", "[[", "0x" + "1" * 64, "2035-03-01T00:00:00Z", "NaN", "1e999"])
)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=25,
)
BOUNDED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def attempt(data: bytes) -> ImportReport | None:
    try:
        return read_market_bytes(data, name="fuzz", max_bytes=1 << 20)
    except BadInput as refused:
        if refused.code is not Code.BAD_FILE:
            raise
        return None


def consistent(report: ImportReport) -> None:
    assert report.objects_seen == (len(report.markets) + report.duplicates + len(report.unreadable))
    for market in report.markets:
        row = market.to_row()
        # what Postgres refuses in jsonb: half a surrogate pair, and NUL
        text = json.dumps(row, ensure_ascii=False)
        text.encode("utf-8")
        assert "\\u0000" not in text
        if market.tradable:
            needed = ("tick_micros", "min_size_micros", "fee_rate_micros", "fee_exponent")
            assert all(type(row[name]) is int for name in (*needed, "window_end_ms"))
            assert type(row["neg_risk"]) is bool
            assert len(market.outcomes) == 2


@BOUNDED
@given(value=ANY_JSON)
def test_arbitrary_json_gives_a_report_or_a_refusal(value: object) -> None:
    report = attempt(json.dumps(value).encode())
    if report is not None:
        consistent(report)
    if isinstance(value, (dict, list)):
        assert report is not None


@BOUNDED
@given(data=st.binary(max_size=300), tail=st.binary(max_size=20), cut=st.integers(0, 300))
def test_arbitrary_bytes_give_a_report_or_a_refusal(data: bytes, tail: bytes, cut: int) -> None:
    for candidate in (data, gzip.compress(data) + tail, gzip.compress(data)[:cut], b"{" + data):
        report = attempt(candidate)
        if report is not None:
            consistent(report)


@BOUNDED
@given(changes=st.dictionaries(st.sampled_from(sorted(ONE)), ANY_JSON, max_size=4))
def test_any_field_may_hold_anything(changes: dict[str, object]) -> None:
    report = attempt(json.dumps({**ONE, **changes}).encode())
    assert report is not None
    assert report.objects_seen <= 1
    consistent(report)


@BOUNDED
@given(changes=st.dictionaries(st.sampled_from(sorted(EVENTS[8])), ANY_JSON, max_size=3))
def test_any_field_of_an_event_may_hold_anything(changes: dict[str, object]) -> None:
    report = attempt(json.dumps({**EVENTS[8], **changes}).encode())
    assert report is not None
    consistent(report)
