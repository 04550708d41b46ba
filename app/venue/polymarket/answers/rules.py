"""What the venue's refusals mean: the table of docs/venue.md 3.6 as data, in the order in which it is asked.

A row is believed only where it is written to apply: under its HTTP statuses, and for the whole of the text.
"could not run the execution: not enough balance" is not "not enough balance". What no row describes is
unknown; the rows that say unknown come first, so that no later row can be read into such a text.
"""

from __future__ import annotations

import re
from typing import Final

from app.venue.polymarket.answers.verdicts import Mode, ReasonClass, Rule, Verdict


def _unknown(code: str, text: str, contains: str) -> Rule:
    pattern = re.compile(f".*{contains}.*")
    return Rule(code, Verdict.UNKNOWN, ReasonClass.VENUE, (), (text,), pattern)


def _rejected(
    code: str,
    reason: ReasonClass,
    texts: tuple[str, ...],
    pattern: str,
    *,
    statuses: tuple[int, ...] = (200, 400),
    mode: Mode | None = None,
    whole_request: bool = False,
) -> Rule:
    known = re.compile(pattern)
    return Rule(code, Verdict.REJECTED, reason, statuses, texts, known, whole_request, mode)


def _closed(
    code: str, mode: Mode, text: str, pattern: str, *, wait_ms: int = 5_000, body_code: str = ""
) -> Rule:
    """A mode of the whole venue, told under 503 or, for one order of a batch, inside a 200."""
    known = re.compile(pattern)
    verdict, statuses = Verdict.NOT_PLACED, (200, 503)
    return Rule(code, verdict, _VENUE, statuses, (text,), known, True, mode, wait_ms, body_code)


def _by_status(code: str, status: int, mode: Mode, wait_ms: int) -> Rule:
    return Rule(code, Verdict.NOT_PLACED, _VENUE, (status,), (), None, True, mode, wait_ms)


def _not_ready(code: str, text: str, pattern: str) -> Rule:
    known = re.compile(pattern)
    statuses = (200, 400)
    return Rule(code, Verdict.NOT_PLACED, _MARKET, statuses, (text,), known, wait_ms=1_000)


_OURS, _MARKET = ReasonClass.OURS, ReasonClass.MARKET
_CREDENTIALS, _VENUE = ReasonClass.CREDENTIALS, ReasonClass.VENUE

_ORDER: Final = r"(?:order\b.{0,200} )?"
"""Some texts name the order first."""

_UNKNOWN_TEXTS: Final = (
    _unknown("INSERT_FAILED", "could not insert order", "could not insert order"),
    _unknown("EXECUTION_FAILED", "could not run the execution", "could not run the execution"),
    _unknown("NOTHING_TO_MATCH", "there are no matching orders", "there are no matching orders"),
    _unknown(
        "ROUNDING_ISSUES",
        "the trade contains rounding issues",
        "trade contains rounding issues",
    ),
    _unknown(
        "PRICE_DISCREPANCY",
        (
            "the price of the taker's order has a discrepancy greater than allowed with the "
            "worst maker order"
        ),
        "discrepancy",
    ),
    # Of the engine, under 500. The text of a killed order is another: "fully filled or killed".
    _unknown("FILLED_OR_KILLED", "FOK orders are filled or killed", "are filled or killed"),
    # One page of the venue says that it never reached the book; nobody has shown it (docs/venue.md 3.6).
    _unknown("ORDER_TIMED_OUT", "order timed out", "timed out"),
    _unknown("DELAYING_FAILED", "error delaying the order", "error delaying"),
    # The venue turns every internal error that holds these words into a 400.
    _unknown("CONTEXT_CANCELED", "context canceled", "context cancel"),
    # Documented with success false, no id, and yet the status "delayed".
    _unknown(
        "TOKEN_RATE_LIMITED",
        "Rate limit exceeded for tokenId: {token}",
        "rate limit exceeded for tokenid",
    ),
)

_SEEN: Final = (
    Rule(
        "DUPLICATED",
        Verdict.SEEN,
        _OURS,
        (200, 400),
        (
            "order {id} is invalid. Duplicated.",
            (
                "order is invalid. Duplicated. Same order has already been placed, can't be "
                "placed again"
            ),
            "order {id} already exists",
        ),
        re.compile(r"order\b.*\b(?:duplicated|already exists)\b.*"),
    ),
)

_DOOR: Final = (
    _by_status("ENGINE_RESTARTING", 425, Mode.RESTARTING, 2_000),
    _by_status("RATE_LIMITED", 429, Mode.RATE_LIMITED, 1_000),
    _closed(
        "POST_ONLY_MODE",
        Mode.POST_ONLY,
        "post-only mode: only post-only orders and cancels are allowed",
        r"post-only mode\b.*",
        body_code="post_only_mode",
    ),
    _closed(
        "CANCEL_ONLY",
        Mode.CANCEL_ONLY,
        "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.",
        r"trading is currently cancel-only\b.*",
    ),
    _closed(
        "TRADING_DISABLED",
        Mode.DISABLED,
        "Trading is currently disabled. Check polymarket.com for updates",
        r"trading is currently disabled\b.*",
    ),
    # Usually the edge turned the request away, but a page that the venue did not write is no word of the
    # venue's. Look-ups settle it once the door is open; until then the mode keeps everything else back.
    Rule(
        "EDGE_PAGE",
        Verdict.UNKNOWN,
        _VENUE,
        (403,),
        (),
        None,
        whole_request=True,
        mode=Mode.GEOBLOCKED,
        html=True,
    ),
    _rejected(
        "GEOBLOCKED",
        _VENUE,
        ("Trading restricted in your region",),
        r"trading (?:is )?restricted in your region\b.*",
        statuses=(403,),
        mode=Mode.GEOBLOCKED,
        whole_request=True,
    ),
    _rejected(
        "UNAUTHORIZED",
        _CREDENTIALS,
        ("Unauthorized/Invalid api key", "Invalid L1 Request headers"),
        r"unauthorized|(?:unauthorized/)?invalid api key|invalid l1 request headers",
        statuses=(401,),
        mode=Mode.BAD_CREDENTIALS,
        whole_request=True,
    ),
)

_ACCOUNT: Final = (
    _rejected(
        "ADDRESS_BANNED",
        _CREDENTIALS,
        ("'{address}' address banned",),
        r"(?:'?\S{1,80} )?address banned",
        mode=Mode.BANNED,
        whole_request=True,
    ),
    _rejected(
        "CLOSED_ONLY",
        _CREDENTIALS,
        ("'{address}' address in closed only mode",),
        r"(?:'?\S{1,80} )?address in closed only mode",
        mode=Mode.CLOSED_ONLY,
    ),
    _rejected(
        "WRONG_OWNER",
        _CREDENTIALS,
        ("the order owner has to be the owner of the API KEY",),
        r"(?:the )?order owner has to be the owner of the api key",
        mode=Mode.BAD_CREDENTIALS,
    ),
    _rejected(
        "WRONG_SIGNER",
        _CREDENTIALS,
        ("the order signer address has to be the address of the API KEY", "invalid signer address"),
        r"(?:the )?order signer address has to be the address of the api key|invalid signer address",
        mode=Mode.BAD_CREDENTIALS,
    ),
    _rejected(
        "WRONG_WALLET",
        _CREDENTIALS,
        ("maker address not allowed, please use the deposit wallet flow",),
        r"maker address not allowed\b.*",
    ),
    _rejected(
        "INVALID_SIGNATURE", _CREDENTIALS, ("invalid signature",), r"(?:order )?invalid signature"
    ),
    _rejected(
        "NOT_ENOUGH_BALANCE",
        ReasonClass.BALANCE,
        (
            "not enough balance / allowance",
            (
                "not enough balance / allowance: the balance is not enough -> balance: {n}, "
                "order amount: {n}"
            ),
            (
                "not enough balance / allowance: the balance is not enough -> balance: {n}, "
                "sum of matched orders: {n}, order amount: {n}"
            ),
        ),
        r"not enough balance / allowance(?:[:;,.].*)?",
    ),
)

_ORDER_WRONG: Final = (
    _rejected("INVALID_PAYLOAD", _OURS, ("Invalid order payload",), r"invalid order payload"),
    _rejected(
        "TOO_MANY_ORDERS",
        _OURS,
        ("Too many orders in payload: {n}, max allowed: {n}",),
        r"too many orders in payload\b.*",
        statuses=(400,),
        whole_request=True,
    ),
    _rejected(
        "ORDER_VERSION",
        _OURS,
        ("order_version_mismatch", "invalid order version"),
        r"order_version_mismatch|invalid order version",
        mode=Mode.ORDER_VERSION,
    ),
    _rejected(
        "TICK_SIZE",
        _OURS,
        (
            "order {id} is invalid. Price ({n}) breaks minimum tick size rule: {n}",
            "order is invalid. Price breaks minimum tick size rules",
        ),
        rf"{_ORDER}(?:price )?breaks minimum tick size rules?\b.{{0,60}}",
    ),
    _rejected(
        "MIN_SIZE",
        _OURS,
        (
            "order {id} is invalid. Size ({n}) lower than the minimum: {n}",
            "order is invalid. Size lower than the minimum",
        ),
        rf"{_ORDER}size\b.{{0,60}} ?lower than the minimum\b.{{0,60}}",
    ),
    _rejected(
        "INVALID_AMOUNTS",
        _OURS,
        (
            (
                "invalid amounts, the buy orders maker amount supports a max accuracy of 2 "
                "decimals, taker amount a max of 4 decimals"
            ),
        ),
        rf"{_ORDER}invalid amounts\b.*",
    ),
    _rejected("INVALID_EXPIRATION", _OURS, ("invalid expiration",), r"invalid expiration\b.{0,60}"),
    _rejected("INVALID_NONCE", _OURS, ("invalid nonce",), r"invalid nonce"),
    _rejected(
        "INVALID_POST_ONLY",
        _OURS,
        ("invalid post-only order: only GTC and GTD order types are allowed",),
        r"invalid post-only order: only gtc and gtd\b.*",
    ),
    _rejected(
        "CANCELED_ON_CHAIN",
        _OURS,
        ("order canceled in the CTF exchange contract",),
        rf"{_ORDER}(?:order )?canceled in the ctf exchange contract",
    ),
)

_MARKET_SAYS_NO: Final = (
    _rejected(
        "POST_ONLY_CROSSES",
        _MARKET,
        ("invalid post-only order: order crosses book",),
        r"invalid post-only order: order crosses (?:the )?book\.?",
    ),
    _rejected(
        "CROSSES_BOOK",
        _MARKET,
        ("order {id} crosses the book",),
        r"order \S{1,80} crosses the book\.?",
    ),
    _rejected(
        "FOK_KILLED",
        _MARKET,
        (
            "order couldn't be fully filled. FOK orders are fully filled or killed.",
            "order couldn't be fully filled, FOK orders are fully filled/killed",
        ),
        r"order couldn't be fully filled\b.*",
    ),
    _rejected(
        "FAK_KILLED",
        _MARKET,
        (
            (
                "no orders found to match with FAK order. FAK orders are partially filled or "
                "killed if no match is found."
            ),
        ),
        r"no orders found to match with fak order\b.*",
    ),
    _rejected(
        "ORDERBOOK_MISSING",
        _MARKET,
        ("the orderbook {token} does not exist",),
        r"(?:the )?orderbook\b.{0,120} does not exist\.?",
        statuses=(200, 400, 404),
    ),
    _not_ready(
        "MARKET_NOT_READY",
        "the market is not yet ready to process new orders",
        r"(?:the )?market (?:is )?not yet ready\b.*",
    ),
    _not_ready(
        "MATCH_DELAYED",
        "order match delayed due to market conditions",
        r"order match delayed due to market conditions\.?",
    ),
)

RULES: Final = (*_UNKNOWN_TEXTS, *_SEEN, *_DOOR, *_ACCOUNT, *_ORDER_WRONG, *_MARKET_SAYS_NO)

_CLASSES: Final = {rule.code: rule.reason for rule in RULES}
_MOST_TEXT: Final = 1_000


def rule_for(status: int, text: str, *, body_code: str = "", html: bool = False) -> Rule | None:
    """The first row that describes this refusal; None where none does."""
    said = _normal(text)
    return next((rule for rule in RULES if _describes(rule, status, said, body_code, html)), None)


def reason_class(code: str) -> ReasonClass | None:
    """Whose matter a code of this table is; None for a code that says nothing about it."""
    return _CLASSES.get(code)


def _describes(rule: Rule, status: int, said: str, body_code: str, html: bool) -> bool:
    if rule.statuses and status not in rule.statuses:
        return False
    if rule.html and not html:
        return False
    if rule.pattern is None or (rule.body_code and body_code == rule.body_code):
        return True
    return bool(said) and rule.pattern.fullmatch(said) is not None


def _normal(text: str) -> str:
    # A text longer than any that is known is none that is known.
    if len(text) > _MOST_TEXT:
        return ""
    return " ".join(text.split()).replace("\u2019", "'").lower()
