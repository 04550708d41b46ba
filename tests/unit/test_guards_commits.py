"""In which order requests of one process reach the database: each guard of it is missed here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from app.clock import Ports
from app.ledger.shared_commits import SharedCommits


def request(key: str, market: str) -> dict[str, Any]:
    return {"account": "main", "market": market, "key": key}


async def turns() -> None:
    """Everybody goes on until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_follows_one_that_waits_for_another_market_does_not_overtake_it() -> None:
    sent: list[list[str]] = []
    answers = asyncio.Event()

    async def send(requests: Sequence[Any]) -> list[dict[str, Any]]:
        sent.append([one["key"] for one in requests])
        await answers.wait()
        return [{"item": n, "status": "admitted"} for n, _ in enumerate(requests)]

    commits = SharedCommits(send, Ports.system(), calls=2)
    asked = []
    for requests in (
        [request("first", "m1")],
        [request("waits", "m1"), request("with it", "m2")],
        [request("follows", "m2")],
    ):
        asked.append(asyncio.create_task(commits.ask(requests)))
        await turns()
    assert sent == [["first"]]
    answers.set()
    await asyncio.gather(*asked)
    assert [key for call in sent for key in call] == ["first", "waits", "with it", "follows"]
