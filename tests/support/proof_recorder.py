"""A `Life` that writes down what was asked and what its venue did, for the independent auditor."""

from __future__ import annotations

from collections.abc import Mapping
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
    Row,
    VenueBook,
    VenueFill,
    VenueOrder,
)
from tests.support.life import Item, market_row, venue_id
from tests.support.lived_in import Writer

_STATES = {"LIVE": "live", "DELAYED": "live", "CANCELLED": "cancelled", "EXPIRED": "expired"}
_AT_VENUE = ("acknowledge", "acknowledge_delayed", "mark_seen")


@dataclass
class AtVenue:
    """What the script says that the venue did with an order."""

    turn: int
    at_us: int
    state: str = "live"
    matched: int = 0
    ended: tuple[int, int] | None = None
    fills: dict[str, VenueFill] = field(default_factory=dict)


@dataclass
class Recorder(Writer):
    """As `Writer`; everything goes through `call`, and so does the recording."""

    asked: Asked = field(default_factory=Asked)
    received: list[Received] = field(default_factory=list)
    there: dict[str, AtVenue] = field(default_factory=dict)
    turn: int = 0

    def _next(self) -> tuple[int, int]:
        self.turn += 1
        return self.turn, int(self.clock.now.timestamp() * 1_000_000)

    async def call(self, function: str, *arguments: Any) -> Any:
        turn, at_us = self._next()
        if function in ("acknowledge", "acknowledge_delayed", "mark_seen", "observe_orders"):
            self._venue(function, arguments[0], turn, at_us)
        if function == "record_fills":
            self._fills(arguments[0], turn, at_us)
        answer = await super().call(function, *arguments)
        note = getattr(self, "_note_" + function, None)
        if note is not None:
            note(arguments, answer, turn, at_us, self._next()[0])
        return answer

    # ---- the venue

    def _venue(self, function: str, items: list[Item], turn: int, at_us: int) -> None:
        for item in items:
            venue_order = item.get("venue_order_id") or venue_id(item["order_id"])
            order = self.there.setdefault(venue_order, AtVenue(turn, at_us))
            if function == "observe_orders":
                order.matched = max(order.matched, item["size_matched_micros"])
                order.state = _STATES.get(item["status"], order.state)
                order.ended = (turn, at_us) if order.state != "live" else None

    def _fills(self, items: list[Item], turn: int, at_us: int) -> None:
        for item in items:
            order = self.there.setdefault(item["venue_order_id"], AtVenue(turn, at_us))
            before = order.fills.get(item["trade_id"])
            final = turn if item["status"] in ("CONFIRMED", "FAILED") else None
            size, price = item["size_micros"], item["price_micros"]
            at = (turn, at_us) if before is None else (before.turn, before.at_us)
            known = (price, size, item["fee_micros"], item["status"])
            order.fills[item["trade_id"]] = VenueFill(item["trade_id"], *known, *at, final)
            filled = sum(one.size_micros for one in order.fills.values())
            order.matched = max(order.matched, filled)

    def book(self, rows: list[Row]) -> VenueBook:
        """The venue's book, with the terms that were asked; ``rows`` say only whose the ids are."""
        calls = {(one.account, one.key): one for one in reversed(self.asked.orders)}
        whose = {
            row["venue_order_id"]: calls[row["account"], row["key"]] for row in rows if row["key"]
        }
        orders = []
        for venue_order, order in self.there.items():
            call = whose[venue_order]
            full = order.matched >= call.size_micros
            ended = order.ended or ((self.turn, 0) if full else None)
            orders.append(
                VenueOrder(
                    venue_order,
                    salt=venue_order,
                    digest=venue_order,
                    account=call.account,
                    market=call.market,
                    token_id=self.asked.markets[call.market].tokens[call.outcome],
                    side=call.side,
                    price_micros=call.price_micros,
                    size_micros=call.size_micros,
                    matched_micros=order.matched,
                    state="matched" if full else order.state,
                    turn=order.turn,
                    at_us=order.at_us,
                    ended_turn=None if ended is None else ended[0],
                    ended_us=None if ended is None else ended[1],
                    fills=tuple(order.fills.values()),
                )
            )
        return VenueBook(orders, list(self.received))

    # ---- what was asked

    def _note_import_markets(self, given: Any, answer: Any, *when: int) -> None:
        for row in given[0]:
            tokens = tuple(one["token_id"] for one in row["outcomes"])
            terms = (row["fee_rate_micros"], row["fee_exponent"], row.get("group_key"), row["slug"])
            condition = row["condition_id"]
            self.asked.markets[condition] = MarketTerms(condition, (tokens[0], tokens[1]), *terms)

    def _order(
        self, request: Mapping[str, Any], answer: Answer, turn: int, at_us: int, told: int
    ) -> OrderAsked:
        valid_ms = request.get("valid_for_ms")
        return OrderAsked(
            turn,
            at_us,
            request["account"],
            request["key"],
            market_row(request["market"])["condition_id"],
            ("Up", "Down").index(request["outcome"]),
            request["side"],
            request["price_micros"],
            request["size_micros"],
            kind=request.get("class", "entry"),
            valid_until_us=None if valid_ms is None else at_us + valid_ms * 1000,
            answered_turn=told,
            answer=answer,
        )

    def _note_reserve_pending(self, given: Any, answers: Any, *when: int) -> None:
        for request, answer in zip(given[0], answers, strict=True):
            told = answered(answer)
            self.asked.orders.append(self._order(request, told, *when))

    def _note_replace_order(self, given: Any, answer: Any, *when: int) -> None:
        told = replace(answered(answer), order_id=None, replacement_id=answer.get("replacement_id"))
        call = self._order(given[1], told, *when)
        self.asked.orders.append(replace(call, replaces=given[0]))

    def _note_request_cancel(
        self, given: Any, answers: Any, turn: int, at_us: int, told: int
    ) -> None:
        for item, answer in zip(given[0], answers, strict=True):
            done = Answer(answer["status"] != "refused")
            one = CancelAsked(turn, at_us, self.account, item["order_id"], None, "", told, done)
            self.asked.cancels.append(one)

    _note_release_pending = _note_request_cancel

    def _note_resolve_order(
        self, given: Any, answer: Any, turn: int, at_us: int, told: int
    ) -> None:
        done = Answer(accepted=True)
        one = CancelAsked(turn, at_us, self.account, given[0], None, "resolve", told, done)
        self.asked.cancels.append(one)

    def _note_set_halt(self, given: Any, answer: Any, turn: int, at_us: int, told: int) -> None:
        done = Answer(accepted=True)
        self.asked.halts.append(HaltAsked(turn, at_us, given[0], given[1], True, None, told, done))

    def _note_clear_halt(self, given: Any, answer: Any, turn: int, at_us: int, told: int) -> None:
        done = Answer(accepted=True)
        self.asked.halts.append(
            HaltAsked(turn, at_us, given[0], given[1], False, given[2], told, done)
        )

    def _note_set_limit(self, given: Any, answer: Any, turn: int, at_us: int, told: int) -> None:
        account, slug, name, text = given[:4]
        market = None if slug is None else market_row(slug)["condition_id"]
        value = int(text) if text is not None and text.isdigit() else None
        self.asked.limits.append(LimitSet(turn, name, value, account, market, answered_turn=told))

    def _note_set_total_limit(
        self, given: Any, answer: Any, turn: int, at_us: int, told: int
    ) -> None:
        scope, subject, name, text = given[:4]
        more = {"scope": scope, "subject": subject, "answered_turn": told}
        self.asked.limits.append(LimitSet(turn, name, int(text), **more))

    def _note_book_movement(
        self, given: Any, answer: Any, turn: int, at_us: int, told: int
    ) -> None:
        account, asset, amount, cause = given[:4]
        self.asked.moved.append(Moved(turn, account, asset, amount, cause, told))

    def _note_open_attempt(
        self, given: Any, answers: Any, turn: int, at_us: int, told: int
    ) -> None:
        for item in given[0]:
            order = venue_id(item["order_id"])
            self.received.append(
                Received(turn, at_us, self.account, "place", order, digest=order, lost=True)
            )


def answered(answer: Mapping[str, Any]) -> Answer:
    """What the answer of a deciding function says."""
    return Answer(
        answer["status"] != "refused",
        answer.get("code"),
        answer.get("order_id"),
        bool(answer.get("replay", answer["status"] == "replayed")),
        answer.get("size_micros"),
        answer.get("price_micros"),
        answer.get("replacement_id"),
    )
