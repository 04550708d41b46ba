"""When a fault strikes: the conditions of its rule, its chance, and that each fault is tested."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.venue.simulator.faults import CATALOGUE
from tests.support.simulator import ControlRefused, Market, Simulator, running_simulator
from tests.support.simulator_client import Trader

START_MS = 1_800_000_000_000
_numbers = itertools.count(1)


@pytest.fixture(scope="module", name="venue")
def venue_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    folder = tmp_path_factory.mktemp("simulator")
    with running_simulator(folder, at_ms=START_MS, rate_limits=False) as simulator:
        yield simulator
        assert simulator.log() == ""


@pytest.fixture(name="market")
def market_fixture(venue: Simulator) -> Market:
    return venue.market()


@pytest.fixture(name="trader")
def trader_fixture(venue: Simulator, market: Market) -> Iterator[Trader]:
    trader = Trader(venue, next(_numbers), tokens={market.yes: "100"})
    yield trader
    trader.close()
    venue.do("no_fault")


def strike(trader: Trader, name: str, **terms: Any) -> int:
    return trader.simulator.fault(name, account=trader.address, **terms)


def test_a_fault_strikes_the_nth_request_of_its_account_and_endpoint(
    trader: Trader, market: Market
) -> None:
    strike(trader, "restarting", endpoint="POST /order", nth=2)
    other = Trader(trader.simulator, next(_numbers))
    codes = []
    for who in (trader, other, trader, trader):
        who.cancel(trader.sign(market.yes))
        codes.append(who.post(who.sign(market.yes)).status_code)
    other.close()
    assert codes == [200, 200, 425, 200]


def test_a_fault_strikes_what_contains_a_text(trader: Trader, market: Market) -> None:
    strike(trader, "restarting", contains=market.no, times=0)
    codes = [trader.post(trader.sign(t)).status_code for t in (market.yes, market.no, market.yes)]
    assert codes == [200, 425, 200]


def test_chance_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def run(seed: int, folder: str) -> list[int]:
        (tmp_path / folder).mkdir()
        with running_simulator(tmp_path / folder, seed=seed, rate_limits=False) as venue:
            trader, market = Trader(venue, 1), venue.market()
            venue.fault("restarting", endpoint="POST /order", times=0, ppm=300_000)
            codes = [trader.post(trader.sign(market.yes)).status_code for _ in range(40)]
            trader.close()
            return codes

    first = run(7, "a")
    assert {200, 425} == set(first)
    assert run(7, "b") == first
    assert run(8, "c") != first


def test_a_mixture_strikes_by_chance(trader: Trader) -> None:
    trader.simulator.do("mixture", per_mille=20)
    rules = trader.simulator.see("faults")
    assert len(rules) > 20
    assert {one["times"] for one in rules} == {0}


def test_a_fault_that_does_not_exist_is_refused(venue: Simulator) -> None:
    with pytest.raises(ControlRefused, match="no fault is called 'gremlins'"):
        venue.fault("gremlins")
    with pytest.raises(ControlRefused, match="has no ms"):
        venue.fault("drop_before", ms=1)


def test_every_fault_of_the_catalogue_has_a_test() -> None:
    """By its name in quotes, in one of the simulator's test files."""
    folder = Path(__file__).parent
    text = "".join(path.read_text() for path in sorted(folder.glob("test_simulator_*.py")))
    assert [name for name in CATALOGUE if f'"{name}"' not in text] == []
