"""Resolves orders whose fate is unknown: look first, then the same bytes again, or proof of absence.

Nothing leaves "unknown" without evidence. While the intent is still wanted, an order that a look-up does
not find is sent again, byte for byte: if the first copy arrived, the venue says so. Once it is not
wanted, only look-ups and DELETE remain, until the ledger holds every proof of absence it asks for.
"""

from __future__ import annotations

import asyncio
from typing import Final

from app.ledger.calls import storable
from app.venue.interface import Absent, Found, Unread, VenueOrder
from workers.worker.context import Context
from workers.worker.reading import book_trades, observe
from workers.worker.sending import Sender, Work, timed

RESEND_AFTER_MS: Final = 1_000
"""How long an unknown order is looked up before its bytes go again: an index lags by a second or two."""

OFTEN_MS: Final = 700
SELDOM_MS: Final = 10_000
PATIENT_MS: Final = 600_000
"""An order that is still unknown after so long (the venue has shown it, or a key is lost) is looked up seldom."""

TRADES_MARGIN_MS: Final = 60_000
"""How far before the intent trades are read: the venue's clock is not ours."""


class LookUps:
    def __init__(self, context: Context, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._log = context.named("resolver")

    async def one_pass(self) -> bool:
        context = self._context
        if not context.shared.known:
            return False
        asked_ns = context.ports.clock.monotonic_ns()
        claimed: list[Work] = await context.calls.value(
            "claim_look_ups",
            context.incarnation,
            tuple(sorted(context.shared.known)),
            context.lease_ms,
            32,
        )
        await asyncio.gather(*(self._resolve(work) for work in timed(claimed, asked_ns)))
        return False

    async def _resolve(self, work: Work) -> None:
        context = self._context
        account, present = work["account"], self._owner(work["account"])
        answer = await self._look(work, present)
        if isinstance(answer, Found):
            await self._drop(work, 1_000)
        elif isinstance(answer, Unread):
            await self._drop(work, context.backoff_ms(2))
        elif work["wanted"] and account not in context.shared.ready:
            # Nothing is placed before the start comparison, and nothing that is wanted is given up for it.
            await self._drop(work, RESEND_AFTER_MS // 2)
        elif work["wanted"]:
            await self._send_again(work)
        else:
            await self._prove_absent(work, present)

    async def _look(self, work: Work, owner: str) -> Found[VenueOrder] | Absent | Unread:
        """Look it up with one key and book what that shows: the order, or evidence against it."""
        context, account = self._context, work["account"]
        started_ns = context.ports.clock.monotonic_ns()
        context.reached("look.before")
        answer = await context.venue.order(account, work["venue_order_id"], **_with(owner))
        context.reached("look.after")
        if isinstance(answer, Found):
            await observe(context, account, [answer.value], source="read", since_ns=started_ns)
            self._log.info(
                "ORDER_FOUND",
                account=account,
                order=work["order_id"],
                status=answer.value.raw_status,
            )
        elif isinstance(answer, Unread):
            self._log.warning(
                "LOOK_UP_FAILED", account=account, order=work["order_id"], reason=answer.reason
            )
        elif not work["wanted"]:
            await self._record(work, "order_absent", owner, started_ns, answer.raw)
        return answer

    async def _send_again(self, work: Work) -> None:
        if self._context.shared.stopping.is_set():
            # A stop begins nothing: whoever runs next looks, and sends again.
            await self._drop(work, 0)
            return
        if work["fate_age_ms"] < RESEND_AFTER_MS:
            await self._drop(work, RESEND_AFTER_MS // 2)
            return
        self._log.info("SENDING_SAME_BYTES", account=work["account"], order=work["order_id"])
        await self._sender.send(work["account"], [work])
        await self._drop(work, self._context.backoff_ms(2))

    async def _prove_absent(self, work: Work, present: str) -> None:
        """What one key does not show, another may: each that a copy was sent with is asked."""
        context, order_id = self._context, work["order_id"]
        if not work["cancel_asked"]:
            await context.calls.items(
                "request_cancel",
                [
                    {
                        "order_id": order_id,
                        "reason": "unknown, and not wanted any more",
                        "protective": True,
                    }
                ],
            )
        complete = await self._look_for_trades(work, present)
        for owner in await self._other_owners(work, present):
            answer = await self._look(work, owner)
            if isinstance(answer, Found):
                await self._drop(work, 1_000)
                return
            seen = isinstance(answer, Absent) and await self._look_for_trades(work, owner)
            complete = complete and seen
        context.reached("evidence.after")
        [proof] = await context.calls.items("prove_absent", [{"order_id": order_id}])
        if proof["status"] == "ok":
            self._log.info("PROVEN_ABSENT", account=work["account"], order=order_id)
            return
        self._log.debug(
            "NOT_PROVEN", account=work["account"], order=order_id, missing=proof["detail"]
        )
        hopeless = not complete or work["fate_age_ms"] > PATIENT_MS
        await self._drop(work, context.jitter_ms(SELDOM_MS if hopeless else OFTEN_MS))

    async def _look_for_trades(self, work: Work, owner: str) -> bool:
        """Read the trades with one key and book what they show. Whether that could be read."""
        context, account = self._context, work["account"]
        started_ns = context.ports.clock.monotonic_ns()
        since_ms = work["last_matched_ms"] - TRADES_MARGIN_MS
        trades = await context.venue.trades(account, since_ms, **_with(owner))
        if isinstance(trades, Unread):
            return False
        ours = [trade for trade in trades.value if trade.venue_order_id == work["venue_order_id"]]
        if ours:
            await book_trades(context, account, ours)
        else:
            await self._record(work, "trades_absent", owner, started_ns, "")
        return True

    async def _other_owners(self, work: Work, present: str) -> list[str]:
        """Keys besides the present one under which a copy was sent whose fate is open."""
        rows = await self._context.calls.rows(
            "SELECT DISTINCT t.owner FROM ledger.attempt t JOIN ledger.account a USING (account_id) "
            "WHERE a.name = $1 AND t.order_id = $2 AND t.outcome IN ('unknown', 'lapsed') "
            "AND t.owner <> $3 ORDER BY t.owner",
            work["account"],
            work["order_id"],
            present,
        )
        return [row["owner"] for row in rows]

    async def _record(
        self, work: Work, kind: str, owner: str, started_ns: int, detail: str
    ) -> None:
        """At once, so that nothing but the look-up itself lies between its begin and its record."""
        evidence = {
            "order_id": work["order_id"],
            "kind": kind,
            "took_ms": self._context.elapsed_ms(started_ns),
            "owner": owner,
            "incarnation": str(self._context.incarnation),
            "detail": storable(detail),
        }
        await self._context.calls.items("record_evidence", [evidence])

    def _owner(self, account: str) -> str:
        key = self._context.host.key(account)
        return key.owner if key is not None else ""

    async def _drop(self, work: Work, after_ms: int) -> None:
        await self._context.calls.value(
            "drop_claims",
            [
                {
                    "order_id": work["order_id"],
                    "incarnation": str(self._context.incarnation),
                    "claim_no": work["claim_no"],
                    "after_ms": after_ms,
                }
            ],
        )


def _with(owner: str) -> dict[str, str]:
    """A venue without keys is not asked with one."""
    return {"owner": owner} if owner else {}
