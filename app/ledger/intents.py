"""What a caller wants: one order it asks the ledger to reserve, and the words it is written in.

An intent is plain data. Nothing is checked here but that it can travel; every decision about it is
made by ``ledger.reserve_pending`` under the market's lock, for every caller in every language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from app.errors import BadInput, Code
from app.money import format_micros, parse_micros

Side: TypeAlias = Literal["BUY", "SELL"]

OrderType: TypeAlias = Literal["GTC", "GTD", "FOK", "FAK"]
"""Good till cancelled, good till a date, fill or kill, fill and kill (docs/venue.md 3)."""

OrderClass: TypeAlias = Literal["entry", "hedge", "micro_hedge", "unwind", "emergency"]
"""Why it is traded. All but ``entry`` pass a lane whose head is blocked."""

_ABSENT: Final = ("account", "mutex_term", "set_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One order that is wanted.

    ``market`` is a condition id or a slug, ``outcome`` a label (``"Up"``), ``"0"``, ``"1"`` or a
    token id. ``price_micros`` is collateral per share, ``size_micros`` shares, both in 1e-6.
    ``key`` (1 to 200 bytes) makes asking twice harmless: the same key with the same request gives
    the first answer.

    ``account`` is the ledger's own if None. ``expires_at_s`` is Unix seconds, for GTD only. After
    ``valid_for_ms`` the intent is not sent any more. ``clamp`` takes what is left under a cap
    instead of a refusal. ``mutex_term`` is filled in by an evaluation of the gateway. Intents with
    the same ``set_id`` in one `Ledger.try_reserve_many` are one set for the minimum gap.
    """

    market: str
    outcome: str
    side: Side
    price_micros: int
    size_micros: int
    key: str
    account: str | None = None
    order_type: OrderType = "GTC"
    post_only: bool = False
    expires_at_s: int = 0
    order_class: OrderClass = "entry"
    origin: str = "other"
    strategy: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    valid_for_ms: int = 30_000
    clamp: bool = False
    mutex_term: int | None = None
    set_id: int | None = None

    @classmethod
    def of(
        cls,
        *,
        market: str,
        outcome: str,
        side: Side,
        price: str,
        size: str,
        key: str,
        **options: Any,
    ) -> Intent:
        """An intent from decimal text, ``price="0.45", size="10"``; ``options`` are the other
        fields.

        Raises `BadInput` with ``BAD_NUMBER`` for text that is not an exact number of micros.
        """
        return cls(
            market=market,
            outcome=outcome,
            side=side,
            price_micros=micros_of(price, "price"),
            size_micros=micros_of(size, "size"),
            key=key,
            **options,
        )

    def within(self, term: int) -> Intent:
        """The same intent, made inside an evaluation that holds the market mutex with ``term``."""
        return replace(self, mutex_term=term)

    def as_request(self, account: str) -> dict[str, Any]:
        """The JSON object ``ledger.reserve_pending`` takes.

        Raises `BadInput` for values that are no JSON. They are found here, not in a call that
        carries other callers' intents too.
        """
        request = {name: getattr(self, name) for name in self.__slots__ if name not in _ABSENT}
        request["class"] = request.pop("order_class")
        request["account"] = self.account or account
        for name in ("mutex_term", "set_id"):
            if getattr(self, name) is not None:
                request[name] = getattr(self, name)
        try:
            text = json.dumps(request, allow_nan=False, ensure_ascii=False, default=_mapping)
            text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise _not_json(str(error)) from error
        if "\\u0000" in text.replace("\\\\", ""):
            raise _not_json("it holds the character NUL")
        request["context"] = json.loads(text)["context"]
        return request

    def __str__(self) -> str:
        price, size = format_micros(self.price_micros), format_micros(self.size_micros)
        return f"{self.side} {size} {self.outcome} at {price} in {self.market}"


def _mapping(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


def _not_json(why: str) -> BadInput:
    return BadInput(
        Code.BAD_REQUEST,
        f"the intent cannot be written as JSON: {why}",
        not_done="nothing was reserved",
        next_step="give text, whole numbers, true or false, and a context made of them",
    )


def micros_of(text: str, what: str) -> int:
    """Decimal text as micros; `BadInput` with ``BAD_NUMBER`` for anything else."""
    if not isinstance(text, str):  # a float has already lost what was meant
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} must be decimal text such as '0.45', not {type(text).__name__}",
            not_done="nothing was reserved",
        )
    return parse_micros(text, what=what)
