"""The venue's writing endpoints: orders, cancels, heartbeats. Pure but for the state they change.

They run inside `Venue.apply`, at the command's own time, so that a replay gives the same answers.
What the edge has let through is authenticated already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.money import cost_micros, format_micros
from app.venue.interface import Side
from app.venue.matching import AnswerKind, Fate
from app.venue.simulator import texts
from app.venue.simulator.messages import Response, answer, refuse
from app.venue.simulator.modes import POST_ONLY_TEXT, Mode
from app.venue.simulator.orders import VERSION_MISMATCH, Submitted, read_order, wrong_amounts
from app.venue.simulator.records import OrderRecord
from app.venue.simulator.settings import ORDER_VERSION
from app.venue.simulator.signatures import order_signer

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

MAX_POSTS: Final = 15
MAX_CANCELS: Final = 1000

Effects = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request. ``effects``: faults that bend how it is carried out."""

    endpoint: str
    account: str
    key_id: str
    body: str
    at_ms: int
    effects: Effects = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of one order."""

    order_id: str = ""
    error: str = ""
    body: dict[str, Any] = field(default_factory=dict)


# --- placing --------------------------------------------------------------------------------------


def post_order(venue: Venue, call: Call) -> Response:
    payload = _json(call.body)
    if not isinstance(payload, dict):
        return refuse(400, "Invalid order payload")
    stopped = _stopped(venue, call, [payload]) or _charged(venue, call, "orders", 1)
    if stopped is not None:
        return stopped
    placed = _place(venue, call, payload, call.body)
    headers = venue.last_charge
    if placed.error:
        return refuse(_status_of(placed.error), placed.error).plus(headers)
    return answer(placed.body).plus(headers)


def post_orders(venue: Venue, call: Call) -> Response:
    payload = _json(call.body)
    if not isinstance(payload, list) or not payload:
        return refuse(400, "Invalid order payload")
    if len(payload) > MAX_POSTS:
        text = f"Too many orders in payload: {len(payload)}, max allowed: {MAX_POSTS}"
        return refuse(400, text)
    stopped = _stopped(venue, call, payload, batch=True)
    stopped = stopped or _charged(venue, call, "orders", len(payload))
    if stopped is not None:
        return stopped
    through = call.effects.get("partial_batch", {}).get("first", len(payload))
    items = [_item(_place(venue, call, one, _text(one))) for one in payload[:through]]
    if call.effects.get("partial_batch", {}).get("rest", "error") == "error":
        items += [_item(Placed(error=texts.MATCH_DELAYED)) for _ in payload[through:]]
    return answer(items).plus(venue.last_charge)


def _item(placed: Placed) -> dict[str, Any]:
    if not placed.error:
        return placed.body
    success = any(text in placed.error for text in texts.IN_A_200_BODY)
    return _body("", "", error=placed.error, success=success)


def _stopped(
    venue: Venue, call: Call, payloads: list[Any], *, batch: bool = False
) -> Response | None:
    post_only = all(isinstance(one, dict) and one.get("postOnly") is True for one in payloads)
    lenient = batch and venue.modes.mode is Mode.POST_ONLY
    return venue.modes.refuses(placing=True, post_only=post_only or lenient, now_ms=call.at_ms)


def _place(venue: Venue, call: Call, payload: Any, raw: str) -> Placed:
    exchange = venue.exchange
    submitted = read_order(payload, venue.settings.chain_id, exchange.market_of)
    if isinstance(submitted, str):
        return Placed(error=submitted)
    arrivals = venue.arrivals[submitted.order_id]
    arrivals["received"] += 1
    venue.bodies[submitted.order_id].add(raw)
    error = _wrong(venue, call, submitted)
    if error:
        arrivals["refused"] += 1
        return Placed(submitted.order_id, error)
    record = _record(venue, call, submitted, raw)
    if "settlement" in call.effects:
        ordered = call.effects["settlement"]
        exchange.fates.append(
            (submitted.order_id, Fate(ordered["fate"]), int(ordered.get("after_ms", 0)))
        )
    verdict = exchange.place(record, call.at_ms, delay_ms=_delay(venue, call, record))
    if verdict.kind is AnswerKind.ACCEPTED:
        arrivals["accepted"] += 1
        return Placed(submitted.order_id, body=accepted(record, venue, verdict.status))
    arrivals["duplicated" if verdict.kind is AnswerKind.DUPLICATED else "refused"] += 1
    return Placed(submitted.order_id, texts.refusal(verdict, submitted, exchange))


def _wrong(venue: Venue, call: Call, order: Submitted) -> str:
    """Checks before the engine, in the order in which the venue is thought to make them."""
    account = venue.accounts.open(call.account)
    market = venue.exchange.market_of(order.token_id)
    if venue.settings.order_version != ORDER_VERSION:
        return VERSION_MISMATCH
    if order.owner != call.key_id:
        return texts.WRONG_OWNER
    deposit = order.fields.signature_type == 3
    if order.signer != (order.maker if deposit else account.address):
        return texts.WRONG_SIGNER
    if account.wallets.get(order.maker) != order.fields.signature_type:
        return texts.WRONG_MAKER
    if order_signer(order.fields, order.domain, order.signature) != account.address:
        return texts.INVALID_SIGNATURE
    if account.banned:
        return f"'{account.address}' address banned"
    if account.closed_only and order.side is Side.BUY:
        return f"'{account.address}' address in closed only mode"
    if order.order_id in venue.exchange.orders:
        return ""  # the core says Duplicated, whatever else would be wrong with it by now
    if market is None or market.closed:
        return f"the orderbook {order.token_id} does not exist"
    if not market.ready or not market.accepting:
        return texts.NOT_READY
    if venue.modes.mode is Mode.POST_ONLY and not order.post_only:
        return POST_ONLY_TEXT
    return wrong_amounts(order, market.tick_micros) or ""


def _record(venue: Venue, call: Call, order: Submitted, raw: str) -> OrderRecord:
    market = venue.exchange.market_of(order.token_id)
    return OrderRecord(
        order.order(call.account),
        call.key_id,
        order.maker,
        market.condition_id if market is not None else "",
        market.outcome_of(order.token_id) if market is not None else "",
        raw,
        order.expiration_s,
        call.at_ms,
    )


def _delay(venue: Venue, call: Call, record: OrderRecord) -> int:
    """Marketable orders of a market with a delay wait; so does what a fault delays."""
    ordered = call.effects.get("delayed")
    if ordered is not None:
        return int(ordered.get("ms", 3_000))
    market = venue.exchange.market_of(record.order.token_id)
    if market is None or not market.seconds_delay or record.order.post_only:
        return 0
    return market.seconds_delay * 1000 if venue.exchange.marketable(record.order) else 0


def accepted(record: OrderRecord, venue: Venue, status: str) -> dict[str, Any]:
    """The answer to an order that was taken. What it matched at once is told, in decimals."""
    collateral = shares = 0
    for trade_id in record.trades:
        trade = venue.exchange.trades[trade_id].trade
        mine = [part for part in trade.parts if part.order_id == record.order.order_id]
        for part in mine:
            shares += part.size_micros
            collateral += cost_micros(trade.price_micros, part.size_micros)
    body = _body(record.order.order_id, status)
    if shares:
        pair = (collateral, shares) if record.order.side is Side.BUY else (shares, collateral)
        body["makingAmount"], body["takingAmount"] = map(format_micros, pair)
        body["tradeIDs"] = list(record.trades)
    return body


def _body(order_id: str, status: str, *, error: str = "", success: bool = True) -> dict[str, Any]:
    return {
        "errorMsg": error,
        "orderID": order_id,
        "takingAmount": "",
        "makingAmount": "",
        "status": status,
        "success": success,
    }


def _status_of(error: str) -> int:
    return 404 if "does not exist" in error else 400


# --- cancelling -----------------------------------------------------------------------------------


def delete_order(venue: Venue, call: Call) -> Response:
    payload = _json(call.body)
    order_id = payload.get("orderID") if isinstance(payload, dict) else None
    if not isinstance(order_id, str) or not order_id.startswith("0x"):
        return refuse(400, "Invalid orderID")
    return _cancel(venue, call, [order_id])


def delete_orders(venue: Venue, call: Call) -> Response:
    payload = _json(call.body)
    if not isinstance(payload, list) or not all(isinstance(one, str) for one in payload):
        return refuse(400, "Invalid order payload")
    if len(payload) > MAX_CANCELS:
        text = f"Too many orders in payload: {len(payload)}, max allowed: {MAX_CANCELS}"
        return refuse(400, text)
    return _cancel(venue, call, list(dict.fromkeys(payload)))


def _cancel(venue: Venue, call: Call, order_ids: list[str]) -> Response:
    stopped = venue.modes.refuses(placing=False, post_only=False, now_ms=call.at_ms)
    stopped = stopped or _charged(venue, call, "cancels", len(order_ids))
    return stopped or _cancelled(venue, call, order_ids).plus(venue.last_charge)


def _cancelled(venue: Venue, call: Call, order_ids: Iterable[str]) -> Response:
    done: list[str] = []
    refused: dict[str, str] = {}
    for order_id in order_ids:
        if "cancel_unlisted" in call.effects:
            continue
        # Only of what is there: no venue lists as cancelled an order that it never saw.
        if "cancel_phantom" in call.effects and order_id in venue.exchange.orders:
            done.append(order_id)
            continue
        if "cancel_miss" in call.effects:
            refused[order_id] = "order can't be found - already canceled or matched"
            continue
        verdict = venue.exchange.cancel(call.account, order_id, call.at_ms)
        if verdict.kind is AnswerKind.ACCEPTED:
            done.append(order_id)
        else:
            refused[order_id] = verdict.text
    return answer({"canceled": done, "not_canceled": refused})


def cancel_all(venue: Venue, call: Call) -> Response:
    return _sweep(venue, call, venue.exchange.live_orders(call.account))


def cancel_market(venue: Venue, call: Call) -> Response:
    payload = _json(call.body)
    wanted = payload if isinstance(payload, dict) else {}
    market, asset = wanted.get("market"), wanted.get("asset_id")
    if not market and not asset:
        return refuse(400, "Invalid order payload")
    matching = [
        record
        for record in venue.exchange.live_orders(call.account)
        if (not market or record.condition_id == market)
        and (not asset or record.order.token_id == asset)
    ]
    return _sweep(venue, call, matching)


def _sweep(venue: Venue, call: Call, records: list[OrderRecord]) -> Response:
    stopped = venue.modes.refuses(placing=False, post_only=False, now_ms=call.at_ms)
    stopped = stopped or _charged(venue, call, "cancels", 1)
    if stopped is not None:
        return stopped
    done = _cancelled(venue, call, [record.order.order_id for record in records])
    venue.charge(call.account, "cancels", len(done.value["canceled"]), call.at_ms, after=True)
    return done.plus(venue.last_charge)


# --- heartbeats -----------------------------------------------------------------------------------


def heartbeat(venue: Venue, call: Call) -> Response:
    payload = _json(call.body)
    given = payload.get("heartbeat_id") if isinstance(payload, dict) else None
    given = "" if given is None else given
    if not isinstance(given, str):
        return refuse(400, "Invalid heartbeat payload")
    counted, expected = venue.heartbeats.beat(
        call.key_id, given, call.at_ms, venue.settings.heartbeat_ms
    )
    if not counted:
        return answer({"error_msg": "Invalid Heartbeat ID", "heartbeat_id": expected}, 400)
    return answer({"heartbeat_id": expected})


# --- words they share -----------------------------------------------------------------------------


def _charged(venue: Venue, call: Call, kind: str, cost: int) -> Response | None:
    charge = venue.charge(call.account, kind, cost, call.at_ms)
    if charge:
        return None
    return refuse(429, texts.TOO_MANY).plus(venue.last_charge)


def _text(payload: Any) -> str:
    """One order of a batch as its sender would have written it alone."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


HANDLERS: Final = {
    "POST /order": post_order,
    "POST /orders": post_orders,
    "DELETE /order": delete_order,
    "DELETE /orders": delete_orders,
    "DELETE /cancel-all": cancel_all,
    "DELETE /cancel-market-orders": cancel_market,
    "POST /v1/heartbeats": heartbeat,
}
