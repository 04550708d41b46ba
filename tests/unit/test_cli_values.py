"""What a person types is read exactly or refused."""

from __future__ import annotations

import pytest

from app.errors import BadInput, Code
from workers.cli.values import (
    is_order_number,
    is_venue_order_id,
    parse_count,
    parse_duration_ms,
    parse_instant_s,
    parse_scope,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1500ms", 1500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("2d", 172_800_000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, ms: int) -> None:
    assert parse_duration_ms(text, what="x") == ms


@pytest.mark.parametrize("text", ["30", "s", "1.5s", "-1s", "1 s", "1w", "", "9" * 40 + "s", "٣s"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_duration_ms(text, what="--valid-for")
    assert caught.value.code == Code.BAD_VALIDITY
    assert "--valid-for" in caught.value.wrong


def test_an_instant_is_unix_seconds_or_a_date_with_its_zone() -> None:
    assert parse_instant_s("1900000000", what="x") == 1_900_000_000
    assert parse_instant_s("2030-01-31T12:00:00Z", what="x") == 1_896_091_200
    assert parse_instant_s("2030-01-31T13:00:00+01:00", what="x") == 1_896_091_200


@pytest.mark.parametrize(
    "text", ["2030-01-31T12:00:00", "2030-01-31", "soon", "", "1e9", "2030-01-31T12:00:00.5Z"]
)
def test_a_date_that_could_mean_several_instants_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_instant_s(text, what="x")


def test_a_scope_is_global_or_a_kind_with_its_name() -> None:
    assert parse_scope("global") == ("global", None)
    assert parse_scope("group:tournament:iem") == ("group", "tournament:iem")


@pytest.mark.parametrize("text", ["", "global:", "global:x", "market", "market:", "wallet:x", ":x"])
def test_anything_else_is_no_scope(text: str) -> None:
    with pytest.raises(BadInput):
        parse_scope(text)


def test_a_count_lies_within_its_bounds() -> None:
    assert parse_count("6", what="x", least=0, most=600) == 6
    for text in ("601", "-1", "1.0", "six", "", "9" * 20):
        with pytest.raises(BadInput):
            parse_count(text, what="x", least=0, most=600)


def test_an_order_is_named_by_number_or_hash() -> None:
    assert is_order_number("17")
    assert not is_order_number("0x17")
    assert not is_order_number("9" * 19)
    assert is_venue_order_id("0x" + "aB" * 32)
    assert not is_venue_order_id("0x" + "a" * 63)
