"""Which tokens a comparison asks a balance for, how many, and how young what it compares is: by the ledger's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from app.venue.interface import Found, Holdings, Unread
from tests.support.life import SHARE, Life, call, token
from workers import holdings
from workers.adopting import _holding
from workers.holdings import AT_REST_S, look_at_holdings
from workers.statements import statement
from workers.worker.context import Context

COLLATERAL = 10_000 * SHARE


@dataclass
class Wallet:
    """Context, host and venue in one: says what the wallet holds, and remembers each request."""

    life: Life
    tokens: dict[str, int] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    slow_ms: int = 0
    spent_ms: int = 0

    def __post_init__(self) -> None:
        self.calls = self.venue = self.host = self
        self.ports = self.clock = self

    def monotonic_ns(self) -> int:
        return 0

    def elapsed_ms(self, since_ns: int) -> int:
        return self.spent_ms

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.life.conn.fetch(query, *arguments)]

    async def value(self, function: str, *arguments: Any) -> Any:
        return await call(self.life.conn, function, *arguments)

    async def listed_tokens(self, account: str) -> Found[Sequence[str]] | Unread:
        return Found(sorted(one for one, size in self.tokens.items() if size))

    async def look_anew(self, account: str, assets: Sequence[str]) -> None:
        return None

    async def holdings(self, account: str, token_ids: Sequence[str]) -> Found[Holdings]:
        self.asked.append(list(token_ids))
        self.spent_ms += self.slow_ms
        return Found(Holdings(COLLATERAL, {one: self.tokens.get(one, 0) for one in token_ids}))

    async def look(self, *, whole: bool = True) -> list[str]:
        """The tokens that one look asked for, in its order."""
        self.asked, self.spent_ms = [], 0
        seen = await look_at_holdings(cast(Context, self), self.life.account, whole=whole)
        assert seen.unread == ""
        return [one for chunk in self.asked for one in chunk]


async def wallet(life: Life, count: int, *, over: bool) -> Wallet:
    """A wallet with so many tokens, in as many markets, that our rows hold too."""
    now = await life.conn.fetchval("SELECT ledger.clock()")
    ends = now + timedelta(days=-9 if over else 9)
    found = Wallet(life)
    for number in range(count):
        market = f"w{number}"
        await life.add_market(market, window_end_ms=int(ends.timestamp() * 1000))
        one = token(market, 0)
        found.tokens[one] = 5 * SHARE
        await life.call("book_movement", life.account, one, 5 * SHARE, "opening", market, "test")
    return found


async def test_a_token_of_a_market_that_is_over_is_asked_for_once_a_day(life: Life) -> None:
    theirs = await wallet(life, 3, over=True)
    assert sorted(await theirs.look()) == sorted(theirs.tokens)
    assert await theirs.look() == []
    await life.clock.advance(int(AT_REST_S * 1000))
    assert sorted(await theirs.look()) == sorted(theirs.tokens)


async def test_a_token_of_a_market_that_goes_on_is_asked_for_each_time(life: Life) -> None:
    theirs = await wallet(life, 3, over=False)
    for _ in range(2):
        assert sorted(await theirs.look()) == sorted(theirs.tokens)


async def test_a_token_that_differed_or_moved_is_not_at_rest(life: Life) -> None:
    theirs = await wallet(life, 3, over=True)
    moved, differs, _ = sorted(theirs.tokens)
    theirs.tokens[differs] -= SHARE
    await theirs.look()
    await life.call("book_movement", life.account, moved, SHARE, "transfer_in", "more", "test")
    assert set(await theirs.look()) == {moved, differs}
    # Gone from the wallet and from its list, and still asked for until both sides agree.
    theirs.tokens[moved] += SHARE
    theirs.tokens["77"] = SHARE
    assert set(await theirs.look()) == {moved, differs, "77"}
    theirs.tokens["77"], theirs.tokens[differs] = 0, 5 * SHARE
    assert set(await theirs.look()) == {differs, "77"}
    assert await theirs.look() == []


async def test_a_running_worker_asks_for_a_part_and_comes_to_each_in_turn(
    life: Life, monkeypatch: Any
) -> None:
    monkeypatch.setattr(holdings, "MOST_ASKED", 2)
    theirs = await wallet(life, 5, over=False)
    seen: list[str] = []
    for _ in range(3):
        asked = await theirs.look(whole=False)
        assert len(asked) == 2
        seen += asked
        await life.clock.advance(1_000)
    assert set(seen[:5]) == set(theirs.tokens)
    assert set(await theirs.look()) == set(theirs.tokens)


async def test_what_differs_is_asked_for_before_what_does_not(life: Life, monkeypatch: Any) -> None:
    theirs = await wallet(life, 5, over=False)
    differs = sorted(theirs.tokens)[3]
    theirs.tokens[differs] = 0
    await theirs.look()
    await life.clock.advance(1_000)
    monkeypatch.setattr(holdings, "MOST_ASKED", 1)
    assert set(await theirs.look(whole=False)) == {differs}


async def test_a_whole_look_is_compared_chunk_by_chunk_and_ends_in_time(
    life: Life, monkeypatch: Any
) -> None:
    """What was read minutes ago is not held against rows of now."""
    monkeypatch.setattr(holdings, "CHUNK", 2)
    theirs = await wallet(life, 5, over=False)
    asked = await theirs.look()
    assert [len(chunk) for chunk in theirs.asked] == [2, 2, 1]
    assert set(asked) == set(theirs.tokens)
    await life.clock.advance(1_000)
    theirs.slow_ms = holdings.LONGEST_MS // 2 + 1
    first = await theirs.look()
    assert len(first) == 4
    await life.clock.advance(1_000)
    assert (await theirs.look())[0] not in first, "what was left comes first"


async def test_what_an_order_that_stands_may_have_filled_is_no_opening(life: Life) -> None:
    """Booked as one, it would be booked a second time by the trade that the next comparison reads."""
    asset = token(life.market, 0)
    rows = await life.conn.fetch(statement("owned"), life.account, [asset])
    assert _holding(dict(rows[0]), 10 * SHARE).why_not == ""
    order_id = await life.live()
    for one in (asset, "collateral"):
        [row] = await life.conn.fetch(statement("owned"), life.account, [one])
        assert _holding(dict(row), 10 * SHARE).why_not.startswith("an order stands")
    [other] = await life.conn.fetch(statement("owned"), life.account, [token(life.market, 1)])
    assert _holding(dict(other), 10 * SHARE).why_not == ""
    await life.read(order_id, "CANCELED")
