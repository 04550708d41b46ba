"""The doctor and its live test over real sockets, against the simulated venue in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.clock import Ports
from app.config import Settings
from app.errors import BadInput
from app.secrets.environment import EnvironmentSource
from app.venue.interface import Accepted, OrderType, Rejected, Side
from app.venue.polymarket.answers.cancels import cancel_outcomes
from app.venue.polymarket.answers.outcomes import place_outcomes
from app.venue.polymarket.asking import Asker
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.order import SignedOrder, build_order
from app.venue.polymarket.signing import SignatureType, Signer
from app.venue.polymarket.wallet import wallets_of
from app.venue.polymarket.wire import Endpoint
from tests.support.simulator import Market, Simulator, running_simulator
from workers.doctor import keys
from workers.doctor.live import Attempt, LiveTest, Report, Stored
from workers.doctor.live_desk import find_order
from workers.doctor.live_plan import LiveOrder, Planned, Step
from workers.doctor.run import asking, look_around

KEY = "0x" + "5eed" * 16
SIGNER = Signer.from_key(KEY)
WALLET = {kind: one for one, kind in wallets_of(SIGNER.address).items()}[SignatureType.POLY_1271]
SECRET = base64.urlsafe_b64encode(b"a secret of thirty-two bytes ...").decode()
OWNER = "0a0a0a0a-0b0b-4c0c-8d0d-0e0e0e0e0e0e"
API = {"key_id": OWNER, "secret": SECRET, "passphrase": "a-passphrase"}


@pytest.fixture(name="venue")
def venue_fixture(tmp_path: Path) -> Iterator[Simulator]:
    with running_simulator(tmp_path) as simulator:
        simulator.account(SIGNER.address, wallet=WALLET, signature_type=3, key=API)
        yield simulator


def given(venue: Simulator, **changes: Any) -> Settings:
    named = venue.environment() | {"LEDGER_POLYMARKET_SITE_URL": venue.url}
    options: dict[str, Any] = {name[7:].lower(): value for name, value in named.items()}
    options |= {"venue": "polymarket", "funder": WALLET, "signature_type": 3, "private_key": KEY}
    options |= {"api_key": OWNER, "api_secret": SECRET, "api_passphrase": "a-passphrase"}
    return Settings(_env_file=None, **options | changes)


def looked_at(settings: Settings) -> dict[str, str]:
    return {one.name: one.result for one in look_around(settings, None)}


# --- the checks ------------------------------------------------------------------------------------


def test_every_check_of_a_healthy_venue_is_fine(venue: Simulator) -> None:
    found = looked_at(given(venue))
    assert set(found.values()) <= {"ok", "skipped"}, found
    skipped = {name for name, result in found.items() if result == "skipped"}
    # Without a database and its markets, and away from the official addresses.
    database = {"clock, database", "account", "venue mode", "books", "market channel"}
    assert skipped == database | {"approvals"}


def test_what_is_wrong_at_the_venue_is_found(venue: Simulator) -> None:
    venue.do("geoblock", blocked=True, country="XX")
    venue.do("account", address=SIGNER.address, closed_only=True)
    found = looked_at(given(venue))
    assert (found["geoblock"], found["closed only"]) == ("fail", "fail")


def test_a_key_of_somebody_else_is_found(venue: Simulator) -> None:
    found = looked_at(given(venue, api_passphrase="another"))
    assert found["API key"] == "fail"
    assert found["collateral"] == "skipped"


def test_a_venue_that_is_gone_is_found_in_time(venue: Simulator) -> None:
    settings = given(venue, request_timeout_ms=300)
    venue.kill()
    found = looked_at(settings)
    assert (found["order book"], found["user channel"]) == ("fail", "fail")


# --- the API key -----------------------------------------------------------------------------------


def test_an_api_key_is_made_with_consent_alone_and_lands_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "venue").mkdir()
    with running_simulator(tmp_path / "venue") as venue:
        settings = given(venue, api_key=None, api_secret=None, api_passphrase=None)
        path = tmp_path / "keys.env"
        with pytest.raises(BadInput, match="has no API key with nonce 0"):
            keys.derive(settings, str(path))
        assert not path.exists()
        made = keys.derive(settings, str(path), make=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = EnvironmentSource(Settings(_env_file=path, private_key=KEY)).read()
        assert found.current.credentials.key_id == made
        again = tmp_path / "again.env"
        assert keys.derive(settings, str(again)) == made
        assert again.read_text() == path.read_text()


# --- the live test ---------------------------------------------------------------------------------


class BareDesk:
    """A `Desk` without a ledger: signs and posts by itself, and keeps what a ledger would keep."""

    def __init__(self, asker: Asker, order: LiveOrder) -> None:
        self._ask = asker
        self._order = order
        self._attempts: list[Attempt] = []
        self._signed: SignedOrder | None = None
        self._early: str | None = None
        self._state = "LIVE"

    async def place(self, order: LiveOrder, *, cancel_first: bool) -> int:
        now_ms = Ports.system().clock.now_ms()
        self._signed = build_order(
            SIGNER,
            token_id=order.token_id,
            side=Side.BUY,
            price_micros=order.price_micros,
            size_micros=order.size_micros,
            tick_micros=order.price_micros,
            neg_risk=order.exchange == "neg-risk",
            order_type=OrderType.GTD,
            salt=7,
            timestamp_ms=now_ms,
            maker=WALLET,
            signer_address=WALLET,
            signature_type=SignatureType.POLY_1271,
            expiration_s=order.expires_at_s,
            post_only=True,
        )
        if cancel_first:
            self._early = (await self._cancel()).text
        body = with_owner(self._signed.body_template, OWNER)
        answer = await self._ask(Endpoint.POST_ORDER, body=body, signed=True)
        (outcome,) = place_outcomes(answer, [self._signed.venue_order_id])
        if isinstance(outcome, Rejected):
            self._state = "REJECTED"
        kind = "accepted" if isinstance(outcome, Accepted) else "unknown"
        self._attempts.append(Attempt(kind, type(outcome).__name__, OWNER, answer.text))
        return 1

    async def find(self) -> int | None:
        return 1 if self._signed is not None else None

    async def stored(self, order_id: int) -> Stored:
        assert self._signed is not None
        ended = self._state != "LIVE"
        return Stored(
            self._state,
            ended,
            self._signed.venue_order_id,
            self._signed.body_template,
            tuple(self._attempts),
        )

    async def cancel(self, order_id: int) -> str:
        answer = await self._cancel()
        assert self._signed is not None
        (outcome,) = cancel_outcomes(answer, [self._signed.venue_order_id])
        if type(outcome).__name__ == "CancelAccepted":
            self._state = "CANCELLED"
        return self._state

    async def _cancel(self) -> Any:
        assert self._signed is not None
        body = b'{"orderID":"' + self._signed.venue_order_id.encode() + b'"}'
        return await self._ask(Endpoint.DELETE_ORDER, body=body, signed=True)

    def early_cancel(self) -> str | None:
        return self._early


class Terms:
    """The ledger's rows of one market."""

    def __init__(self, market: Market) -> None:
        self._market = market

    async def rows(self, _query: str, *_arguments: Any) -> list[dict[str, Any]]:
        names = ("condition_id", "outcome", "label", "token_id", "tick_micros", "min_size_micros")
        return [
            dict(
                zip(
                    names,
                    (self._market.condition_id, n, label, token, 10_000, 5_000_000),
                    strict=True,
                )
            )
            | {"neg_risk": False}
            for n, (label, token) in enumerate((("Yes", self._market.yes), ("No", self._market.no)))
        ]


def live(venue: Simulator, market: Market) -> tuple[Report, list[Step]]:
    """The whole test with everything consented to."""
    settings, asked = given(venue), list[Step]()

    async def consent(step: Planned) -> bool:
        asked.append(step.step)
        return True

    async def run() -> Report:
        ports = Ports.system()
        secrets = EnvironmentSource(settings).read()
        async with asking(settings, ports, secrets) as asker:
            now_s = ports.clock.now_ms() // 1000
            order = await find_order(Terms(market), asker, None, now_s)
            assert isinstance(order, LiveOrder), order
            desk = BareDesk(asker, order)
            test = LiveTest(desk, asker, ports, consent, signature_type=3, tell=lambda _: None)
            return await test.run(order)

    return asyncio.run(run()), asked


def meaning(report: Report, question: int) -> str:
    return " | ".join(one.means for one in report.answers if one.question == question)


def test_the_live_test_runs_against_the_simulated_venue(venue: Simulator) -> None:
    report, asked = live(venue, venue.market())
    assert report.verified, report.last_words
    assert set(report.steps.values()) == {"done"}
    assert report.alarms() == []
    assert asked == [Step.PLACE, Step.REPOST_LIVE, Step.REPOST_CANCELLED]
    assert meaning(report, 1) == "the id is the hash, as assumed"
    assert meaning(report, 2) == " | ".join(["Duplicated, as assumed: seen, then read"] * 2)
    assert "not remembered" in meaning(report, 6)
    assert "decimal shares" in meaning(report, 4)
    kept = venue.order(report.venue_order_id)
    assert kept is not None
    assert kept["status"] == "CANCELED"
    assert len(venue.see("orders")) == 1


def test_a_read_that_lags_behind_is_measured(venue: Simulator) -> None:
    venue.fault("null_answer", times=5)
    report, _ = live(venue, venue.market())
    shown = {one.about: one.seen for one in report.answers if one.question == 3}
    by_id, by_list = (
        int(shown[f"{how}, after the post"].split()[2]) for how in ("by id", "by list with id")
    )
    assert by_id > by_list
    assert shown["before it was shown"] == "by id: null"
    assert report.verified


def test_a_cancel_that_was_only_said_is_seen_and_made_good(venue: Simulator) -> None:
    venue.fault("cancel_phantom", nth=2)
    report, _ = live(venue, venue.market())
    told = [one for one in report.answers if one.about == "by id, after the cancel"]
    assert [one.means for one in told] == ["still alive when read: cancels need a read"]
    assert report.verified, report.last_words
    kept = venue.order(report.venue_order_id)
    assert kept is not None
    assert kept["status"] == "CANCELED"
