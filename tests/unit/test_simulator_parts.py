"""The simulator's parts by themselves: signatures, buckets, cursors, faults, certificates, journal."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from polymarket._internal.l1_auth import build_api_key_auth_typed_data
from py_clob_client_v2.utilities import (
    generate_orderbook_summary_hash,
    parse_raw_orderbook_summary,
)

from app.clock import AsyncioTasks, Ports, SeededRng, SystemClock
from app.errors import BadInput
from app.money import MICROS
from app.venue.interface import OrderType, Side, TradeStatus
from app.venue.matching import (
    AnswerKind,
    Book,
    Order,
    OrderStatus,
    Rules,
    Taker,
    TradeChanged,
    new_book,
    offer,
    place,
    replace_levels,
    resting,
    take,
)
from app.venue.polymarket.domain import EXCHANGES, POLYGON
from app.venue.polymarket.encoding import parse_address
from app.venue.polymarket.signing import OrderFields, Signer
from app.venue.simulator.certificates import make_certificates
from app.venue.simulator.cursors import decode_cursor, encode_cursor, page
from app.venue.simulator.exchange import levels
from app.venue.simulator.faults import CATALOGUE, Facts, FaultPlan, Stage
from app.venue.simulator.faults.catalogue import MIXTURE
from app.venue.simulator.journal import Journal
from app.venue.simulator.limits import TIERS, Limits
from app.venue.simulator.markets import made_up, read_gamma
from app.venue.simulator.messages import number
from app.venue.simulator.settings import Settings
from app.venue.simulator.signatures import auth_signer, order_signer
from app.venue.simulator.views import book_view

SIGNER = Signer.ephemeral(SeededRng(5).bits)
OWN = parse_address(SIGNER.address)
CENT = MICROS // 100
T0 = 1_800_000_000_000
STANDING = Rules(tape_every_ms=1 << 50)


# --- signatures -----------------------------------------------------------------------------------


def fields(kind: int, salt: int = 7) -> OrderFields:
    wallet = OWN if kind == 0 else 0x1234
    signer = wallet if kind == 3 else OWN
    return OrderFields(salt, wallet, signer, 10**70, 4_500_000, 10_000_000, 0, kind, T0)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
@pytest.mark.parametrize("domain", ["standard", "neg_risk", "v3"])
def test_an_orders_signer_is_found_for_every_type_and_exchange(kind: int, domain: str) -> None:
    exchange = getattr(EXCHANGES[POLYGON], domain)
    signed = SIGNER.sign(fields(kind), exchange)
    assert order_signer(fields(kind), exchange, signed.signature) == SIGNER.address
    assert order_signer(fields(kind, salt=8), exchange, signed.signature) != SIGNER.address
    elsewhere = EXCHANGES[POLYGON].standard if domain != "standard" else EXCHANGES[POLYGON].v3
    assert order_signer(fields(kind), elsewhere, signed.signature) != SIGNER.address


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("bend", [lambda s: b"", lambda s: s[:-1], lambda s: s + b"\0"])
def test_a_signature_of_another_length_is_nobodys(
    kind: int, bend: Callable[[bytes], bytes]
) -> None:
    exchange = EXCHANGES[POLYGON].standard
    signature = bend(SIGNER.sign(fields(kind), exchange).signature)
    assert order_signer(fields(kind), exchange, signature) is None


def test_the_request_for_a_key_is_signed_as_the_official_client_signs_it() -> None:
    account = Account.create()
    typed = build_api_key_auth_typed_data(
        address=account.address, chain_id=POLYGON, timestamp=1_800_000_000, nonce=3
    )
    signature = account.sign_message(encode_typed_data(full_message=typed)).signature
    address = parse_address(account.address)

    def found(timestamp: str, nonce: int) -> str | None:
        return auth_signer(address, timestamp, nonce, POLYGON, bytes(signature))

    assert found("1800000000", 3) == account.address
    assert found("1800000001", 3) != account.address
    assert found("1800000000", 4) != account.address


# --- buckets --------------------------------------------------------------------------------------


def test_a_bucket_holds_its_burst_and_refills_at_its_rate() -> None:
    limits = Limits()
    assert limits.charge("a", "orders", "standard", 60, T0).taken
    refused = limits.charge("a", "orders", "standard", 1, T0)
    assert (refused.taken, refused.remaining, refused.wait_ms) == (False, 0, 25)
    assert limits.charge("a", "orders", "standard", 1, T0 + 25).taken
    assert limits.charge("a", "cancels", "standard", 120, T0).taken
    assert limits.charge("b", "orders", "standard", 60, T0).taken
    assert not limits.charge("a", "orders", "standard", 61, T0 + 10**9).taken


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 500)), max_size=60))
def test_no_bucket_gives_more_than_burst_and_rate(asks: list[tuple[int, int]]) -> None:
    limits, now, given_out = Limits(), T0, 0
    tier = TIERS["standard"]
    for cost, wait_ms in asks:
        now += wait_ms
        given_out += cost * limits.charge("a", "orders", "standard", cost, now).taken
    assert given_out * 1000 <= tier.order_burst * 1000 + (now - T0) * tier.orders


# --- pages ----------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 9))
def test_pages_add_up_to_the_list(length: int, limit: int) -> None:
    rows, cursor, seen = list(range(length)), "MA==", []
    while cursor != "LTE=":
        found = page(rows, cursor, limit)
        assert found is not None
        seen += found["data"]
        cursor = found["next_cursor"]
    assert seen == rows


def test_cursors_are_those_of_the_venue() -> None:
    assert (encode_cursor(0), encode_cursor(-1), decode_cursor("MA==")) == ("MA==", "LTE=", 0)
    assert [decode_cursor(text) for text in ("LTE=", "x", "eA==")] == [None, None, None]


# --- faults ---------------------------------------------------------------------------------------

ANY = frozenset(Stage)


def strikes(plan: FaultPlan, facts: Facts) -> list[str]:
    found, hits = plan.decide(facts, ANY)
    plan.count(hits)
    return [one.name for one in found]


def test_deciding_changes_nothing_and_counting_does() -> None:
    plan = FaultPlan(1)
    plan.add({"name": "drop_before"})
    facts = Facts("POST /order")
    assert plan.decide(facts, ANY)[0] == plan.decide(facts, ANY)[0]
    assert strikes(plan, facts) == ["drop_before"]
    assert strikes(plan, facts) == []


def test_a_rule_sees_what_it_matches_alone() -> None:
    plan = FaultPlan(1)
    plan.add({"name": "drop_before", "endpoint": "POST *", "account": "a", "contains": "x"})
    for facts in (Facts("GET /x", "a", "x"), Facts("POST /x", "b", "x"), Facts("POST /x", "a")):
        assert strikes(plan, facts) == []
    assert strikes(plan, Facts("POST /x", "a", "-x-")) == ["drop_before"]


@given(st.integers(0, 1 << 40), st.integers(1, 999_999), st.lists(st.booleans(), max_size=60))
def test_chance_does_not_depend_on_what_a_rule_does_not_see(
    seed: int, ppm: int, others: list[bool]
) -> None:
    def run(noise: list[bool]) -> list[list[str]]:
        plan = FaultPlan(seed)
        plan.add({"name": "drop_before", "endpoint": "POST /order", "times": 0, "ppm": ppm})
        told = []
        for i in range(40):
            if i < len(noise) and noise[i]:
                strikes(plan, Facts("GET /time"))
            told.append(strikes(plan, Facts("POST /order")))
        return told

    assert run(others) == run([])


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": "x"},
        {"name": "hang", "ms": "5"},
        {"name": "hang", "colour": 1},
        {"name": "hang", "times": True},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        FaultPlan(1).add(wanted)


def test_the_mixture_is_made_of_faults_that_exist() -> None:
    assert set(MIXTURE) <= set(CATALOGUE)
    assert len(set(MIXTURE)) == len(MIXTURE)


# --- markets and numbers --------------------------------------------------------------------------


def test_a_made_up_market_reads_back_as_gamma() -> None:
    market = made_up(3, 1, tick_micros=2_500, neg_risk=True, fee_rate_ppm=50_000)
    again = read_gamma(json.dumps([market.raw]))[0]
    assert again == market
    assert made_up(3, 1) == made_up(3, 1)
    assert made_up(4, 1).condition_id != made_up(3, 1).condition_id


@pytest.mark.parametrize("text", ["", "[]", "{}", '[{"conditionId":"0x1"}]', "[1]", "null"])
def test_what_is_no_market_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        read_gamma(text)


@given(st.integers(0, 10**14))
def test_a_json_number_is_spelled_as_its_decimal(micros: int) -> None:
    whole, rest = divmod(micros, MICROS)
    text = json.dumps(number(micros))
    if "e" not in text:  # small ones are spelled with an exponent, and read the same
        assert text == (f"{whole}.{rest:06d}".rstrip("0").rstrip(".") if rest else str(whole))
    assert round(json.loads(text) * MICROS) == micros


def test_settings_are_changed_by_name_and_type() -> None:
    assert Settings().changed({"seed": 3}).seed == 3
    for wrong in ({"sead": 3}, {"seed": "3"}, {"seed": True}, {"rate_limits": 1}, {"seed": -1}):
        with pytest.raises(BadInput):
            Settings().changed(wrong)


# --- books ----------------------------------------------------------------------------------------


def empty_book(*rows: tuple[Side, int, int]) -> Book:
    return new_book(1, "7", "c", CENT, 5 * MICROS, levels=levels(rows))


def spending(amount: int, price: int, kind: OrderType = OrderType.FOK) -> Order:
    size = amount * MICROS // price
    return Order("0x1", "a", "7", Side.BUY, price, size, kind, spend_micros=amount)


ASKS = ((Side.SELL, 50 * CENT, 10 * MICROS), (Side.SELL, 60 * CENT, 100 * MICROS))


def test_a_market_buy_spends_its_amount_at_the_prices_it_finds() -> None:
    book = empty_book(*ASKS)
    done = place(book, spending(11 * MICROS, 60 * CENT), T0, STANDING, seen=False)
    assert done.answer is not None
    assert (done.answer.kind, done.answer.status) == (AnswerKind.ACCEPTED, "matched")
    trades = [one.trade for one in done.events if isinstance(one, TradeChanged)]
    # 5 of collateral for the ten at 0.50, the other 6 for ten at 0.60
    assert [(t.price_micros, t.parts[0].size_micros) for t in trades] == [
        (50 * CENT, 10 * MICROS),
        (60 * CENT, 10 * MICROS),
    ]
    assert {t.status for t in trades} == {TradeStatus.MATCHED}


def test_a_market_buy_that_cannot_spend_all_is_killed_or_cut() -> None:
    book = empty_book(*ASKS)
    killed = place(book, spending(66 * MICROS, 60 * CENT), T0, STANDING, seen=False)
    assert killed.answer is not None
    assert (killed.answer.code, killed.answer.burns_id) == ("FOK_KILLED", True)
    cut = place(book, spending(66 * MICROS, 60 * CENT, OrderType.FAK), T0, STANDING, seen=False)
    shares = sum(
        one.trade.parts[0].size_micros for one in cut.events if isinstance(one, TradeChanged)
    )
    assert shares == 110 * MICROS
    assert cut.book.orders == ()


@pytest.mark.parametrize("kind", [OrderType.GTC, OrderType.GTD])
def test_what_can_rest_has_a_size_and_no_amount(kind: OrderType) -> None:
    order = spending(5 * MICROS, 50 * CENT, kind)
    done = place(empty_book(), order, T0, STANDING, seen=False)
    assert done.answer is not None
    assert (done.answer.code, done.book.orders) == ("INVALID_AMOUNTS", ())


@given(st.integers(6, 60), st.lists(st.tuples(st.integers(1, 99), st.integers(1, 90)), max_size=8))
def test_a_market_buy_never_spends_more_than_its_amount(
    amount: int, asks: list[tuple[int, int]]
) -> None:
    rows = [(Side.SELL, price * CENT, size * 123_457) for price, size in dict(asks).items()]
    order = spending(amount * MICROS, 99 * CENT, OrderType.FAK)
    done = place(empty_book(*rows), order, T0, STANDING, seen=False)
    spent = shares = 0
    for one in done.events:
        if isinstance(one, TradeChanged):
            size = one.trade.parts[0].size_micros
            shares += size
            spent += -(-size * one.trade.price_micros // MICROS)
    assert spent <= amount * MICROS
    assert shares <= sum(size for _, _, size in rows)


def resting_order(price: int, size: int = 10 * MICROS) -> Order:
    return Order("0x2", "a", "7", Side.BUY, price, size)


def test_the_outside_takes_offers_and_replaces() -> None:
    book = place(empty_book(*ASKS), resting_order(45 * CENT), T0, STANDING, seen=False).book
    taken = take(book, Taker(Side.SELL, 45 * CENT, 4 * MICROS), T0, STANDING)
    assert taken.book.orders[0].matched_micros == 4 * MICROS
    offered = offer(taken.book, Taker(Side.SELL, 44 * CENT, 9 * MICROS), T0, STANDING)
    assert offered.book.orders == ()
    assert resting(offered.book, Side.SELL)[44 * CENT] == 3 * MICROS
    joined = offer(offered.book, Taker(Side.SELL, 44 * CENT, MICROS), T0, STANDING)
    assert resting(joined.book, Side.SELL)[44 * CENT] == 4 * MICROS
    fresh = replace_levels(joined.book, levels([(Side.BUY, CENT, MICROS)]), T0, STANDING)
    assert (resting(fresh.book, Side.SELL), resting(fresh.book, Side.BUY)) == ({}, {CENT: MICROS})


def test_another_book_fills_what_it_crosses() -> None:
    book = place(empty_book(), resting_order(45 * CENT), T0, STANDING, seen=False).book
    moved = replace_levels(book, levels([(Side.SELL, 40 * CENT, 6 * MICROS)]), T0, STANDING)
    assert moved.book.orders[0].matched_micros == 6 * MICROS
    trade = next(one.trade for one in moved.events if isinstance(one, TradeChanged))
    assert (trade.price_micros, trade.parts[1].is_maker) == (45 * CENT, True)
    assert moved.book.orders[0].status is OrderStatus.LIVE


def test_a_shown_book_carries_the_official_hash() -> None:
    market = made_up(1, 0)
    book = empty_book(*ASKS, (Side.BUY, 40 * CENT, 1_234_560))
    view = book_view(book, market, T0, "0.85")
    stated = view["hash"]
    assert generate_orderbook_summary_hash(parse_raw_orderbook_summary(view)) == stated
    assert [row["price"] for row in view["asks"]] == ["0.6", "0.5"]


# --- files ----------------------------------------------------------------------------------------


def test_certificates_are_made_once_and_believed_strictly(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls", SystemClock().now_ms())
    server = made.server_context()
    client = ssl.create_default_context(cafile=made.authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.set_alpn_protocols(["h2"])
    ends = (ssl.MemoryBIO(), ssl.MemoryBIO())
    answering = server.wrap_bio(*ends, server_side=True)
    asking = client.wrap_bio(ends[1], ends[0], server_hostname="localhost")
    open_ends = [asking, answering]
    for _ in range(20):
        for end in list(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)
    assert open_ends == []
    assert (asking.selected_alpn_protocol(), asking.version()) == ("h2", "TLSv1.3")
    assert (made.key.stat().st_mode & 0o777) == 0o600
    before = made.certificate.read_bytes()
    assert make_certificates(tmp_path / "tls", 0).certificate.read_bytes() == before


def ports() -> Ports:
    return Ports(SystemClock(), SeededRng(1), AsyncioTasks())


async def test_a_journal_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", ports())
    commands = [{"t": "x", "at": i, "body": "ä\n\u2028"} for i in range(50)]
    for command in commands:
        journal.append(command)
    assert journal.durable == 0
    await asyncio.gather(journal.flushed(), journal.flushed())
    assert journal.durable == 50
    journal.close()
    again = Journal(tmp_path / "j", ports())
    assert again.read() == commands
    again.close()


@given(st.integers(1, 60))
def test_a_journal_cut_anywhere_in_its_last_line_loses_that_line_alone(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        journal = Journal(path, ports())
        for i in range(3):
            journal.append({"t": "x", "at": i, "body": "b" * 60})
        journal.close()
        path.write_bytes(path.read_bytes()[:-cut])
        again = Journal(path, ports())
        assert [one["at"] for one in again.read()] == [0, 1]
        again.append({"t": "x", "at": 9})
        again.close()
        last = Journal(path, ports())
        assert [one["at"] for one in last.read()] == [0, 1, 9]
        last.close()
