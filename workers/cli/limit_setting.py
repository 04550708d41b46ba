"""``limits set``: one call, any number of limits, each with a row in the change log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.errors import BadInput, Code
from workers.cli.connect import read, with_ledger
from workers.cli.limit_names import LIMITS, OF_SCOPE, TOTALS, parsed, shown
from workers.cli.output import Column, Row, emit, table
from workers.cli.state import Json
from workers.cli.values import NOTHING

if TYPE_CHECKING:
    from app.ledger.calls import LedgerCalls


def _option(limit: str, help_text: str) -> Any:
    return typer.Option(f"--{limit}", metavar="VALUE", help=f"{help_text}.")


def set_limits(
    context: typer.Context,
    why: Annotated[str, typer.Option("--why", help="The reason, for the change log.")],
    account: Annotated[str | None, typer.Option("--account", help="Default: all.")] = None,
    market: Annotated[str | None, typer.Option("--market", help="Default: all.")] = None,
    scope: Annotated[
        str | None,
        typer.Option("--scope", help="A total: account[:NAME], group[:KEY], global or live."),
    ] = None,
    max_outcome: Annotated[str | None, _option("max-outcome", "Shares of one outcome")] = None,
    max_market: Annotated[str | None, _option("max-market", "Shares of both outcomes")] = None,
    per_minute: Annotated[str | None, _option("per-minute", "Orders, 0 to 600")] = None,
    gap_ms: Annotated[str | None, _option("gap-ms", "Milliseconds between orders")] = None,
    count_sells: Annotated[bool | None, typer.Option("--count-sells/--no-count-sells")] = None,
    max_order: Annotated[str | None, _option("max-order", "Shares of one order")] = None,
    max_order_cost: Annotated[
        str | None, _option("max-order-cost", "Collateral of one BUY with its highest fee")
    ] = None,
    max_market_cost: Annotated[
        str | None, _option("max-market-cost", "Collateral at risk in one market")
    ] = None,
    max_imbalance: Annotated[
        str | None, _option("max-imbalance", "Shares one outcome may lead the other by")
    ] = None,
    open_orders: Annotated[
        str | None, _option("open-orders", "Orders that have not ended; of a market, or of --scope")
    ] = None,
    cooldown_ms: Annotated[
        str | None, _option("cooldown-ms", "Milliseconds between changes of a market")
    ] = None,
    changes_per_minute: Annotated[
        str | None, _option("changes-per-minute", "Budget of changes; of a market, or of --scope")
    ] = None,
    collar: Annotated[
        str | None, _option("collar", "Price distance from the middle, such as 0.05")
    ] = None,
    max_slippage_bps: Annotated[
        str | None, _option("max-slippage-bps", "Basis points against the middle, by depth")
    ] = None,
    book_age_ms: Annotated[
        str | None, _option("book-age-ms", "Milliseconds after which a book is none")
    ] = None,
    self_match: Annotated[
        str | None, _option("self-match", "yes: orders of one account may meet")
    ] = None,
    duplicate_window_ms: Annotated[
        str | None, _option("duplicate-window-ms", "Milliseconds in which the same order alarms")
    ] = None,
    refuse_duplicates: Annotated[
        str | None, _option("refuse-duplicates", "yes: it is refused, not told alone")
    ] = None,
    open_buffer_ms: Annotated[
        str | None, _option("open-buffer-ms", "Milliseconds after a window's start")
    ] = None,
    close_buffer_ms: Annotated[
        str | None, _option("close-buffer-ms", "Milliseconds before a window's end")
    ] = None,
    weekend: Annotated[
        str | None, _option("weekend", "no: nothing is opened on Saturdays and Sundays (UTC)")
    ] = None,
    breaker_rejects: Annotated[
        str | None, _option("breaker-rejects", "Rejects in a row that open a breaker")
    ] = None,
    breaker_cancels: Annotated[
        str | None, _option("breaker-cancels", "Cancels in a row without an answer that do")
    ] = None,
    slow_ms: Annotated[
        str | None, _option("slow-ms", "An answer so slow halves the orders a minute")
    ] = None,
    stop_ms: Annotated[str | None, _option("stop-ms", "An answer so slow opens a breaker")] = None,
    max_cost: Annotated[
        str | None, _option("max-cost", "With --scope: collateral at risk in all")
    ] = None,
    max_shares: Annotated[str | None, _option("max-shares", "With --scope: shares in all")] = None,
    daily_loss: Annotated[
        str | None, _option("daily-loss", "With --scope: collateral lost since midnight UTC")
    ] = None,
    rolling_loss: Annotated[
        str | None, _option("rolling-loss", "With --scope: from the highest of 24 hours")
    ] = None,
    drawdown_from: Annotated[
        str | None, _option("drawdown-from", "With --scope: orders shrink from this loss on")
    ] = None,
    drawdown_to: Annotated[
        str | None, _option("drawdown-to", "With --scope: at this loss nothing is opened")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change limits, each with a row in the change log. Effective for the next decision.

    Of orders and markets: for all, or for --account and --market. With --scope on totals, of each
    account or group where none is named. Amounts are shares or collateral, such as 12.5; none unsets.
    """
    typed = _typed(context.params)
    kind, name = (None, None) if scope is None else _scope(scope, account, market)
    wanted = _wanted(typed, kind)

    async def work(calls: LedgerCalls) -> list[dict[str, Any]]:
        done = []
        for column, value in await _ordered(calls, wanted, kind, name):
            if kind is None:
                before = await calls.value("set_limit", account, market, column, value, why)
            else:
                before = await calls.value("set_total_limit", kind, name, column, value, why)
            done.append({"name": column, "before": before, "after": value})
        return done

    done = with_ledger("risk", work)
    value = {"status": "set", "account": account, "market": market, "scope": scope, "changes": done}
    emit(value, lambda: table(_CHANGED, done, empty=""))


_CHANGED: list[Column] = [
    ("limit", lambda row: row["name"].removesuffix("_micros")),
    ("before", lambda row: _shown(row, "before")),
    ("after", lambda row: _shown(row, "after")),
]


def _shown(row: Row, name: str) -> str:
    return shown(row["name"], row[name])


def _typed(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Option to what was typed, for every option that is a limit."""
    known = {one.option for one in (*LIMITS, *TOTALS)}
    found = {}
    for parameter, value in parameters.items():
        option = parameter.replace("_", "-")
        if option in known and value is not None:
            found[option] = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return found


def _scope(text: str, account: str | None, market: str | None) -> tuple[str, str | None]:
    """``account``, ``account:NAME``, ``group``, ``group:KEY``, ``global``, ``live``."""
    kind, colon, name = text.partition(":")
    wrong = ""
    if kind not in OF_SCOPE or bool(colon) != bool(name) or (name and kind in ("global", "live")):
        wrong = f"{text[:60]!r} is not a scope of totals"
    elif account is not None or market is not None:
        wrong = "--scope names whose total it is, and --account and --market whose markets"
    if wrong:
        raise BadInput(
            Code.BAD_REQUEST,
            wrong,
            not_done=NOTHING,
            next_step="write --scope account, account:NAME, group, group:KEY, global or live alone",
        )
    return kind, name or None


def _wanted(typed: Mapping[str, str], scope: str | None) -> dict[str, str | None]:
    """Column to value. All are read before the first is set: half a change would be worse than none."""
    known = {one.option: one for one in (LIMITS if scope is None else TOTALS)}
    allowed = known.keys() if scope is None else OF_SCOPE[scope]
    strange = sorted(typed.keys() - allowed)
    if strange:
        where = "a limit on totals: it needs --scope" if scope is None else f"no limit of {scope}"
        raise BadInput(
            Code.BAD_REQUEST,
            f"--{strange[0]} is {where}",
            not_done=NOTHING,
            next_step="see ledger-worker limits set --help, and docs/risk.md",
        )
    if not typed:
        raise BadInput(
            Code.BAD_REQUEST,
            "no limit was named",
            not_done=NOTHING,
            next_step="see ledger-worker limits set --help",
        )
    wanted = {known[option].column: parsed(known[option], typed[option]) for option in typed}
    _check_drawdown(wanted)
    return wanted


def _check_drawdown(wanted: Mapping[str, str | None]) -> None:
    begin, end = wanted.get("drawdown_from_micros"), wanted.get("drawdown_to_micros")
    if begin is not None and end is not None and int(begin) >= int(end):
        raise BadInput(
            Code.BAD_REQUEST,
            "--drawdown-from is not below --drawdown-to",
            not_done=NOTHING,
            next_step="sizes shrink evenly from the first to the second",
        )


async def _ordered(
    calls: LedgerCalls, wanted: Mapping[str, str | None], kind: str | None, name: str | None
) -> list[tuple[str, str | None]]:
    """In the order typed; the two ends of a drawdown so that neither passes the other on the way."""
    end = wanted.get("drawdown_to_micros")
    if end is None or "drawdown_from_micros" not in wanted:
        return list(wanted.items())
    found = [row["drawdown_from_micros"] for row in await read(calls, "drawdown_from", kind, name)]
    end_first = not found or found[0] is None or found[0] < int(end)
    last = "drawdown_from_micros" if end_first else "drawdown_to_micros"
    return sorted(wanted.items(), key=lambda item: item[0] == last)
