"""What is wrong with a history: anomalies that have a name first, then whether any order explains it."""

from __future__ import annotations

from collections.abc import Sequence

from proof.isolation.controls import Known
from proof.isolation.linearize import linearize
from proof.isolation.operations import CONTROLS, History, Operation, Terms
from proof.isolation.spec import Order, Spec, State

EXPECTED = frozenset(
    {
        *("HALTED", "OPEN_ORDERS", "INSUFFICIENT_TOKENS", "INSUFFICIENT_COLLATERAL"),
        *("CAP_OUTCOME", "CAP_MARKET", "CAP_ACCOUNT", "KEY_REUSED", "SUSPENDED"),
    }
)


def anomalies(history: History) -> list[str]:
    """A sentence each, the kind of anomaly first."""
    found: list[str] = []
    for account, beginning in history.beginnings.items():
        operations = history.of(account)
        spec, known = Spec(beginning), Known(beginning, operations)
        found += _unexpected(operations)
        found += lost_updates(spec, operations)
        found += write_skew(spec, operations, known)
        found += stale_reads(operations, known)
        found += doubled_keys(operations)
        found += _order(spec, operations, known, account)
    return found


def _unexpected(operations: Sequence[Operation]) -> list[str]:
    """An error, or a refusal that nothing in a history can be the reason of."""
    found = []
    for one in operations:
        if not isinstance(one.answer, dict) or one.kind == "totals":
            continue
        code = one.answer.get("code")
        if one.answer.get("status") == "error" or (code is not None and code not in EXPECTED):
            found.append(f"unexpected answer: {one.said()}")
    return found


def _admitted(operations: Sequence[Operation]) -> list[Operation]:
    return [
        one
        for one in operations
        if one.kind == "reserve"
        and one.answer["status"] == "admitted"
        and not one.answer.get("replay")
    ]


def _end_state(spec: Spec, operations: Sequence[Operation]) -> State:
    """Where everything that was answered leads, whatever its order: admissions, then what became of them."""
    state = spec.start
    for one in _admitted(operations):
        arguments = {"terms": one.arguments["terms"], "key": f"{one.begin} {one.session}"}
        made = Operation(one.session, "reserve", one.account, arguments, 0, 0, one.answer)
        state = next(spec.next(state, made, [{}]), state)
        if state.order(one.answer["order_id"]) is None:
            state = _forced(state, one)
    later = {"fill": 0, "end": 1, "cancel": 2}
    rest = [one for one in operations if one.kind in later and one.answer.get("status") == "ok"]
    for one in sorted(rest, key=lambda o: (later[o.kind], o.end)):
        state = _applied(spec, state, one)
    return state


def _forced(state: State, one: Operation) -> State:
    """What was admitted counts, also where it should not have been."""
    return state.put(one.answer["order_id"], one.arguments["terms"], Order("RESERVED"))


def _applied(spec: Spec, state: State, one: Operation) -> State:
    """An operation's effect, if its answer is taken for whatever it is now."""
    for known in ("RESERVED", "LIVE", "FILLED", "CANCELLED", "NOT_PLACED"):
        for replay in (False, True):
            answer = {"status": "ok", "state": known, "replay": replay}
            told = Operation(one.session, one.kind, one.account, one.arguments, 0, 0, answer)
            for after in spec.next(state, told, [{}]):
                return after
    return state


def lost_updates(spec: Spec, operations: Sequence[Operation]) -> list[str]:
    """The last totals are the sum of everything that was answered."""
    last = max(
        (one for one in operations if one.kind == "totals"), key=lambda o: o.begin, default=None
    )
    if last is None or any(one.end > last.begin for one in operations if one is not last):
        return []
    wanted = spec.totals(_end_state(spec, operations))
    return [
        f"lost update: {name} is {last.answer.get(name)} at the end, the answers come to {amount}"
        for name, amount in wanted.items()
        if last.answer.get(name) != amount
    ]


def write_skew(spec: Spec, operations: Sequence[Operation], known: Known) -> list[str]:
    """Several admitted together over a cap: at the moment when the last of them was answered, all those that nothing
    had taken back stood together, and no cap that was possible allowed it.
    """
    admitted = [one for one in _admitted(operations) if one.arguments["terms"].side == "BUY"]
    ends: dict[int, int] = {}
    for one in operations:
        if one.kind in ("cancel", "end") and one.answer.get("status") == "ok":
            order = one.arguments["order"]
            ends[order] = min(ends.get(order, one.begin), one.begin)
    found: list[str] = []
    for last in admitted:
        terms = last.arguments["terms"]
        moment = last.end
        standing = [
            one
            for one in admitted
            if one.end <= moment and ends.get(one.answer["order_id"], moment + 1) > moment
        ]
        for name, scope, together in _caps(terms, standing):
            caps = (
                known.values((name, scope), min(o.begin for o in together), moment)
                if together
                else {None}
            )
            shares = sum(one.arguments["terms"].size for one in together)
            if (
                None not in caps
                and len(together) > 1
                and shares > max(c for c in caps if c is not None)
            ):
                orders = [one.answer["order_id"] for one in together]
                found.append(
                    f"write skew: {name} of {scope} is {caps}, {orders} hold {shares} together"
                )
    return found[:3]


def _caps(terms: Terms, standing: Sequence[Operation]) -> list[tuple[str, str, list[Operation]]]:
    market = [one for one in standing if one.arguments["terms"].market == terms.market]
    outcome = [one for one in market if one.arguments["terms"].outcome == terms.outcome]
    return [
        ("max_outcome_micros", terms.market, outcome),
        ("max_market_micros", terms.market, market),
        ("max_shares_micros", terms.account, list(standing)),
    ]


def stale_reads(operations: Sequence[Operation], known: Known) -> list[str]:
    """Admitted although a halt had stood since before it was asked; or refused for one that had long ended."""
    found = []
    for one in operations:
        if one.kind != "reserve" or one.answer.get("replay"):
            continue
        terms = one.arguments["terms"]
        values = [
            known.values(("halt", scope), one.begin, one.end)
            for scope in (terms.market, terms.account)
        ]
        if one.answer["status"] == "admitted" and any(value == {1} for value in values):
            found.append(f"stale read: admitted under a halt that had been answered: {one.said()}")
        code = one.answer.get("code")
        if code == "HALTED" and all(1 not in value for value in values):
            found.append(f"stale read: refused for a halt that had ended: {one.said()}")
        cap = known.values(("max_outcome_micros", terms.market), one.begin, one.end)
        if one.answer["status"] == "admitted" and terms.side == "BUY" and None not in cap:
            highest = max(value for value in cap if value is not None)
            if terms.size > highest:
                found.append(
                    f"stale read: {terms.size} admitted under a limit of {highest}: {one.said()}"
                )
    return found


def doubled_keys(operations: Sequence[Operation]) -> list[str]:
    """One key, two orders."""
    orders: dict[str, set[int]] = {}
    for one in operations:
        if one.kind == "reserve" and one.answer["status"] == "admitted":
            orders.setdefault(one.arguments["key"], set()).add(one.answer["order_id"])
    return [f"doubled key: {key} became {sorted(of)}" for key, of in orders.items() if len(of) > 1]


def _order(spec: Spec, operations: Sequence[Operation], known: Known, account: str) -> list[str]:
    if any(one.answer.get("status") == "error" for one in operations if one.kind not in CONTROLS):
        return []  # told already; what it did is not known
    verdict = linearize(spec, operations, known)
    if verdict.order is not None:
        return []
    if verdict.given_up:
        return [f"undecided: {account} has too many orders to look through"]
    stuck = "; ".join(one.said() for one in verdict.stuck[:3])
    return [f"no legal order: {account}, none of these can come next: {stuck}"]
