"""Metadata of markets: Gamma's objects, files of them, the CLOB's two forms, and the answers that they come in."""

from __future__ import annotations

import gzip
import json
from typing import Any, Final

from app.errors import BadInput, Code
from app.markets.clob import merge, read_clob_market
from app.markets.exact_json import single
from app.markets.fetching import Absent, Got, Unread, judge
from app.markets.files import read_market_bytes
from app.markets.gamma import Unusable, parse_market
from app.markets.model import MAX_FEE_EXPONENT, MAX_FEE_RATE_MICROS, TICKS_MICROS, MarketRecord
from app.money import MAX_MICROS, MICROS
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from proof.fuzzing import documents as docs
from proof.fuzzing.answers import STATUSES, printable_enough, whole
from proof.fuzzing.bending import Raw, bent, changes_of, damaged, encoded
from proof.fuzzing.model import Random, Target, Violated, require, steady
from proof.fuzzing.targets.reading import fraction


def gamma(rng: Random) -> dict[str, Any]:
    """A complete open market."""
    return {
        "id": "501",
        "conditionId": docs.CONDITION,
        "slug": "a-market",
        "question": "Up or down?",
        "outcomes": rng.choice(('["Up", "Down"]', ["Up", "Down"])),
        "clobTokenIds": json.dumps([docs.TOKEN, docs.OTHER_TOKEN]),
        "orderPriceMinTickSize": Raw(rng.choice(("0.01", "0.001", "0.0025"))),
        "orderMinSize": rng.choice((5, Raw("5.5"))),
        "feesEnabled": True,
        "feeSchedule": {"exponent": 1, "rate": Raw("0.07"), "takerOnly": True},
        "negRisk": False,
        "enableOrderBook": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "endDate": "2035-03-01T14:15:00Z",
        "events": [
            {
                "id": "9",
                "slug": "an-event",
                "title": "An event",
                "negRisk": False,
                "tags": [{"slug": "esports"}],
            }
        ],
    }


def clob(rng: Random) -> dict[str, Any]:
    if rng.random() < 0.3:
        return {
            "condition_id": docs.CONDITION, "minimum_tick_size": Raw("0.01"), "minimum_order_size": 5,
            "maker_base_fee": 0,
            "taker_base_fee": 0, "tokens": [{"token_id": docs.TOKEN, "outcome": "Up", "winner": False},
            {"token_id": docs.OTHER_TOKEN, "outcome": "Down"}], "neg_risk": False, "accepting_orders": True,
            "enable_order_book": True, "active": True, "closed": False, "archived": False, "seconds_delay": 3,
        }  # fmt: skip
    return {
        "c": docs.CONDITION, "t": [{"t": docs.TOKEN, "o": "Up"}, {"t": docs.OTHER_TOKEN, "o": "Down"}], "mos": 5,
        "mts": Raw("0.01"), "mbf": 1000, "tbf": 1000, "ao": True, "fd": {"r": Raw("0.07"), "e": 1, "to": True},
    }  # fmt: skip


# --- what must hold of a record -------------------------------------------------------------------


def sound(record: MarketRecord) -> None:
    """Whatever trading needs is there, exact and within bounds, or the market is not tradable and says why."""
    row = record.to_row()
    text = json.dumps(row, ensure_ascii=False)
    require("\\u0000" not in text, "misread", "a NUL would be stored")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Violated("misread", "half a character would be stored") from error
    for value, low, high, what in (
        (record.tick_micros, 100, 100_000, "tick"),
        (record.min_size_micros, 1, MAX_MICROS, "minimum size"),
        (record.fee_rate_micros, 0, MAX_FEE_RATE_MICROS, "fee rate"),
        (record.fee_exponent, 0, MAX_FEE_EXPONENT, "fee exponent"),
    ):
        require(value is not None or not record.tradable, "misread", f"tradable without {what}")
        if value is not None:
            whole(value, low, high, what)
    require(
        record.tick_micros is None or record.tick_micros in TICKS_MICROS,
        "misread",
        "a tick that is none",
    )
    require(len(record.outcomes) in (0, 2), "misread", "half a market")
    if record.tradable:
        tokens = [one.token_id for one in record.outcomes]
        require(len(set(tokens)) == 2, "misread", "tradable without two tokens")
        require(
            all(one.isascii() and one.isdecimal() and int(one) < 2**256 for one in tokens),
            "misread",
            "a token that is none",
        )
        require(record.neg_risk is not None, "misread", "tradable without its exchange")
        require(record.window_end_ms is not None, "misread", "tradable without an end")
        require(
            record.active and record.accepting_orders and not record.closed,
            "misread",
            "tradable, and not open",
        )
    require(len(record.condition_id) == 66, "misread", "a market of no condition")


def _told(record: MarketRecord, raw: dict[str, Any]) -> None:
    """Amounts are those that the object tells."""
    for value, name in (
        (record.tick_micros, "orderPriceMinTickSize"),
        (record.min_size_micros, "orderMinSize"),
    ):
        told = fraction(raw.get(name))
        require(
            value is None or (told is not None and told * MICROS == value),
            "misread",
            f"{name} was read as {value}",
        )
    if record.tradable:
        for name, wanted in (
            ("closed", False),
            ("active", True),
            ("acceptingOrders", True),
            ("enableOrderBook", True),
        ):
            require(
                str(raw.get(name)).strip().lower() == str(wanted).lower(),
                "misread",
                f"tradable, and {name} says otherwise",
            )


# --- targets --------------------------------------------------------------------------------------


def _tree(rng: Random) -> Any:
    if rng.random() < 0.05 and (found := docs.of_recorded(rng, "gamma-markets")) is not None:
        return found
    return gamma(rng)


def make_gamma(rng: Random) -> bytes:
    return encoded(rng, bent(rng, _tree(rng), changes_of(rng)), damage=0.05)


def check_gamma(given: bytes) -> str:
    try:
        raw = single(given.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(raw, dict):
        return "no object"
    try:
        record = parse_market(raw)
    except RecursionError:
        return "too deep"  # said in its documentation
    if isinstance(record, Unusable):
        return "unusable"
    sound(record)
    _told(record, raw)
    return "tradable" if record.tradable else "not tradable"


def make_clob(rng: Random) -> tuple[bytes, bytes]:
    changed = rng.random() < 0.7
    one = encoded(rng, bent(rng, gamma(rng), 0 if changed else 1), damage=0.0)
    return one, encoded(rng, bent(rng, clob(rng), changes_of(rng)), damage=0.05)


def check_clob(given: tuple[bytes, bytes]) -> str:
    try:
        known, raw = single(given[0].decode()), single(given[1].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(known, dict) or not isinstance(raw, dict):
        return "no object"
    try:
        record, market = parse_market(known), read_clob_market(raw)
    except RecursionError:
        return "too deep"
    if isinstance(record, Unusable):
        return "unusable"
    merged = merge(record, market)
    sound(merged)
    for told, value in ((raw.get("mts", raw.get("minimum_tick_size")), merged.tick_micros),):
        said = fraction(told)
        require(
            value is None or (said is not None and said * MICROS == value),
            "misread",
            "a tick that the CLOB did not tell",
        )
    return "tradable" if merged.tradable else "not tradable"


def make_file(rng: Random) -> bytes:
    markets = [
        bent(rng, _tree(rng), rng.choice((0, 0, 1, 2))) for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    shape = rng.randrange(6)
    tree: Any = markets
    if shape == 1:
        tree = {"markets": markets, "next_cursor": "x"}
    elif shape == 2:
        tree = {"id": "9", "slug": "event", "markets": markets}
    elif shape == 3:
        tree = {"events": [{"id": "9", "markets": markets}], "data": markets}
    elif shape == 4:
        tree = markets[0]
    if shape == 5:
        data = b"\n".join(encoded(rng, one, damage=0.02) for one in markets)
    else:
        data = encoded(rng, bent(rng, tree, rng.choice((0, 0, 1))), damage=0.1)
    if rng.random() < 0.15:
        data = gzip.compress(data, 1, mtime=0)
        data = damaged(rng, data) if rng.random() < 0.5 else data
    return data


def check_file(given: bytes) -> str:
    try:
        report = read_market_bytes(given, name="a file", max_bytes=2_000_000)
    except BadInput as error:
        require(error.code is Code.BAD_FILE, "misread", f"a file was refused by {error.code}")
        printable_enough(str(error), "the refusal of a file")
        return "refused"
    require(
        report.objects_seen == len(report.markets) + len(report.unreadable) + report.duplicates,
        "misread",
        "objects do not add up",
    )
    tokens: set[str] = set()
    for record in report.markets:
        sound(record)
        for one in record.outcomes:
            require(one.token_id not in tokens, "misread", "two markets with one token")
            tokens.add(one.token_id)
    return "tradable" if any(one.tradable for one in report.markets) else "none tradable"


def make_answer(rng: Random) -> Exchange:
    tree = rng.choice(({"markets": [gamma(rng)]}, clob(rng), {"error": "market not found"}))
    phase = rng.choice((Phase.DONE,) * 9 + (Phase.READING, Phase.CONNECTING))
    data = encoded(rng, bent(rng, tree, changes_of(rng)))
    status = rng.choice((200, 200, 200, 404, 404, *STATUSES))
    return Exchange(Endpoint.GET_GAMMA_MARKETS, phase, status, {}, data, "timeout")


def check_answer(given: Exchange) -> str:
    read = judge(given)
    if isinstance(read, Got):
        require(
            given.phase is Phase.DONE and given.status == 200,
            "misread",
            f"got under HTTP {given.status}",
        )
        return "Got"
    printable_enough(read.why, "why nothing was got")
    if isinstance(read, Absent):
        require(
            given.phase is Phase.DONE and given.status == 404,
            "misread",
            f"absent under HTTP {given.status}",
        )
        return "Absent"
    require(isinstance(read, Unread), "misread", "an answer of another kind")
    return "Unread"


TARGETS: Final = (
    Target("gamma-market", make_gamma, steady(check_gamma), weight=1.5),
    Target("clob-market", make_clob, steady(check_clob), weight=1.2),
    Target("market-file", make_file, steady(check_file), weight=1.2),
    Target("market-answer", make_answer, steady(check_answer), weight=0.6),
)
