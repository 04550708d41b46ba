"""What bots and operators asked, noted where it leaves them: the auditor's side of the story."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from app.ledger.calls import Item, LedgerCalls
from proof.auditor.interface import (
    Answer,
    Asked,
    CancelAsked,
    HaltAsked,
    LimitSet,
    OrderAsked,
    WithdrawalAsked,
)
from proof.simulation.loop import ACTOR
from proof.simulation.world import World


class AskingCalls(LedgerCalls):
    """`LedgerCalls` of a bot or an operator. A call whose asker dies in it stays without an answer."""

    def __init__(self, pool: Any, world: World, asked: Asked) -> None:
        super().__init__(pool)
        self._world = world
        self._asked = asked

    async def items(self, function: str, items: Iterable[Mapping[str, Any]]) -> list[Item]:
        """Orders and cancels are noted each."""
        given = list(items)
        if function == "reserve_pending":
            places = [self._order(one) for one in given]
            answers = await super().items(function, given)
            for place, answer in zip(places, answers, strict=True):
                self._close(self._asked.orders, place, _of_order(answer))
            return answers
        if function == "request_cancel":
            places = [
                self._cancel(order_id=one["order_id"], why=str(one.get("reason", "")))
                for one in given
            ]
            answers = await super().items(function, given)
            for place, answer in zip(places, answers, strict=True):
                self._close(self._asked.cancels, place, _plain(answer))
            return answers
        return await super().items(function, given)

    async def value(self, function: str, *arguments: Any) -> Any:
        """Replacements, wide cancels, halts and limits."""
        match function:
            case "replace_order":
                place = self._order(arguments[1], replaces=int(arguments[0]))
                answer = await super().value(function, *arguments)
                self._close(self._asked.orders, place, _of_replace(answer))
            case "request_cancel_all":
                place = self._cancel(
                    account=arguments[0], market=arguments[1], why=str(arguments[2])
                )
                answer = await super().value(function, *arguments)
                self._close(self._asked.cancels, place, Answer(True))
            case "set_halt":
                place = self._halt(arguments[0], str(arguments[1]), on=True)
                answer = await super().value(function, *arguments)
                self._close(self._asked.halts, place, Answer(True), version=int(answer))
            case "clear_halt":
                place = self._halt(arguments[0], str(arguments[1]), on=False)
                answer = await super().value(function, *arguments)
                self._close(
                    self._asked.halts, place, Answer(bool(answer)), version=int(arguments[2])
                )
            case "start_withdrawal":
                place = self._withdrawal(arguments)
                answer = await super().value(function, *arguments)
                self._close(self._asked.withdrawals, place, _of_withdrawal(answer))
            case _:
                answer = await super().value(function, *arguments)
        return answer

    # --- notes --------------------------------------------------------------------------------------

    def _when(self) -> tuple[int, int]:
        self._world.turn += 1
        return self._world.turn, self._world.now_us

    def _order(self, one: Mapping[str, Any], replaces: int | None = None) -> int:
        turn, at_us = self._when()
        valid_ms = int(one.get("valid_for_ms", 30_000))
        self._asked.orders.append(
            OrderAsked(
                turn,
                at_us,
                str(one.get("account", "main")),
                str(one["key"]),
                str(one["market"]),
                self._outcome(str(one["market"]), str(one["outcome"])),
                str(one["side"]),
                int(one["price_micros"]),
                int(one["size_micros"]),
                order_type=str(one.get("order_type", "GTC")),
                post_only=bool(one.get("post_only", False)),
                expires_at_s=int(one.get("expires_at_s", 0)),
                kind=str(one.get("class", one.get("order_class", "entry"))),
                valid_until_us=at_us + valid_ms * 1000,
                clamp=bool(one.get("clamp", False)),
                replaces=replaces,
                actor=ACTOR.get().name,
            )
        )
        return len(self._asked.orders) - 1

    def _outcome(self, market: str, outcome: str) -> int:
        tokens = self._asked.markets[market].tokens
        return tokens.index(outcome) if outcome in tokens else int(outcome)

    def _cancel(self, **what: Any) -> int:
        turn, at_us = self._when()
        self._asked.cancels.append(CancelAsked(turn, at_us, what.pop("account", "main"), **what))
        return len(self._asked.cancels) - 1

    def _halt(self, scope: str, subject: str, *, on: bool) -> int:
        turn, at_us = self._when()
        self._asked.halts.append(HaltAsked(turn, at_us, scope, subject, on))
        return len(self._asked.halts) - 1

    def _withdrawal(self, arguments: tuple[Any, ...]) -> int:
        turn, at_us = self._when()
        account, amount, _destination, key = arguments[:4]
        self._asked.withdrawals.append(WithdrawalAsked(turn, at_us, account, str(key), int(amount)))
        return len(self._asked.withdrawals) - 1

    def _close(self, notes: list[Any], place: int, answer: Answer, **more: Any) -> None:
        turn, at_us = self._when()
        note = notes[place]
        if isinstance(note, OrderAsked) and note.valid_until_us is not None:
            # It runs from the commit, which lies somewhere before the answer.
            more["valid_until_us"] = note.valid_until_us + at_us - note.at_us
        elif not isinstance(note, OrderAsked):
            # An asker that stood still in between had asked nobody yet.
            begun, begun_us = self._world.committed[ACTOR.get().name]
            more |= {"turn": max(note.turn, begun), "at_us": max(note.at_us, begun_us)}
        notes[place] = replace(note, answered_turn=turn, answer=answer, **more)

    def limit(self, name: str, value: int | None, **scope: Any) -> None:
        """A limit that was set before anybody asked anything."""
        self._asked.limits.append(LimitSet(0, name, value, **scope))


def _of_order(answer: Mapping[str, Any]) -> Answer:
    if answer["status"] != "admitted":
        return _plain(answer)
    return Answer(
        True,
        order_id=int(answer["order_id"]),
        replayed=bool(answer.get("replay")),
        size_micros=answer.get("size_micros"),
        price_micros=answer.get("price_micros"),
    )


def _of_replace(answer: Any) -> Answer:
    told = json.loads(answer) if isinstance(answer, str) else answer
    if told.get("status") == "refused":
        return _plain(told)
    number = told.get("replacement_id")
    return Answer(
        True, replayed=bool(told.get("replay")), replacement_id=int(number) if number else None
    )


def _of_withdrawal(answer: Any) -> Answer:
    told = json.loads(answer) if isinstance(answer, str) else answer
    refused = isinstance(told, Mapping) and told.get("status") == "refused"
    return Answer(not refused, code=told.get("code") if refused else None)


def _plain(answer: Mapping[str, Any]) -> Answer:
    if answer.get("status") == "refused":
        return Answer(False, code=str(answer["code"]))
    order_id = answer.get("order_id")
    return Answer(True, order_id=int(order_id) if order_id is not None else None)
