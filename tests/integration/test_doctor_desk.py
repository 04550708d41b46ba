"""The live test through the real ledger and a real worker, over the paper venue behind the HTTP port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.clock import Ports
from app.config import Settings
from app.errors import Refused
from app.money import format_micros
from app.venue.interface import Accepted, CancelAccepted, Found, PlaceRequest, Seen, VenueOrder
from app.venue.polymarket.wire import Endpoint, Exchange
from tests.support.life import SHARE, market_row, token
from tests.support.polymarket import exchange
from tests.support.worker import SETTINGS, Rig, rig_fixture  # noqa: F401
from workers.doctor.live import LiveTest, Report
from workers.doctor.live_desk import LedgerDesk, working
from workers.doctor.live_plan import LIVES_S, LiveOrder, Planned, Step
from workers.worker.context import Context


class PaperHttp:
    """The venue's REST interface over the paper venue, as far as the live test asks."""

    def __init__(self, context: Context) -> None:
        self._venue = context.venue
        self.posts = 0
        self.id = ""
        """The order whose bytes are posted again: the paper venue is told it beside the bytes."""

    async def __call__(self, endpoint: Endpoint, **how: Any) -> Exchange:
        if endpoint is Endpoint.GET_ORDER:
            row = await self._row(how["path"].rsplit("/", 1)[1])
            return exchange(endpoint, "null" if row is None else row)
        if endpoint is Endpoint.GET_ORDERS:
            row = await self._row(how["query"]["id"])
            rows = [] if row is None else [row]
            return exchange(endpoint, {"data": rows, "next_cursor": "LTE="})
        if endpoint is Endpoint.DELETE_ORDER:
            one = json.loads(how["body"])["orderID"]
            (told,) = await self._venue.cancel("main", [one])
            done = [one] if isinstance(told, CancelAccepted) else []
            return exchange(endpoint, {"canceled": done, "not_canceled": {}})
        assert endpoint is Endpoint.POST_ORDER
        return await self._post(endpoint, how["body"])

    async def _row(self, venue_order_id: str) -> dict[str, Any] | None:
        found = await self._venue.order("main", venue_order_id)
        if not isinstance(found, Found):
            return None
        order: VenueOrder = found.value
        return {
            "id": venue_order_id,
            "status": order.raw_status,
            "asset_id": order.token_id,
            "side": order.side.value,
            "price": format_micros(order.price_micros),
            "original_size": format_micros(order.original_size_micros),
            "size_matched": format_micros(order.size_matched_micros),
        }

    async def _post(self, endpoint: Endpoint, body: bytes) -> Exchange:
        self.posts += 1
        owner = json.loads(body)["owner"]
        template = body.replace(f'"owner":"{owner}"'.encode(), b'"owner":""')
        (told,) = await self._venue.place("main", [PlaceRequest(self.id, template, owner)])
        if isinstance(told, Seen):
            return exchange(endpoint, (400, {"error": f"order {self.id} is invalid. Duplicated."}))
        assert isinstance(told, Accepted), told
        return exchange(endpoint, {"success": True, "orderID": self.id, "status": "live"})


def settings(rig: Rig) -> Settings:
    options: dict[str, Any] = {"account": "main", **SETTINGS}
    options["database_url"] = rig.database.url_for("worker")
    return Settings(_env_file=None, **options)


@asynccontextmanager
async def at_the_desk(rig: Rig) -> AsyncIterator[tuple[Context, LedgerDesk]]:
    chosen = settings(rig)
    assert chosen.database_url is not None
    url = chosen.database_url.get_secret_value()
    async with working(chosen, Ports.system(), url) as found:
        yield found


async def order_of(rig: Rig) -> LiveOrder:
    now_s = await rig.owner.fetchval("SELECT extract(epoch FROM ledger.clock())::bigint")
    market = market_row("m1")["condition_id"]
    return LiveOrder(
        market, "Up", token("m1", 0), 10_000, 5 * SHARE, now_s + LIVES_S + 60, "standard"
    )


async def run(rig: Rig, *, declines: Step | None = None) -> tuple[Report, PaperHttp]:
    order = await order_of(rig)
    async with at_the_desk(rig) as (context, desk):
        http = PaperHttp(context)

        async def consent(step: Planned) -> bool:
            if step.step is not Step.PLACE:
                http.id = (await desk.stored(await desk.find() or 0)).venue_order_id
            return step.step is not declines

        ports = context.ports
        test = LiveTest(desk, http, ports, consent, signature_type=0, tell=lambda _: None)
        return await test.run(order), http


async def test_the_live_order_is_an_order_of_the_ledger_like_any_other(rig: Rig) -> None:
    report, http = await run(rig)
    assert report.verified, report.last_words
    assert set(report.steps.values()) == {"done"}, report.steps
    assert report.alarms() == []
    assert http.posts == 2
    row = await rig.order(report.order_id or 0)
    assert (row["state"], row["post_only"], row["order_type"]) == ("CANCELLED", True, "GTD")
    assert row["venue_order_id"] == report.venue_order_id
    assert row["key"].startswith("doctor-live-")
    attempts = await rig.owner.fetchval("SELECT count(*) FROM ledger.attempt")
    assert attempts == 1
    assert len(await rig.at_venue(report.order_id or 0)) == 1
    await rig.check_sound()


async def test_the_cancel_that_comes_first_reaches_the_venue_before_the_order(rig: Rig) -> None:
    report, _ = await run(rig)
    [early] = [one for one in report.answers if one.question == 6]
    assert early.seen.startswith("CancelRefused")
    assert "not remembered" in early.means
    await rig.check_sound()


async def test_without_consent_nothing_is_reserved(rig: Rig) -> None:
    report, _ = await run(rig, declines=Step.PLACE)
    assert report.last_words == "nothing was placed"
    assert await rig.owner.fetchval("SELECT count(*) FROM ledger.orders") == 0


async def test_a_halt_refuses_it_like_any_other_order(rig: Rig) -> None:
    await rig.owner.fetchval("SELECT ledger.set_halt('account', 'main', 'a test', 'test')")
    report, http = await run(rig)
    assert report.steps["place"].startswith("HALTED")
    assert (report.verified, report.last_words) == (True, "nothing was reserved")
    assert http.posts == 0


async def test_it_does_not_run_beside_another_worker(rig: Rig) -> None:
    async with rig.inside():
        with pytest.raises(Refused, match="alive"):
            async with at_the_desk(rig):
                pass
