"""One evaluation of a market: the time between reading it and having placed what follows from it.

While it lasts nobody else evaluates that market, in no process. Everything asked through it names
its term, and the ledger refuses a term that is not the present holder's: a bot that was stopped
for a minute and wakes up in the middle of its decision cannot act on it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import BadInput, Code, Refused
from app.gateway.desired import DesiredOrder, Plan, diff, is_level_of
from app.gateway.mutex import Lease
from app.ledger.answers import Admission, Cancelled, OrderView, Refusal, ReplaceAsked
from app.ledger.handles import OrderHandle
from app.ledger.intents import Intent
from app.ledger.shared_commits import MOST_PER_CALL
from app.risk.sizing import Sized

if TYPE_CHECKING:
    from app.gateway.gateway import Gateway

MOST_REVISION_BYTES = 60


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a desired set. ``refused`` posts, with why, are for the next tick. A handle of
    ``posted`` whose ``admission.replay`` is true stands for what this revision had posted before.
    """

    kept: tuple[OrderView, ...]
    cancelled: tuple[Cancelled, ...]
    posted: tuple[OrderHandle, ...]
    refused: tuple[tuple[DesiredOrder, Refusal], ...]


class Evaluation:
    """The hold on a market, and the ways to act inside it. Comes from `Gateway.evaluation`."""

    def __init__(self, gateway: Gateway, lease: Lease) -> None:
        self._gateway = gateway
        self._lease = lease

    @property
    def market(self) -> str:
        """As the caller named it."""
        return self._lease.market

    @property
    def term(self) -> int:
        """Grows with each holder of this market."""
        return self._lease.term

    @property
    def lost(self) -> bool:
        """Whether the hold ended. Stop deciding then; the ledger refuses whatever would follow."""
        return self._gateway.mutexes.is_lost(self._lease)

    @property
    def again(self) -> bool:
        """Whether somebody found the market locked and asked for a run. Final after the end."""
        return self._lease.again

    def bind(self, intent: Intent) -> Intent:
        """The intent as made inside this evaluation. Raises `BadInput` for another market's."""
        account = self._gateway.ledger.account
        if intent.market != self.market or intent.account not in (None, account):
            # Terms of two markets are numbers of the same kind: one must not open the other.
            raise BadInput(
                Code.BAD_REQUEST,
                f"the evaluation holds {self.market} of {account}, and the intent is for "
                f"{intent.market} of {intent.account or account}",
                not_done="nothing was reserved",
                next_step="name the market in the same way, or evaluate the other one",
            )
        return intent.within(self.term)

    async def place_order_with_guards(
        self, intent: Intent, *, sizing: Sized | None = None
    ) -> OrderHandle:
        """See `Gateway.place_order_with_guards`. Raises `Refused` with ``MUTEX_LOST`` if this hold
        ended.
        """
        self._still_held()
        return await self._gateway.place_order_with_guards(self.bind(intent), sizing=sizing)

    async def cancel_order(self, order_id: int, reason: str = "evaluated") -> Cancelled:
        """A cancel that belongs to this evaluation: refused with ``MUTEX_LOST`` if its hold ended."""
        self._still_held()
        return await self._gateway.ledger.cancel(order_id, reason=reason, mutex_term=self.term)

    async def replace_order(self, order_id: int, intent: Intent) -> ReplaceAsked:
        """See `Gateway.replace_order`."""
        self._still_held()
        return await self._gateway.replace_order(order_id, self.bind(intent))

    async def set_desired_orders(
        self,
        desired: Sequence[DesiredOrder],
        *,
        tick_micros: int,
        revision: str,
        min_size_micros: int = 0,
        classes: Sequence[str] = ("entry",),
        origin: str = "desired",
        strategy: str = "",
    ) -> Applied:
        """Make the market's standing orders what is wanted, as far as the ledger lets: see `diff`.

        First the cancels, then all posts as one set, in one commit. ``revision`` (1 to 60 bytes)
        names this version of the set, and posts once at each level: applied again, after a crash or
        in doubt, it makes up for nothing that was filled, cancelled or taken away meanwhile. Give
        each new decision a new one. Posts that are refused (a cap that a cancel not yet proven still
        fills, the limiter: ``DEFERRED``) come back in ``refused``, and leave their level open.
        """
        self._still_held()
        if not 1 <= len(revision.encode()) <= MOST_REVISION_BYTES:
            raise BadInput(
                Code.BAD_KEY,
                f"the revision must be text of 1 to {MOST_REVISION_BYTES} bytes",
                not_done="nothing was cancelled and nothing was posted",
            )
        plan = diff(
            desired,
            await self._gateway.ledger.standing_orders(self.market),
            tick_micros=tick_micros,
            min_size_micros=min_size_micros,
            classes=classes,
        )
        return await self._apply(plan, revision, origin, strategy)

    async def _apply(self, plan: Plan, revision: str, origin: str, strategy: str) -> Applied:
        ledger = self._gateway.ledger
        if len(plan.post) > MOST_PER_CALL:
            raise BadInput(
                Code.BAD_REQUEST,
                f"{len(plan.post)} orders would be posted, and {MOST_PER_CALL} travel together",
                not_done="nothing was cancelled and nothing was posted",
                next_step="want fewer orders in one market",
            )
        cancelled = await ledger.cancel_many(
            [view.order_id for view in plan.cancel],
            reason="not wanted any more",
            mutex_term=self.term,
        )
        intents = [
            self.bind(one.intent(self.market, revision, origin=origin, strategy=strategy))
            for one in plan.post
        ]
        posted: list[OrderHandle] = []
        refused: list[tuple[DesiredOrder, Refusal]] = []
        answers = await ledger.try_reserve_many(intents)
        for one, intent, answer in zip(plan.post, intents, answers, strict=True):
            admitted: Admission | None
            if not isinstance(answer, Refusal):
                admitted = answer
            elif answer.code is Code.KEY_REUSED:
                admitted = await self._posted_before(one, intent)
            else:
                admitted = None
            if admitted is not None:
                posted.append(OrderHandle(ledger, admitted.order_id, admitted))
            elif isinstance(answer, Refusal):
                self._gateway.tell_refused(self.market, answer)
                refused.append((one, answer))
        return Applied(plan.keep, tuple(cancelled), tuple(posted), tuple(refused))

    async def _posted_before(self, wanted: DesiredOrder, intent: Intent) -> Admission | None:
        """What this revision has posted at the level, of another size than what lacks there by now."""
        view = await self._gateway.ledger.find_by_key(intent.key)
        if isinstance(view, OrderView) and is_level_of(wanted, view):
            return Admission(
                view.order_id, view.price_micros, view.size_micros, replay=True, clamped=False
            )
        return None

    def _still_held(self) -> None:
        if self.lost:
            raise Refused(
                Code.MUTEX_LOST,
                f"the hold on market {self.market} ended",
                not_done="nothing was reserved, cancelled or sent",
                next_step="begin a new evaluation and read the market again",
            )
