"""The simulated venue as a machine of commands, without sockets: sums that must hold, and replays."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.clock import SeededRng
from app.errors import BadInput
from app.money import MICROS, cost_micros, parse_micros
from app.venue.interface import OrderType, Side
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.order import build_order
from app.venue.polymarket.signing import SignatureType, Signer
from app.venue.simulator.settings import Settings
from app.venue.simulator.venue import Venue

T0 = 1_800_000_000_000
SIGNERS = [Signer.ephemeral(SeededRng(number).bits) for number in (1, 2)]


class Script:
    """A venue with two accounts and one market, and every command it was given."""

    def __init__(self, **changes: Any) -> None:
        self.venue = Venue(Settings())
        self.commands: list[dict[str, Any]] = []
        self.at_ms = T0
        self.salt = 0
        usual = {"rate_limits": False, "mine_after_ms": 50, "confirm_after_ms": 50}
        self.give({"t": "started", "settings": {**usual, **changes}, "manual": True})
        market = self.do("markets", made_up={"count": 1, "fee_rate": "0.05"})[0]
        self.tokens: list[str] = market["tokens"]
        self.condition: str = market["condition_id"]
        self.keys = []
        for signer in SIGNERS:
            tokens = dict.fromkeys(self.tokens, "500")
            account = {"address": signer.address, "collateral": "500", "tokens": tokens}
            self.keys.append(self.do("account", **account, make_key=True)["key"]["key_id"])

    def give(self, command: dict[str, Any]) -> Any:
        """As the service does: what is refused is remembered as the time that passed."""
        command["at"] = self.at_ms
        try:
            result = self.venue.apply(command)
        except BadInput:
            self.commands.append({"t": "tick", "at": self.at_ms})
            raise
        self.commands.append(command)
        self.venue.drain()
        return result

    def do(self, deed: str, **args: Any) -> Any:
        return self.give({"t": "control", "do": deed, "args": args})

    def body(self, who: int, token: int, side: str, price: int, size: int, kind: str) -> str:
        self.salt += 1
        signer = SIGNERS[who]
        order = build_order(
            signer,
            token_id=self.tokens[token],
            side=Side(side),
            price_micros=price * MICROS // 100,
            size_micros=size * MICROS,
            tick_micros=MICROS // 100,
            neg_risk=False,
            order_type=OrderType(kind),
            salt=self.salt,
            timestamp_ms=T0,
            maker=signer.address,
            signer_address=signer.address,
            signature_type=SignatureType.EOA,
        )
        return with_owner(order.body_template, self.keys[who]).decode()

    def call(self, who: int, endpoint: str, body: str) -> Any:
        caller = {"acct": SIGNERS[who].address, "key": self.keys[who]}
        return self.give({"t": "call", "ep": endpoint, "body": body, **caller})

    def post(self, who: int, token: int, side: str, price: int, size: int, kind: str) -> Any:
        return self.call(who, "POST /order", self.body(who, token, side, price, size, kind))


orders = st.tuples(
    st.just("post"),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(30, 70),
    st.integers(5, 60),
    st.sampled_from(["GTC", "GTC", "FAK", "FOK"]),
)
others = st.one_of(
    st.tuples(st.just("cancel_all"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(1, 200)),
    st.tuples(st.just("fate"), st.sampled_from(["FAIL", "RETRY"])),
    st.tuples(st.just("trade"), st.sampled_from(["BUY", "SELL"]), st.integers(1, 80)),
    st.tuples(st.just("book"), st.integers(31, 69)),
)
courses = st.lists(st.one_of(orders, orders, others), min_size=5, max_size=40)


def play(script: Script, course: list[tuple[Any, ...]]) -> None:
    for what, *terms in course:
        if what == "post":
            script.post(*terms)
        elif what == "cancel_all":
            script.call(terms[0], "DELETE /cancel-all", "")
        elif what == "wait":
            script.at_ms += terms[0]
            script.give({"t": "tick"})
        elif what == "fate":
            script.do("fate", fate=terms[0])
        elif what == "trade":
            price = "0.99" if terms[0] == "BUY" else "0.01"
            token = script.tokens[0]
            script.do("trade", token_id=token, side=terms[0], price=price, size=str(terms[1]))
        else:
            bid, ask = terms[0] - 1, terms[0] + 1
            book = {"bids": [[f"0.{bid}", "40"]], "asks": [[f"0.{ask}", "40"]]}
            script.do("book", token_id=script.tokens[0], **book)


def recounted(script: Script) -> tuple[Counter[Any], Counter[Any]]:
    """What open orders and unsettled trades bind, from the records alone."""
    bound: Counter[Any] = Counter()
    matched: Counter[Any] = Counter()
    exchange = script.venue.exchange
    for record in exchange.orders.values():
        order = record.order
        if record.status in ("LIVE", "DELAYED"):
            left = order.size_micros - order.matched_micros
            paid = cost_micros(order.price_micros, left) if order.side is Side.BUY else left
            asset = "COLLATERAL" if order.side is Side.BUY else order.token_id
            bound[record.maker, asset] += paid
    for one in exchange.trades.values():
        for part in one.trade.parts:
            if not part.account or one.trade.settled:
                continue
            cost = cost_micros(one.trade.price_micros, part.size_micros) + part.fee_micros
            buying = part.side is Side.BUY
            asset = "COLLATERAL" if buying else one.trade.token_id
            wallet = exchange.orders[part.order_id].maker
            matched[wallet, asset] += cost if buying else part.size_micros
    return bound, matched


@settings(max_examples=40, deadline=None)
@given(courses)
def test_what_is_bound_is_what_a_recount_finds(course: list[tuple[Any, ...]]) -> None:
    script = Script()
    play(script, course)
    bound, matched = recounted(script)
    backing = script.venue.exchange.backing
    for signer in SIGNERS:
        for asset in ("COLLATERAL", *script.tokens):
            assert backing.open(signer.address, asset) == bound[signer.address, asset]
            assert backing.matched(signer.address, asset) == matched[signer.address, asset]


@settings(max_examples=40, deadline=None)
@given(courses)
def test_no_order_matches_more_than_it_asked_and_each_part_is_told_once(
    course: list[tuple[Any, ...]],
) -> None:
    script = Script()
    play(script, course)
    exchange = script.venue.exchange
    filled: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for one in exchange.trades.values():
        taken = sum(part.size_micros for part in one.trade.parts[1:])
        assert one.trade.parts[0].size_micros == taken
        for part in one.trade.parts:
            filled[part.order_id] += part.size_micros
            spent[part.order_id] += cost_micros(one.trade.price_micros, part.size_micros)
    for order_id, record in exchange.orders.items():
        order = record.order
        assert filled[order_id] == order.matched_micros
        if order.spend_micros:
            assert spent[order_id] <= order.spend_micros
        else:
            assert order.matched_micros <= order.size_micros
        assert set(record.trades) == {
            t for t, one in exchange.trades.items() if order_id in _ids(one.trade.parts)
        }


def _ids(parts: Any) -> set[str]:
    return {part.order_id for part in parts}


@settings(max_examples=25, deadline=None)
@given(courses)
def test_the_commands_alone_make_the_same_venue_again(course: list[tuple[Any, ...]]) -> None:
    script = Script()
    play(script, course)
    again = Venue(Settings())
    for command in json.loads(json.dumps(script.commands)):
        again.apply(command)
        again.drain()
    assert snapshot(again) == snapshot(script.venue)


@settings(max_examples=25, deadline=None)
@given(courses, st.lists(st.integers(1, 97), max_size=30))
def test_it_does_not_matter_when_anybody_looks_at_the_clock(
    course: list[tuple[Any, ...]], looks: list[int]
) -> None:
    """Ticks in between change nothing: what is due happens at its own time."""
    script = Script()
    play(script, course)
    script.at_ms += 1_000
    script.give({"t": "tick"})
    again, steps = Venue(Settings()), iter(looks * 20)
    for command in script.commands:
        for at_ms in range(max(T0, again.at_ms), command["at"], next(steps, 10**9)):
            again.apply({"t": "tick", "at": at_ms})
        again.apply(command)
    assert trades_of(again) == trades_of(script.venue)
    assert again.exchange.backing.balances.chain == script.venue.exchange.backing.balances.chain


def trades_of(venue: Venue) -> dict[str, Any]:
    return {key: (one.trade, one.updated_ms) for key, one in venue.exchange.trades.items()}


def snapshot(venue: Venue) -> Any:
    """All of its state, but for how many commands it took and the last answer's headers."""
    shown = plain(venue)
    for name in ("commands", "last_charge"):
        shown.pop(name, None)
    return shown


def plain(value: Any) -> Any:
    """Any state as dictionaries, lists and texts, the same for equal states."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items() if one not in ({}, set())}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__") and type(value).__module__.startswith("app."):
        return str(value) if isinstance(value, str) else plain(vars(value))
    return value


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("dance", {}),
    ("markets", {"gamma": "nothing"}),
    ("markets", {"made_up": {"count": 1, "tick": "0.03"}}),
    ("markets", {"made_up": {"count": "many"}}),
    ("market", {"condition_id": "0x0"}),
    ("market", {"condition_id": "C", "accepting": False, "tick": "0"}),
    ("market", {"condition_id": "C", "tick": "0.001", "seconds_delay": "soon"}),
    ("resolve", {"condition_id": "C", "winner": "nobody"}),
    ("book", {"token_id": "0", "bids": [["0.4", "5"]]}),
    ("book", {"token_id": "T", "bids": [["0.4", "5"], ["much", "5"]]}),
    ("trade", {"token_id": "T", "side": "HOLD", "price": "0.5", "size": "1"}),
    ("liquidity", {"token_id": "T", "side": "BUY", "price": "0.5"}),
    ("account", {"address": "0x12"}),
    ("account", {"address": "0x" + "12" * 20, "collateral": "much"}),
    ("account", {"address": "0x" + "12" * 20, "tier": "wood"}),
    ("account", {"address": "0x" + "12" * 20, "collateral": "5", "key": {"key_id": "k"}}),
    ("credit", {"wallet": "0x" + "12" * 20, "collateral": "5", "tokens": {"7": "x"}}),
    ("clock", {"manual": False, "advance_ms": "soon"}),
    ("clock", {"advance_ms": -1}),
    ("mode", {"mode": "asleep"}),
    ("settings", {"seed": 5, "sead": 6}),
    ("fault", {"faults": [{"name": "hang"}, {"name": "gremlins"}]}),
    ("mixture", {"per_mille": 5, "names": ["gremlins"]}),
    ("fate", {"fate": "DOOM"}),
    ("cancel", {"address": "nobody"}),
]


@pytest.mark.parametrize(("deed", "args"), WRONG)
def test_a_deed_that_is_refused_changes_nothing(deed: str, args: dict[str, Any]) -> None:
    script = Script()
    script.post(0, 0, "BUY", 45, 10, "GTC")
    names = {"C": script.condition, "T": script.tokens[0]}
    known = {k: names.get(v, v) if isinstance(v, str) else v for k, v in args.items()}
    before = snapshot(script.venue)
    with pytest.raises(BadInput):
        script.do(deed, **known)
    assert snapshot(script.venue) == before


def test_orders_of_two_accounts_meet_at_the_resting_price() -> None:
    script = Script()
    script.post(0, 0, "SELL", 50, 10, "GTC")
    done = script.post(1, 0, "BUY", 55, 10, "GTC").value
    assert (done["status"], done["makingAmount"], done["takingAmount"]) == ("matched", "5", "10")
    script.at_ms += 100
    script.give({"t": "tick"})
    chain = script.venue.exchange.backing.balances.chain
    fee = parse_micros("0.125", what="fee")  # 10 x 0.05 x 0.5 x 0.5, the taker's
    held = [chain[signer.address, "COLLATERAL"] for signer in SIGNERS]
    assert held == [505 * MICROS, 495 * MICROS - fee]
    assert [chain[s.address, script.tokens[0]] for s in SIGNERS] == [490 * MICROS, 510 * MICROS]


def test_changed_bytes_under_one_id_are_seen() -> None:
    """Order type and expiration are not part of the hash: the same id, another order."""
    script = Script()
    body = script.body(0, 0, "BUY", 45, 10, "GTC")
    for text in (body, body, body.replace('"postOnly":false', '"postOnly":true')):
        script.call(0, "POST /order", text)
    (order_id,) = script.venue.exchange.orders
    assert script.venue.arrivals[order_id] == {"received": 3, "accepted": 1, "duplicated": 2}
    assert len(script.venue.bodies[order_id]) == 2
    assert script.venue.exchange.orders[order_id].body == body
