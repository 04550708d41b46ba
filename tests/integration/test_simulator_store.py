"""The simulator's own store: a kill loses nothing that was answered, and a replay is the same venue."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.clock import SystemClock
from tests.support.cli import captured
from tests.support.simulator import Simulator, running_simulator
from tests.support.simulator_client import Trader
from tests.support.waiting import wait_until

START_MS = 1_800_000_000_000
EVERYTHING = ("state", "orders", "trades", "arrivals", "balances", "markets", "faults")


def whole(venue: Simulator) -> dict[str, Any]:
    """All that an auditor can see, but for what counts the process's own life."""
    seen = {view: venue.see(view) for view in EVERYTHING}
    for name in ("starts", "commands", "requests", "listeners"):
        del seen["state"][name]
    return seen


def lived_in(venue: Simulator) -> Trader:
    """A venue in which something of everything has happened."""
    market, trader = venue.market(), Trader(venue, 1, tokens={})
    venue.market(tick="0.001", neg_risk=True)
    venue.fault("appear_late", nth=3, ms=40_000)
    venue.fault("restarting", times=0, ppm=100_000, endpoint="POST /order")
    venue.fault("settle_fail", nth=2, after_ms=100)
    for price in ("0.45", "0.60", "0.46", "0.60", "0.47", "0.48"):
        try:
            trader.post(trader.sign(market.yes, "BUY", price, at_ms=START_MS))
        except httpx.TransportError:
            continue  # the one that appears late
    trader.ask("POST", "/v1/heartbeats", b'{"heartbeat_id":""}')
    venue.do("trade", token_id=market.yes, side="SELL", price="0.45", size="12")
    venue.advance(120)
    return trader


def test_a_killed_venue_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=START_MS) as venue:
        lived_in(venue).close()
        before = whole(venue)
        assert before["orders"]
        assert before["trades"]
        venue.kill()
        venue.restart()
        assert venue.ready["replayed"] > 20
        assert whole(venue) == before
        # what was under way goes on: the late order arrives, the heartbeat runs out
        venue.advance(60_000)
        after = venue.see("orders")
        assert len(after) == len(before["orders"]) + 1
        assert {one["status"] for one in after} == {"CANCELED", "MATCHED", "LIVE"}


def test_no_answered_order_is_lost_by_a_kill_amid_many(tmp_path: Path) -> None:
    """Four clients post as fast as they can while the process is killed again and again."""
    with running_simulator(tmp_path, rate_limits=False) as venue:
        market = venue.market()
        traders = [Trader(venue, number, collateral="1000000") for number in range(1, 5)]
        answered: list[str] = []
        unknown: list[str] = []
        stop = threading.Event()

        def post(trader: Trader) -> None:
            while not stop.is_set():
                order = trader.sign(market.yes)
                try:
                    answer = trader.post(order)
                except httpx.TransportError:
                    unknown.append(order.venue_order_id)
                    stop.wait(0.02)  # leaves the processor to the process that starts
                    continue
                assert answer.status_code == 200, answer.text
                answered.append(order.venue_order_id)

        threads = [threading.Thread(target=post, args=(one,)) for one in traders]
        for thread in threads:
            thread.start()
        for kills in range(1, 4):
            enough = 60 * kills
            wait_until(lambda: len(answered) >= enough, "orders were answered")  # noqa: B023
            venue.kill()
            venue.restart()
        stop.set()
        for thread in threads:
            thread.join()
        book = {one["id"]: one for one in venue.see("orders")}
        assert len(answered) >= 180
        assert [one for one in answered if one not in book] == []
        assert {book[one]["arrivals"]["accepted"] for one in answered} == {1}
        # those whose answer was lost are there or not, and never twice
        assert all(book[one]["arrivals"]["accepted"] == 1 for one in unknown if one in book)
        assert set(book) <= {*answered, *unknown}
        for trader in traders:
            trader.close()


def test_the_same_seed_and_script_make_the_same_venue(tmp_path: Path) -> None:
    def run(folder: str, seed: int) -> dict[str, Any]:
        (tmp_path / folder).mkdir()
        with running_simulator(tmp_path / folder, at_ms=START_MS, seed=seed) as venue:
            lived_in(venue).close()
            return whole(venue)

    first = run("a", 3)
    assert run("b", 3) == first
    other = run("c", 4)
    assert other["trades"] != first["trades"]


def journal(venue: Simulator) -> Path:
    return venue.folder / "simulator" / "venue.journal"


def test_a_torn_last_line_was_never_answered_and_is_cut_off(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=START_MS) as venue:
        lived_in(venue).close()
        before = whole(venue)
        venue.kill()
        with journal(venue).open("ab") as file:
            file.write(b'0badc0de {"t":"call","at":1800000000000,"ep":"POST /or')
        venue.restart()
        assert whole(venue) == before
        assert b"0badc0de" not in journal(venue).read_bytes()


def test_damage_in_the_middle_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=START_MS) as venue:
        lived_in(venue).close()
        venue.kill()
        lines = journal(venue).read_bytes().splitlines(keepends=True)
        lines[5] = lines[5].replace(b'"t"', b'"u"')
        journal(venue).write_bytes(b"".join(lines))
        done = captured(("simulator", "--data", str(journal(venue).parent), "--port", "0"))
    assert done.code == 2
    assert "is damaged at byte" in done.err
    assert journal(venue).read_bytes() == b"".join(lines)


def test_two_processes_do_not_share_a_store(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as venue:
        done = captured(("simulator", "--data", str(journal(venue).parent), "--port", "0"))
    assert (done.code, "another simulator has" in done.err) == (2, True)


def test_a_process_that_comes_back_is_in_post_only_mode(tmp_path: Path) -> None:
    with running_simulator(tmp_path, post_only_ms=120_000, at_ms=START_MS) as venue:
        market, trader = venue.market(), Trader(venue, 1)
        resting = trader.placed(market.yes)
        venue.kill()
        venue.restart()
        order, maker = trader.sign(market.yes), trader.sign(market.yes, post_only=True)
        assert trader.post(order).json()["code"] == "post_only_mode"
        assert trader.post(maker).json()["status"] == "live"
        assert trader.status(resting) == "LIVE"
        venue.advance(120_000)
        assert trader.post(order).json()["status"] == "live"
        trader.close()


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as venue:
        assert venue.process is not None
        assert venue.stop() == 0
        venue.restart()
        venue.do("stop")
        process = venue.process
        assert process is not None
        wait_until(lambda: process.poll() is not None, "the process has ended")
        assert (process.returncode, venue.log()) == (0, "")
        venue.kill()


def test_time_runs_by_itself_unless_it_stands(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as venue:
        now = SystemClock().now_ms()
        assert abs(venue.see("state")["at_ms"] - now) < 60_000
        stood = venue.do("clock", manual=True)["at_ms"]
        assert venue.see("state")["at_ms"] == stood
        assert venue.advance(5) == stood + 5


def test_a_journal_line_is_json_behind_its_checksum(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=START_MS) as venue:
        venue.market()
        lines = journal(venue).read_text().splitlines()
    commands = [json.loads(line[9:]) for line in lines]
    assert [one["t"] for one in commands] == ["started", "control", "control", "control"]
    assert {one["at"] for one in commands} == {START_MS}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_stops_it(tmp_path: Path, signum: signal.Signals) -> None:
    with running_simulator(tmp_path) as venue:
        process = venue.process
        assert process is not None
        process.send_signal(signum)
        assert process.wait(timeout=30) == 0
        venue.kill()
