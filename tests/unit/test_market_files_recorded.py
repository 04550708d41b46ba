"""Recorded answers of the venue, where a folder of them is at hand (``LEDGER_TEST_DATA_DIR``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import BadInput, Code
from app.markets.files import ImportReport, read_markets

# file -> (market objects, tradable). Objects are counted as they stand in the files, one for each
# in a list, a line or an event; the five of the Fed event stand in two files and count twice.
FILES = {
    "ligengxin_btc_5m_updown_markets_2026-06-08.jsonl.gz": (292, 0),
    "nautilus_gamma_event.json": (2, 2),
    "nautilus_gamma_market.json": (1, 0),
    "nautilus_gamma_market_closed_binary_accepting_false.json": (1, 0),
    "nautilus_gamma_market_closed_binary_accepting_true.json": (1, 0),
    "nautilus_gamma_market_closed_nonbinary_legacy.json": (1, 0),
    "nautilus_gamma_market_closed_zero_zero_legacy.json": (1, 0),
    "nautilus_gamma_market_sports_market_map_handicap.json": (1, 0),
    "nautilus_gamma_market_sports_market_money_line.json": (1, 0),
    "nautilus_gamma_tags.json": (0, 0),
    "nautilus_search_response.json": (1, 1),
    "perryboer_100_active_markets_2025-11-04.json": (100, 99),
    "polyoxide_event_game_mlb_2026-10.json": (0, 0),
    "trebuchet_fed_june_2026_event.json": (5, 5),
    "trebuchet_fed_june_2026_search.json": (9, 5),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    named = os.environ.get("LEDGER_TEST_DATA_DIR")
    if not named:
        pytest.skip("LEDGER_TEST_DATA_DIR names no folder of recorded data")
    return Path(named) / "gamma-markets"


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, ImportReport]:
    return {p.name: read_markets(p) for p in sorted(folder.iterdir()) if ".json" in p.name}


def test_every_recorded_json_file_is_taken_with_its_count(reports: dict[str, ImportReport]) -> None:
    counts = {
        name: (report.objects_seen, sum(market.tradable for market in report.markets))
        for name, report in reports.items()
    }
    assert counts == FILES
    assert sum(report.objects_seen for report in reports.values()) == 416
    assert not any(report.unreadable or report.duplicates for report in reports.values())


def test_no_recorded_market_has_a_field_that_cannot_be_read(
    reports: dict[str, ImportReport],
) -> None:
    told = {
        reason
        for report in reports.values()
        for market in report.markets
        for reason in market.untradable_reasons
    }
    assert not {reason for reason in told if reason.startswith("BAD_")}


def test_recorded_markets_that_miss_something_say_what(reports: dict[str, ImportReport]) -> None:
    open_but_refused = {
        market.slug: market.untradable_reasons
        for report in reports.values()
        for market in report.markets
        if not market.closed and not market.tradable
    }
    assert open_but_refused == {
        "btc-updown-5m-1773307200": ("NO_FEES",),
        "will-monad-perform-an-airdrop-by-november-15": ("NO_END_DATE",),
    }
    (legacy,) = reports["nautilus_gamma_market_closed_nonbinary_legacy.json"].markets
    assert {"NOT_BINARY", "NO_TICK", "NO_MIN_SIZE", "NO_ORDERBOOK"} <= set(
        legacy.untradable_reasons
    )


def test_recorded_five_minute_windows_last_five_minutes(reports: dict[str, ImportReport]) -> None:
    markets = reports["ligengxin_btc_5m_updown_markets_2026-06-08.jsonl.gz"].markets
    for market in markets:
        assert market.slug
        assert market.window_start_ms
        assert market.window_end_ms
        assert market.window_start_ms == int(market.slug.rsplit("-", 1)[1]) * 1_000
        assert market.window_end_ms - market.window_start_ms == 300_000
        assert (market.fee_rate_micros, market.fee_exponent) == (70_000, 1)


def test_the_recorded_table_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"yongkangc_updown_markets\.csv.*CSV") as caught:
        read_markets(folder / "yongkangc_updown_markets.csv")
    assert caught.value.code is Code.BAD_FILE
