"""Every limit by the option that sets it: its column, its unit, and what it may be.

The database knows limits as columns in micros and milliseconds; a person says shares, collateral and
yes or no. A test holds these tables against the columns of ``ledger.limits`` and ``ledger.total_limits``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from app.errors import BadInput, Code
from workers.cli.output import decimal
from workers.cli.values import NOTHING, parse_count

UNSET: Final = "none"
_YES: Final = {"yes": "true", "no": "false"}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit: ``option`` without its dashes, the column, and its unit with the largest value."""

    option: str
    column: str
    unit: Literal["micros", "count", "switch"]
    most: int = 0
    least: int = 0


LIMITS: Final = (
    Limit("max-outcome", "max_outcome_micros", "micros"),
    Limit("max-market", "max_market_micros", "micros"),
    Limit("per-minute", "burst_per_minute", "count", 600),
    Limit("gap-ms", "burst_gap_ms", "count", 600_000),
    Limit("count-sells", "burst_counts_sells", "switch"),
    Limit("max-order", "max_order_micros", "micros"),
    Limit("max-order-cost", "max_order_cost_micros", "micros"),
    Limit("max-market-cost", "max_market_cost_micros", "micros"),
    Limit("max-imbalance", "max_imbalance_micros", "micros"),
    Limit("open-orders", "max_open_orders", "count", 1_000_000),
    Limit("cooldown-ms", "cooldown_ms", "count", 86_400_000),
    Limit("changes-per-minute", "changes_per_minute", "count", 600),
    Limit("collar", "collar_micros", "micros", 1_000_000),
    Limit("max-slippage-bps", "max_slippage_bps", "count", 1_000_000),
    Limit("book-age-ms", "book_age_ms", "count", 86_400_000, 1),
    Limit("self-match", "self_match_allowed", "switch"),
    Limit("duplicate-window-ms", "duplicate_window_ms", "count", 86_400_000),
    Limit("refuse-duplicates", "duplicate_refused", "switch"),
    Limit("open-buffer-ms", "open_buffer_ms", "count", 31_536_000_000),
    Limit("close-buffer-ms", "close_buffer_ms", "count", 31_536_000_000),
    Limit("weekend", "weekend_allowed", "switch"),
    Limit("breaker-rejects", "breaker_rejects", "count", 1_000, 1),
    Limit("breaker-cancels", "breaker_cancels", "count", 1_000, 1),
    Limit("slow-ms", "slow_ms", "count", 3_600_000, 1),
    Limit("stop-ms", "stop_ms", "count", 3_600_000, 1),
)
"""Of orders and markets, for all or for an account, a market, or both."""

TOTALS: Final = (
    Limit("max-cost", "max_cost_micros", "micros"),
    Limit("max-shares", "max_shares_micros", "micros"),
    Limit("open-orders", "max_open_orders", "count", 1_000_000),
    Limit("changes-per-minute", "changes_per_minute", "count", 100_000),
    Limit("daily-loss", "max_daily_loss_micros", "micros"),
    Limit("rolling-loss", "max_rolling_loss_micros", "micros"),
    Limit("drawdown-from", "drawdown_from_micros", "micros"),
    Limit("drawdown-to", "drawdown_to_micros", "micros"),
)
"""On totals: of an account, a group, all accounts, all live accounts."""

OF_SCOPE: Final[dict[str, frozenset[str]]] = {
    "account": frozenset(one.option for one in TOTALS),
    "group": frozenset({"max-cost", "max-shares"}),
    "global": frozenset({"max-cost", "max-shares", "daily-loss", "rolling-loss"}),
    "live": frozenset({"max-cost", "max-shares"}),
}
"""Which totals a scope has."""


def parsed(limit: Limit, given: str) -> str | None:
    """What the database takes for a typed value; None unsets it. Codes BAD_NUMBER and BAD_REQUEST."""
    from app.money import parse_micros

    what = f"--{limit.option}"
    if given == UNSET:
        return None
    if limit.unit == "count":
        return str(parse_count(given, what=what, least=limit.least, most=limit.most))
    if limit.unit == "switch":
        if given not in _YES:
            raise BadInput(
                Code.BAD_REQUEST,
                f"{what} is neither yes nor no: {given[:40]!r}",
                not_done=NOTHING,
                next_step=f"write yes, no, or {UNSET} to unset it here",
            )
        return _YES[given]
    value = parse_micros(given, what=what)
    if value < 0 or (limit.most and value > limit.most):
        raise BadInput(
            Code.BAD_NUMBER,
            f"{what} is not from 0 to {decimal(limit.most)}: {given[:40]!r}"
            if limit.most
            else f"{what} is below zero: {given[:40]!r}",
            not_done=NOTHING,
            next_step=f"give a number from 0 on, or {UNSET} to unset it here",
        )
    return str(value)


def shown(column: str, value: object) -> str:
    """A value of a limit as a person says it."""
    if value is None:
        return UNSET
    if column.endswith("_micros"):
        return decimal(int(str(value)))
    said = str(value).lower()
    return {"true": "yes", "false": "no"}.get(said, said)
