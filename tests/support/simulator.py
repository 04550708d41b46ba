"""Starts the simulated venue as a process of its own, for tests that need real sockets."""

from __future__ import annotations

import json
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.venue.polymarket.auth import ApiCredentials
from tests.support.forking import Child, starter
from tests.support.waiting import wait_until

USUAL = {"mine_after_ms": 50, "confirm_after_ms": 50, "post_only_ms": 0}
"""Settings of tests: quick settlement, and no post-only minutes after a restart."""


class ControlRefused(AssertionError):
    """The control endpoint did not do what was asked."""


@dataclass
class Simulator:
    """One venue over its process's lives. Addresses stay the same over a restart."""

    folder: Path
    settings: dict[str, int | bool] = field(default_factory=dict)
    tls: bool = False
    at_ms: int | None = None
    ready: dict[str, Any] = field(default_factory=dict)
    process: Child | None = None
    _http: httpx.Client | None = None

    # --- the process ---------------------------------------------------------------------------

    def start(self) -> Simulator:
        """Start it, and wait for its ready line. On a free port first, on the same ever after."""
        arguments = ["simulator", "--data", str(self.folder / "simulator")]
        arguments += ["--port", str(self.ready.get("port", 0))]
        arguments += ["--control-port", str(self.ready.get("control_port", 0))]
        if self.tls:
            arguments += ["--tls-port", str(self.ready.get("tls_port", 0))]
        if self.at_ms is not None:
            arguments += ["--at", str(self.at_ms)]
        for name, value in {**USUAL, **self.settings}.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["--set", f"{name}={text}"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LEDGER_")}
        log = self.folder / "simulator.log"
        self.process = starter().start(
            "command", arguments, env=environment, cwd=self.folder, log=log, piped=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"no ready line:\n{self.log()}"
        self.ready = json.loads(line)
        return self

    def stop(self) -> int:
        """End it in order; its exit code."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        return self._ended(process)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        process = self._running()
        process.kill()
        self._ended(process)

    def restart(self) -> Simulator:
        """Another process on the same store and ports."""
        return self.start()

    def _running(self) -> Child:
        assert self.process is not None, "the simulator is not running"
        return self.process

    def _ended(self, process: Child) -> int:
        code = process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()
        self.process = None
        if self._http is not None:
            self._http.close()
            self._http = None
        return code

    def log(self) -> str:
        """What it wrote to standard error."""
        path = self.folder / "simulator.log"
        return path.read_text() if path.exists() else ""

    # --- addresses -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return str(self.ready["clob_url"])

    @property
    def tls_url(self) -> str:
        return str(self.ready["tls_url"])

    @property
    def ca_path(self) -> str:
        """The certificate authority that its TLS port's certificate is of."""
        return str(self.ready["ca_path"])

    def environment(self) -> dict[str, str]:
        """The settings that point the ledger at it."""
        return {
            "LEDGER_POLYMARKET_CLOB_URL": self.url,
            "LEDGER_POLYMARKET_WS_URL": str(self.ready["user_ws_url"]),
            "LEDGER_POLYMARKET_MARKET_WS_URL": str(self.ready["market_ws_url"]),
            "LEDGER_POLYMARKET_GAMMA_URL": str(self.ready["gamma_url"]),
            "LEDGER_POLYMARKET_DATA_URL": str(self.ready["data_url"]),
        }

    # --- control -------------------------------------------------------------------------------

    @property
    def _control(self) -> httpx.Client:
        if self._http is None:
            base = str(self.ready["control_url"])
            self._http = httpx.Client(base_url=base, timeout=30, verify=no_authorities())
        return self._http

    def do(self, deed: str, **arguments: Any) -> Any:
        """Carry out a deed: see ``app/venue/simulator/control.py``."""
        answer = self._control.post(f"/{deed}", json=arguments)
        if answer.status_code != 200:
            raise ControlRefused(f"{deed}: {answer.text}")
        return answer.json()

    def see(self, view: str, **query: str) -> Any:
        """The venue's own book: state, orders, trades, arrivals, balances, markets, faults."""
        answer = self._control.get(f"/{view}", params=query)
        if answer.status_code != 200:
            raise ControlRefused(f"{view}: {answer.text}")
        return answer.json()

    def market(self, **terms: Any) -> Market:
        """One made-up market, with 1,000 shares a side at 0.40 and 0.60 in both books."""
        found = self.do("markets", made_up={"count": 1, **terms})[0]
        market = Market(found["condition_id"], *found["tokens"])
        for token in (market.yes, market.no):
            self.do("book", token_id=token, bids=[["0.40", "1000"]], asks=[["0.60", "1000"]])
        return market

    def account(self, address: str, **more: Any) -> ApiCredentials:
        """An account with 1,000 of collateral (unless told otherwise), and its API key."""
        return ApiCredentials(**self.api_key(address, **more))

    def api_key(self, address: str, **more: Any) -> dict[str, str]:
        """The same, as ``key_id``, ``secret`` and ``passphrase``."""
        terms = {"collateral": "1000", "make_key": True, **more}
        key: dict[str, str] = self.do("account", address=address, **terms)["key"]
        return key

    def fault(self, name: str, **terms: Any) -> int:
        """Order a fault: see ``app/venue/simulator/faults/catalogue.py``. Its number."""
        number: int = self.do("fault", faults=[{"name": name, **terms}])[0]
        return number

    def advance(self, ms: int) -> int:
        """Move the venue's clock; its time afterwards."""
        at_ms: int = self.do("clock", advance_ms=ms)["at_ms"]
        return at_ms

    def order(self, order_id: str) -> dict[str, Any] | None:
        """One order of the venue's own book."""
        found = [one for one in self.see("orders") if one["id"] == order_id]
        return found[0] if found else None

    def until_order(self, order_id: str, status: str) -> dict[str, Any]:
        """The order once the venue shows it in that status."""

        def there() -> dict[str, Any] | None:
            found = self.order(order_id)
            return found if found is not None and found["status"] == status else None

        found = wait_until(there, f"order {order_id} is {status}")
        assert found is not None
        return found


@dataclass(frozen=True)
class Market:
    """A binary market of the simulator."""

    condition_id: str
    yes: str
    no: str


def no_authorities() -> ssl.SSLContext:
    """For clients that speak plain HTTP: reading the system's certificates takes longer than a test."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def running_simulator(
    folder: Path, *, tls: int | bool = False, at_ms: int | None = None, **settings: int | bool
) -> Iterator[Simulator]:
    """A simulator for as long as the block runs; ended by its id, whatever happens.

    ``at_ms``: its clock stands there and moves by `Simulator.advance` alone.
    """
    simulator = Simulator(folder, settings, tls=bool(tls), at_ms=at_ms).start()
    try:
        yield simulator
    finally:
        if simulator.process is not None:
            simulator.kill()


@pytest.fixture(name="simulator")
def simulator_fixture(tmp_path: Path) -> Iterator[Simulator]:
    """A fresh venue for one test."""
    with running_simulator(tmp_path) as simulator:
        yield simulator
