"""What the demo orders from the simulated venue, and how it reads that venue's own book."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.clock import Ports, SeededRng
from app.markets.files import read_markets
from app.venue.simulator.faults import CATALOGUE, FaultPlan
from workers.demo.exposure import Cap, breaches
from workers.demo.mixture import ENDS_IN, LATE_MS, LEFT_OUT, SHUTS, by_chance, of_round
from workers.demo.script import ROUNDS
from workers.demo.simulated import gamma_object, moments_of, order_of
from workers.demo.stage import QUARANTINE_MS, choose_markets


def rounds(seed: int) -> list[str]:
    rng = SeededRng(seed)
    return [rule["name"] for n in range(ROUNDS) for rule in of_round(n, ROUNDS - 1, rng)]


def test_every_fault_of_the_catalogue_is_in_the_mixture_but_those_left_out() -> None:
    ended = {name for seed in range(20) for name in rounds(seed)}
    names = {rule["name"] for rule in by_chance()} | ended
    assert names == CATALOGUE.keys() - set(LEFT_OUT)
    assert {*ENDS_IN, *SHUTS} <= ended


def test_the_simulator_takes_every_rule() -> None:
    plan = FaultPlan(1)
    plan.add_all([*by_chance(), *(r for n in range(ROUNDS) for r in of_round(n, 7, SeededRng(1)))])
    assert all(rule.endpoint != "*" for rule in plan.rules.values())


def test_the_same_seed_chooses_the_same_faults() -> None:
    assert rounds(5) == rounds(5)
    assert len({tuple(rounds(seed)) for seed in range(20)}) > 1


def test_an_order_that_appears_late_does_so_within_the_quarantine() -> None:
    assert LATE_MS < QUARANTINE_MS


def test_a_worker_that_reads_the_simulated_markets_again_finds_what_is_stored(
    tmp_path: Path,
) -> None:
    markets = choose_markets(None, Ports.system().clock).markets
    file = tmp_path / "markets.json"
    file.write_text(json.dumps([gamma_object(one) for one in markets]))
    told = {one.condition_id: one for one in read_markets(file).markets}
    # Nobody trades by these, and the demo's windows have moved away from the hour of the match.
    aside = ("tags", "group_key", "game_start_ms", "raw_digest")
    for market in markets:
        found = told[market.condition_id]
        same = {name: getattr(market.record, name) for name in aside}
        assert replace(found, **same) == market.record


ROW: dict[str, Any] = {
    "id": "0x1",
    "asset_id": "111",
    "market": "0xab",
    "side": "BUY",
    "price": "0.4",
    "original_size": "10",
    "size_matched": "4",
    "order_type": "GTC",
    "status": "CANCELED_MARKET_RESOLVED",
    "arrivals": {"received": 2, "accepted": 1, "duplicated": 1, "refused": 0},
    "body": json.dumps({"order": {"salt": 77, "timestamp": "1700"}}),
    "history": [[2_000, "DELAYED", "0"], [2_100, "LIVE", "4"], [2_200, "CANCELED", "4"]],
}
TRADE: dict[str, Any] = {
    "trade_id": "t1",
    "order_id": "0x1",
    "token_id": "111",
    "side": "BUY",
    "size": "4",
    "status": "FAILED",
    "updated_ms": 2_300,
}


@pytest.mark.parametrize(
    ("raw", "kind", "matched", "status"),
    [
        ("CANCELED_MARKET_RESOLVED", "GTC", "4", "CANCELED"),
        ("CANCELED_EXPIRED_ORDER", "GTD", "0", "CANCELED_EXPIRED_ORDER"),
        ("DELAYED", "GTC", "0", "LIVE"),
        ("MATCHED", "FAK", "4", "CANCELED"),
        ("MATCHED", "FAK", "9.995", "MATCHED"),
        ("INVALID", "FOK", "0", "INVALID"),
    ],
)
def test_the_venues_words_are_read_as_the_judgement_knows_them(
    raw: str, kind: str, matched: str, status: str
) -> None:
    found = order_of({**ROW, "status": raw, "order_type": kind, "size_matched": matched})
    assert found.status == status
    assert (found.salt, found.times_received, found.received_at_ms) == ("77", 2, 2_000)


def test_what_stood_for_a_moment_only_is_held_against_the_cap() -> None:
    tokens = {"111": ("0xab", "0")}
    moments = moments_of([ROW], [TRADE])
    assert [one.at_ms for one in moments] == [2_000, 2_100, 2_200, 2_300]

    def found(shares: int) -> int:
        cap = Cap(shares * 1_000_000, shares * 1_000_000)
        return len(breaches(moments, (), {("main", "0xab"): cap}, tokens))

    assert found(10) == 0
    assert found(9) == 2  # of the outcome, and of both together
