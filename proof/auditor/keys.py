"""Idempotency, as callers can see it."""

from __future__ import annotations

from collections import Counter

from proof.auditor.index import admitted, intents, terms
from proof.auditor.interface import Asked, OrderAsked, VenueBook, Views


def keys_are_idempotent(asked: Asked, venue: VenueBook, views: Views) -> list[str]:
    """The same key and the same request is the same order, told as a replay; another request is refused."""
    broken: list[str] = []
    for (account, key), calls in intents(asked).items():
        told = [call for call in calls if admitted(call)]
        if told:
            who = f"key {key} of {account}"
            broken += _one_order(who, calls, told) + _after_the_first(who, calls, told)
    return broken + _bindings(asked, views)


def _one_order(who: str, calls: list[OrderAsked], told: list[OrderAsked]) -> list[str]:
    broken = []
    answers = [call.answer for call in told if call.answer is not None]
    orders = sorted({answer.order_id for answer in answers if answer.order_id is not None})
    replacements = {answer.replacement_id for answer in answers}
    if len(orders) > 1 or len(replacements) > 1:
        broken.append(f"{who} was answered with the orders {orders}")
    if len({terms(call) for call in told}) > 1:
        broken.append(f"{who} was admitted for different requests")
    first = sum(not answer.replayed for answer in answers)
    unheard = any(call.answer is None for call in calls)
    if first > 1 or (first == 0 and not unheard):
        broken.append(f"{who} was {first} times answered as new")
    return broken


def _after_the_first(who: str, calls: list[OrderAsked], told: list[OrderAsked]) -> list[str]:
    known = min(_answered(call) for call in told)
    broken = []
    for call in calls:
        if call.turn <= known or call.answer is None:
            continue
        same = terms(call) == terms(told[0])
        if same and not (call.answer.accepted and call.answer.replayed):
            said = call.answer.code or "new"
            broken.append(f"{who} was asked again at {call.turn} and answered {said}, no replay")
        if not same and call.answer.accepted:
            broken.append(f"{who} was asked for another request at {call.turn} and admitted")
    return broken


def _answered(call: OrderAsked) -> int:
    return call.turn if call.answered_turn is None else call.answered_turn


def _bindings(asked: Asked, views: Views) -> list[str]:
    rows = views.of("idempotency")
    repeats = Counter((row["account"], row["key"]) for row in rows)
    broken = [f"key {k} of {a} is bound {n} times" for (a, k), n in repeats.items() if n > 1]
    bound = {(row["account"], row["key"]): row["order_id"] for row in rows}
    for intent, calls in intents(asked).items():
        for call in calls:
            if call.answer is None or not call.answer.accepted:
                continue
            if intent not in bound:
                broken.append(f"key {intent[1]} of {intent[0]} was admitted and is not bound")
            elif call.answer.order_id is not None and bound[intent] != call.answer.order_id:
                broken.append(
                    f"key {intent[1]} of {intent[0]} was answered with order {call.answer.order_id} and is bound to "
                    f"{bound[intent]}"
                )
    return broken
