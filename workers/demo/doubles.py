"""What is there twice: by the venue's own book and by what the writers were told. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from app.venue.paper import PaperOrder, doubled
from workers.demo.facts import Facts, Problem
from workers.demo.records import Answer

Terms: TypeAlias = tuple[str, str, str, int, int]
"""Account, token, side, price, size: what a venue order and an intent have in common."""


def find_doubled(facts: Facts, admitted: Mapping[str, Answer]) -> list[Problem]:
    """Venue orders beyond one for each admitted intent, and keys that became two orders."""
    extra: dict[str, str] = {}
    for group in doubled(facts.book):
        for order in group[1:]:
            extra[order.venue_order_id] = f"the venue has salt {order.salt} twice"
    # One each: what an admitted intent became, by the first row of its order.
    explained: dict[int, str] = {}
    for row in facts.orders:
        if row.key in admitted and admitted[row.key].order_id == row.order_id:
            explained.setdefault(row.order_id, row.venue_order_id)
    ids = set(explained.values())
    for order in facts.book:
        if order.venue_order_id not in ids:
            extra.setdefault(order.venue_order_id, "no admitted intent explains this venue order")
    for order_id, copies in facts.arrivals.items():
        if order_id not in ids:
            extra.setdefault(order_id, f"no admitted intent explains what arrived: {copies}")
    problems = [Problem("doubled", one, why) for one, why in extra.items()]
    return problems + _more_than_asked(facts, admitted, set(extra)) + _two_answers(facts)


def _more_than_asked(
    facts: Facts, admitted: Mapping[str, Answer], known: set[str]
) -> list[Problem]:
    """Without the ledger: of each terms the venue may not have more orders than writers were promised."""
    asks = {ask.key: ask for ask in facts.asks if ask.via not in ("again", "reuse")}
    token_of = {place: token for token, place in facts.tokens.items()}
    promised: Counter[Terms] = Counter()
    for key, answer in admitted.items():
        ask = asks[key]
        token = token_of[(ask.market, ask.outcome)]
        promised[(ask.account, token, ask.side, ask.price_micros, answer.size_micros)] += 1
    found: defaultdict[Terms, list[str]] = defaultdict(list)
    for order in facts.book:
        if order.status != "INVALID":
            found[_terms(order)].append(order.venue_order_id)
    problems: list[Problem] = []
    for terms, ids in found.items():
        fresh = [one for one in ids if one not in known]
        why = f"{promised[terms]} promised, {len(ids)} at the venue: {terms}"
        problems += [Problem("doubled", one, why) for one in fresh[promised[terms] :]]
    return problems


def _terms(order: PaperOrder) -> Terms:
    return (
        order.account,
        order.token_id,
        order.side.value,
        order.price_micros,
        order.size_micros,
    )


def _two_answers(facts: Facts) -> list[Problem]:
    """A key must be answered with one order for ever, and never take another request."""
    ids: defaultdict[str, set[int]] = defaultdict(set)
    for answer in facts.answers:
        if answer.status == "admitted":
            ids[answer.key].add(answer.order_id)
    problems = [
        Problem("doubled", key, f"one key, orders {sorted(orders)}")
        for key, orders in ids.items()
        if len(orders) > 1
    ]
    return problems + [
        Problem("doubled", answer.key, "another request under its key was admitted")
        for answer in facts.answers
        if answer.via == "reuse" and answer.status == "admitted"
    ]
