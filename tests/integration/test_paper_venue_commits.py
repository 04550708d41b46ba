"""The paper venue's truth is its own: commits, outages, roles, the count of duplicates."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from importlib.resources import files
from string import Template

import asyncpg
import pytest

from app.clock import SeededRng
from app.errors import Code, DatabaseProblem
from app.money import MICROS
from app.venue.interface import (
    Accepted,
    CancelUnknown,
    OrderType,
    PlaceRequest,
    Seen,
    Side,
    Unknown,
    Unread,
)
from app.venue.paper import PaperBook, PaperVenue, doubled, order_hasher
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.order import build_order
from app.venue.polymarket.signing import SignatureType, Signer
from tests.support.paper import (  # noqa: F401
    CENT,
    TOKEN,
    World,
    drop,
    level,
    look,
    one,
    request,
    trades,
    until,
    venue_fixture,
    world_fixture,
)


async def test_a_sender_that_dies_in_the_middle_leaves_all_of_it_or_nothing(
    world: World, venue: PaperVenue
) -> None:
    victim = await world.venue()
    pool = await world.pool()
    batch = [request(1), request(2, 55, 10)]
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT 1 FROM paper.book WHERE token_id = $1 FOR UPDATE", TOKEN)
        sending = asyncio.ensure_future(victim.place("a", batch))
        await until(lambda: conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        world.pools[-2].terminate()
        outcomes = await sending
    assert [type(outcome) for outcome in outcomes] == [Unknown, Unknown]
    orders = await (await world.book()).all_orders()
    assert len(orders) in (0, 2)
    again = await venue.place("a", batch)
    kinds = {type(outcome) for outcome in again}
    assert kinds == ({Accepted} if not orders else {Seen})


async def test_a_database_that_is_gone_makes_everything_unknown(world: World) -> None:
    venue = await world.venue()
    world.pools[-1].terminate()
    assert isinstance(await one(venue, request(1)), Unknown)
    assert isinstance(await drop(venue, request(1)), CancelUnknown)
    assert isinstance(await venue.order("a", "0x1"), Unread)
    assert isinstance(await venue.open_orders("a"), Unread)
    assert isinstance(await venue.trades("a", 0), Unread)
    assert await venue.step() == 0


async def test_a_missing_schema_is_said_and_not_retried_for_ever(world: World) -> None:
    venue = await world.venue()
    await (await world.pool()).execute("DROP SCHEMA paper CASCADE")
    with pytest.raises(DatabaseProblem) as raised:
        await one(venue, request(1))
    assert raised.value.code is Code.SCHEMA_MISSING


async def test_true_duplicates_are_found_in_the_venues_own_book(
    world: World, venue: PaperVenue
) -> None:
    resent, signed_twice = request(1), request(2)
    twice = PlaceRequest("", signed_twice.body.replace(b"1700000000000", b"1700000000001"))
    await venue.place("a", [resent, resent, signed_twice, twice, request(3)])
    (group,) = doubled(await (await world.book()).all_orders())
    assert [order.salt for order in group] == ["2", "2"]
    assert len({order.venue_order_id for order in group}) == 2


async def test_a_truly_signed_order_is_placed_under_its_eip712_hash(world: World) -> None:
    token, neg_risk = str(2**255 + 7), str(2**255 + 9)
    venue = await world.venue(hash_body=order_hasher({neg_risk}))
    await venue.register_market("0xc", [token, neg_risk], CENT, 5 * MICROS)
    signer = Signer.ephemeral(SeededRng(4).bits)
    for one_token in (token, neg_risk):
        signed = build_order(
            signer,
            token_id=one_token,
            side=Side.BUY,
            price_micros=CENT,
            size_micros=10 * MICROS,
            tick_micros=CENT,
            neg_risk=one_token == neg_risk,
            order_type=OrderType.GTC,
            salt=7,
            timestamp_ms=1_700_000_000_000,
            maker=signer.address,
            signer_address=signer.address,
            signature_type=SignatureType.EOA,
        )
        what = PlaceRequest(signed.venue_order_id, with_owner(signed.body_template, "key-1"))
        assert isinstance(await one(venue, what), Accepted)
        assert (await look(venue, what)).price_micros == CENT
        resent = PlaceRequest("", with_owner(signed.body_template, "key-2"))
        assert isinstance(await one(venue, resent), Seen)


@pytest.fixture(name="roles")
async def _roles(world: World) -> AsyncIterator[tuple[str, str]]:
    """A worker and an auditor of this test's own, with the grants of the file."""
    conn = await asyncpg.connect(world.url)
    worker, auditor = (f"paper_{what}_{uuid.uuid4().hex[:8]}" for what in ("worker", "auditor"))
    grants = files("app.venue.paper").joinpath("sql/grants.sql").read_text()
    try:
        await conn.execute(f"CREATE ROLE {worker}; CREATE ROLE {auditor}")
        await conn.execute(Template(grants).substitute(role_worker=worker, role_auditor=auditor))
        yield worker, auditor
    finally:
        await conn.execute(f"DROP OWNED BY {worker}, {auditor}")
        await conn.execute(f"DROP ROLE {worker}, {auditor}")
        await conn.close()


async def test_the_worker_may_run_the_venue_and_the_auditor_may_not_even_look(
    world: World, roles: tuple[str, str]
) -> None:
    worker, auditor = roles
    venue = await world.venue(await world.pool(role=worker))
    await venue.register_market("0xc", [TOKEN], CENT, 0)
    await venue.load_books({TOKEN: (level(Side.SELL, 55, 20),)})
    await venue.faults.inject("place", "appear_late", skip=1)
    await venue.place("a", [request(1, 55), request(2, 55)])
    world.clock.ms += 2_000
    await venue.step()
    await drop(venue, request(2))
    assert len(await trades(venue)) == 2
    await venue.faults.clear()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await (await world.pool(role=worker)).execute("DELETE FROM paper.venue_order")

    assert len(await PaperBook(await world.pool(role=worker)).all_orders()) == 2
    looking = await world.pool(role=auditor)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await looking.fetch("SELECT * FROM paper.venue_order")
    with pytest.raises(DatabaseProblem) as raised:
        await one(await world.venue(looking), request(3))
    assert raised.value.code is Code.DATABASE_PRIVILEGE
