"""A small world in which nothing is broken, as the independent auditor is shown it: for faults to be planted in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from proof.auditor.interface import (
    Answer,
    Asked,
    CancelAsked,
    HaltAsked,
    LimitSet,
    MarketTerms,
    Moved,
    OrderAsked,
    Received,
    VenueBook,
    VenueFill,
    VenueOrder,
    Views,
)

SHARE = 1_000_000
SECOND = 1_000_000
TOKENS = ("11", "22")


@dataclass
class World:
    """One account ``a``, one market ``m``; turns are given out as things happen, one second apart."""

    asked: Asked = field(default_factory=Asked)
    venue: VenueBook = field(default_factory=VenueBook)
    views: Views = field(default_factory=Views)
    turn: int = 0
    _seq: int = 0
    _entries: int = 0

    def next(self) -> tuple[int, int]:
        self.turn += 1
        return self.turn, self.turn * SECOND

    # ---- what is asked

    def ask(self, key: str, answer: Answer | None, **more: Any) -> OrderAsked:
        turn, at_us = self.next()
        terms: dict[str, Any] = {"outcome": 0, "side": "BUY", "price_micros": 400_000}
        terms |= {"size_micros": 10 * SHARE, "valid_until_us": at_us + 3_600 * SECOND}
        answered = self.next()[0] if answer is not None else None
        known = {"answered_turn": answered, "answer": answer}
        call = OrderAsked(turn, at_us, "a", key, "m", **(terms | known | more))
        self.asked.orders.append(call)
        return call

    def admit(self, order_id: int, **more: Any) -> OrderAsked:
        size = more.get("size_micros", 10 * SHARE)
        call = self.ask(f"k{order_id}", Answer(True, None, order_id, size_micros=size), **more)
        self._order_row(order_id, call)
        self.journal(order_id, "RESERVE", None, "RESERVED")
        row = {"account": "a", "key": call.key, "kind": "order", "order_id": order_id}
        self.row("idempotency", row | {"replaces_order_id": None})
        sent = {"account": "a", "order_id": order_id, "status": "done"}
        self.row("outbox", sent | {"cancel_status": None})
        return call

    def cancel(self, order_id: int) -> None:
        turn, at_us = self.next()
        told = self.next()[0]
        done = Answer(True, order_id=order_id)
        self.asked.cancels.append(CancelAsked(turn, at_us, "a", order_id, None, "", told, done))
        self.receive("cancel", order_id)

    def halt(self, *, on: bool) -> None:
        turn, at_us = self.next()
        told = self.next()[0]
        self.asked.halts.append(HaltAsked(turn, at_us, "market", "m", on, 1, told, Answer(True)))

    # ---- what the venue does

    def receive(self, kind: str, order_id: int, *, taken: bool = True, **more: Any) -> None:
        turn, at_us = self.next()
        salts = {"digest": f"d{order_id}", "salt": f"s{order_id}"} if kind == "place" else {}
        known: dict[str, Any] = salts | {"sent_turn": turn, "sent_us": at_us, "market": "m"} | more
        got = Received(turn, at_us, "a", kind, f"v{order_id}", taken=taken, **known)
        self.venue.received.append(got)

    def accept(
        self, order_id: int, call: OrderAsked, fills: tuple[VenueFill, ...], state: str
    ) -> None:
        self.receive("place", order_id, size_micros=call.size_micros)
        turn, at_us = self.turn, self.turn * SECOND
        ended = self.next() if state != "live" else (None, None)
        order = VenueOrder(
            venue_order_id=f"v{order_id}",
            salt=f"s{order_id}",
            digest=f"d{order_id}",
            account="a",
            market="m",
            token_id=TOKENS[call.outcome],
            side=call.side,
            price_micros=call.price_micros,
            size_micros=call.size_micros,
            matched_micros=sum(fill.size_micros for fill in fills),
            state=state,
            turn=turn,
            at_us=at_us,
            ended_turn=ended[0],
            ended_us=ended[1],
            fills=fills,
        )
        self.venue.orders.append(order)

    def fill(self, trade: str, size: int, price: int, fee: int = 0, **more: Any) -> VenueFill:
        turn, at_us = self.next()
        known: dict[str, Any] = {
            "status": "CONFIRMED",
            "turn": turn,
            "at_us": at_us,
            "final_turn": turn,
        } | more
        return VenueFill(trade, price, size, fee, **known)

    # ---- what the ledger says

    def row(self, view: str, row: dict[str, Any]) -> dict[str, Any]:
        self.views.rows.setdefault(view, []).append(row)
        return row

    def find(self, view: str, **by: Any) -> dict[str, Any]:
        """The row of a view, to be changed."""
        rows = [dict(r) for r in self.views.of(view)]
        self.views.rows[view] = [*rows]
        found = [row for row in rows if all(row[name] == value for name, value in by.items())]
        assert len(found) == 1, (view, by, found)
        return found[0]

    def _order_row(self, order_id: int, call: OrderAsked) -> None:
        zero = ("matched", "traded", "confirmed", "failed", "remaining", "awaiting", "held")
        row = {f"{name}_micros": 0 for name in zero} | {
            "account": "a",
            "order_id": order_id,
            "key": call.key,
            "market": "m",
            "outcome": call.outcome,
            "token_id": TOKENS[call.outcome],
            "venue_order_id": f"v{order_id}",
            "side": call.side,
            "price_micros": call.price_micros,
            "size_micros": call.size_micros,
            "order_type": "GTC",
            "state": "RESERVED",
            "ended": False,
            "cause": None,
            "cancel_asked_at": None,
            "replaces_order_id": None,
            "attempts": 1,
            "seen_at_venue": False,
            "fate_open": False,
            "phase": "pending",
            "held_asset": "collateral" if call.side == "BUY" else TOKENS[call.outcome],
            "released_at": None,
        }
        self.row("orders", row)

    def journal(self, order_id: int | None, event: str, was: str | None, to: str | None) -> None:
        self._seq += 1
        known = {"account": "a", "seq": self._seq, "market": "m", "market_seq": self._seq}
        moved = {"event": event, "order_id": order_id, "from_state": was, "to_state": to}
        self.row("journal", known | moved | {"attempt": None, "detail": {}})

    def entry(self, asset: str, available: int, locked: int = 0, **more: Any) -> None:
        self._entries += 1
        given = {"order_id": None, "trade_id": None, "fee_delta_micros": 0, "contra": "venue"}
        row: dict[str, Any] = {"account": "a", "entry_seq": self._entries, "asset": asset}
        row |= {"cause": "x", "available_delta_micros": available, "locked_delta_micros": locked}
        row |= given | {"entry_key": f"e{self._entries}"} | more
        other = -(available + locked + row["fee_delta_micros"])
        self.row("balance_entries", row | {"contra_delta_micros": other})

    def end(self, order_id: int, *moves: tuple[str, str], **columns: Any) -> None:
        """Its journal, and where it stands."""
        was = "RESERVED"
        for event, to in moves:
            self.journal(order_id, event, was, to)
            was = to
        row = next(r for r in self.views.rows["orders"] if r["order_id"] == order_id)
        assert isinstance(row, dict)
        row.update(columns | {"state": was, "seen_at_venue": True})

    def book(self, order_id: int, call: OrderAsked, *fills: VenueFill) -> None:
        """Fills, and what they moved, the fee beside the cash."""
        asset = TOKENS[call.outcome]
        sign = 1 if call.side == "BUY" else -1
        for fill in fills:
            paid = fill.price_micros * fill.size_micros // SHARE
            fixed: dict[str, Any] = {"account": "a", "order_id": order_id, "market": "m"}
            fixed |= {"trade_id": fill.trade_id, "outcome": call.outcome, "side": call.side}
            fixed |= {"price_micros": fill.price_micros, "size_micros": fill.size_micros}
            settled = {"CONFIRMED": "confirmed", "FAILED": "failed"}.get(fill.status, "provisional")
            fixed |= {"cash_micros": paid, "fee_micros": fill.fee_micros, "settlement": settled}
            self.row("fills", fixed | {"venue_order_id": f"v{order_id}"})
            of: dict[str, Any] = {"order_id": order_id, "trade_id": fill.trade_id}
            money = -sign * paid - fill.fee_micros
            self.entry("collateral", money, fee_delta_micros=fill.fee_micros, **of)
            self.entry(asset, sign * fill.size_micros, **of)

    def sums(self) -> None:
        """Balances and their other sides, from the entries."""
        held: dict[str, int] = {}
        sums: dict[str, int] = {}
        other: dict[tuple[str, str], int] = {}
        for row in self.views.of("orders"):
            held[row["held_asset"]] = held.get(row["held_asset"], 0) + row["held_micros"]
        for asset, amount in held.items():
            if amount:
                self.entry(asset, -amount, amount)
        for row in self.views.of("balance_entries"):
            asset = row["asset"]
            delta = row["available_delta_micros"] + row["locked_delta_micros"]
            sums[asset] = sums.get(asset, 0) + delta
            contra = (asset, row["contra"])
            other[contra] = other.get(contra, 0) + row["contra_delta_micros"]
            fees = (asset, "fees")
            other[fees] = other.get(fees, 0) + row["fee_delta_micros"]
        for asset, total in sums.items():
            locked = held.get(asset, 0)
            row = {"account": "a", "asset": asset, "available_micros": total - locked}
            self.row("balances", row | {"locked_micros": locked, "total_micros": total})
        for (asset, contra_name), amount in other.items():
            row = {"account": "a", "asset": asset, "contra": contra_name, "amount_micros": amount}
            self.row("contra", row)


_COUNTERS = tuple(
    f"{step}_{side}_micros"
    for step in ("provisional", "awaiting", "open", "pending")
    for side in ("buy", "sell")
)


def clean() -> World:
    """Seven intents: live and partly filled, filled, sold in part and cancelled, rejected, refused by a cap, asked
    again, and not placed; a halt that was ended; all of it at rest.
    """
    world = World()
    world.asked.markets["m"] = MarketTerms("m", TOKENS, fee_rate_micros=50_000)
    for name, value in (("max_outcome_micros", 50 * SHARE), ("max_market_micros", 120 * SHARE)):
        world.asked.limits.append(LimitSet(0, name, value))
    world.asked.limits.append(LimitSet(0, "max_order_cost_micros", 50 * SHARE))
    world.asked.limits.append(LimitSet(0, "max_open_orders", 9))
    for asset, amount in (("collateral", 100 * SHARE), (TOKENS[1], 30 * SHARE)):
        turn = world.next()[0]
        told = world.next()[0]
        world.asked.moved.append(Moved(turn, "a", asset, amount, answered_turn=told))
        world.entry(asset, amount, contra="outside")
    for view in ("unresolved", "orders_without_intent", "intents_without_order", "withdrawals"):
        world.views.rows[view] = []

    first = world.admit(1)
    part = world.fill("t1", 4 * SHARE, 400_000)
    world.accept(1, first, (part,), "live")
    steps = (("PREPARE", "PREPARED"), ("OPEN", "SENDING"))
    world.book(1, first, part)
    world.end(1, *steps, ("ACCEPT", "LIVE"), **_filled(4), phase="open", **_holds(6))

    second = world.admit(2)
    whole = world.fill("t2", 10 * SHARE, 390_000, 20_000)
    world.accept(2, second, (whole,), "matched")
    world.book(2, second, whole)
    world.end(2, *steps, ("FILL_ALL", "FILLED"), **_filled(10), **_released())

    third = world.admit(3, side="SELL", outcome=1, price_micros=600_000, size_micros=20 * SHARE)
    sold = world.fill("t3", 8 * SHARE, 600_000)
    world.accept(3, third, (sold,), "live")
    world.cancel(3)
    _end_at_venue(world, 3)
    world.book(3, third, sold)
    live = ("ACCEPT", "LIVE")
    world.end(3, *steps, live, ("END_CANCELLED", "CANCELLED"), **_filled(8), **_released())

    world.admit(4)
    world.receive("place", 4, taken=False, refusal="not enough balance")
    world.end(4, *steps, ("REJECT", "REJECTED"), **_released())
    world.ask("k5", Answer(False, "CAP_OUTCOME"), size_micros=60 * SHARE)
    world.ask("k1", Answer(True, None, 1, replayed=True, size_micros=10 * SHARE))
    world.ask("k1", Answer(False, "KEY_REUSED"), size_micros=11 * SHARE)
    world.halt(on=True)
    world.ask("k6", Answer(False, "HALTED"))
    world.halt(on=False)
    world.admit(7)
    world.cancel(7)
    world.venue.received.pop()
    row = world.find("orders", order_id=7)
    row["venue_order_id"] = None
    world.end(7, ("WITHDRAW", "NOT_PLACED"), **_released())

    fixed = {"account": "a", "market": "m"} | dict.fromkeys(_COUNTERS, 0)
    bought = {"position_micros": 14 * SHARE, "open_buy_micros": 6 * SHARE, "open_orders": 1}
    up = {
        "outcome": 0,
        "token_id": TOKENS[0],
        "effective_micros": 20 * SHARE,
        "sellable_micros": 14 * SHARE,
    }
    left = {"position_micros": 22 * SHARE, "effective_micros": 22 * SHARE, "open_orders": 1}
    world.row("exposure", fixed | bought | up)
    world.row(
        "exposure",
        fixed | left | {"outcome": 1, "token_id": TOKENS[1], "sellable_micros": 22 * SHARE},
    )
    world.sums()
    world.asked.ended = world.next()
    world.views.second_start = {
        view: [dict(row) for row in rows] for view, rows in world.views.rows.items()
    }
    return world


def _filled(shares: int) -> dict[str, int]:
    return {f"{name}_micros": shares * SHARE for name in ("matched", "traded", "confirmed")}


def _holds(shares: int) -> dict[str, int]:
    return {"remaining_micros": shares * SHARE, "held_micros": shares * SHARE * 2 // 5}


def _released() -> dict[str, Any]:
    return {"phase": "released", "released_at": 1, "ended": True}


def _end_at_venue(world: World, order_id: int) -> None:
    turn, at_us = world.next()
    replace_order(world, order_id, state="cancelled", ended_turn=turn, ended_us=at_us)


def replace_order(world: World, order_id: int, **changes: Any) -> None:
    """Another state of an order at the venue."""
    world.venue.orders = [
        replace(one, **changes) if one.venue_order_id == f"v{order_id}" else one
        for one in world.venue.orders
    ]
