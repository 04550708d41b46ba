"""``docs/outcomes.md``: what the venue's answers to a placement prove, from the table that judges them."""

from __future__ import annotations

from typing import Final

from app.venue.polymarket.answers import RULES, ReasonClass, Rule, Verdict
from workers.docs.sources import GENERATED, table

_HEAD: Final = f"""{GENERATED}

# What the venue's answers prove

Every answer to `POST /order` and `POST /orders` becomes one outcome per order. `UNKNOWN` is the default: an
answer that no row below describes is never taken for a refusal, and a row is believed only under its HTTP
status and for the whole of the text (letter case and spaces do not matter). A refusal ends an order only if
no earlier copy of its bytes is still open: what the venue says of one copy proves nothing about another.

The classes say whose matter a refusal is. BALANCE is followed by a comparison of what is owned, at
most every 30 s, which halts the account if money is missing; CREDENTIALS and VENUE mostly begin a condition that
holds all placements back. OURS and MARKET end the one order: nothing pauses a bot that sends the same again but
the limits per minute.
"""

_CLASSES: Final = {
    ReasonClass.OURS: "the order itself is wrong",
    ReasonClass.MARKET: "the market's state or its prices",
    ReasonClass.BALANCE: "funds or allowances, as the venue counts them",
    ReasonClass.CREDENTIALS: "the key, the signer or the wallet is not accepted",
    ReasonClass.VENUE: "the venue's own condition, or its door",
}

_NEXT: Final = {
    Verdict.REJECTED: "The order ends; what it held is released.",
    Verdict.NOT_PLACED: "The order is held back; the same bytes go again while the intent is wanted.",
    Verdict.SEEN: "The order is read until its state is known; it is never taken for refused.",
    Verdict.UNKNOWN: "The order is looked up; the same bytes may go again; nothing is released.",
}

_SHAPES: Final = [
    [
        "none",
        "no byte of the request was handed to a connection",
        "NOT_PLACED",
        "`NOT_CONNECTED`",
        _NEXT[Verdict.NOT_PLACED],
    ],
    [
        "none",
        "bytes may have left, no head of an answer came",
        "UNKNOWN",
        "`NO_ANSWER`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "any",
        "the body did not arrive whole",
        "UNKNOWN",
        "`CUT_ANSWER`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "200",
        (
            "no error text, `orderID` is ours, `status` is live, matched or delayed; `success` is "
            "true, or absent with `errorMsg` empty"
        ),
        "ACCEPTED",
        "the status",
        "The order is live or in flight; fills come from trades, never from this answer.",
    ],
    [
        "200",
        "no error text, `status` is unmatched",
        "UNKNOWN",
        "`UNMATCHED`",
        "The order is looked up: pages disagree whether it rests.",
    ],
    [
        "200",
        "no error text, another status or none",
        "UNKNOWN",
        "`STATUS_UNRECOGNISED`",
        _NEXT[Verdict.UNKNOWN],
    ],
    ["200", "no error text, no `orderID`", "UNKNOWN", "`NO_ORDER_ID`", _NEXT[Verdict.UNKNOWN]],
    [
        "any",
        "another order than ours is named, as `orderID` or in the text",
        "UNKNOWN",
        "`ID_MISMATCH`",
        "The account is halted; the order is looked up.",
    ],
    [
        "200",
        (
            "`success` false without an error text, or a refusal below beside an `orderID` or a "
            "`status`"
        ),
        "UNKNOWN",
        "`CONTRADICTION`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "200",
        "an error text that no row below describes, whatever `success` says",
        "UNKNOWN",
        "`UNRECOGNISED`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "200",
        "not JSON, cut, a key twice, or another shape",
        "UNKNOWN",
        "`UNREADABLE`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "200",
        "a batch with more or fewer results than orders",
        "UNKNOWN (all)",
        "`COUNT_MISMATCH`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "200",
        "a batch in which a result stands in another's place",
        "UNKNOWN (those that do not name their own order)",
        "`ITEMS_MOVED`",
        _NEXT[Verdict.UNKNOWN],
    ],
    [
        "other",
        "nothing below describes it",
        "UNKNOWN",
        "`HTTP_` and the status",
        _NEXT[Verdict.UNKNOWN],
    ],
]

_CANCELS: Final = [
    [
        "listed in `canceled` only",
        "accepted",
        "A read confirms the final size, then the order ends.",
    ],
    [
        "listed in `not_canceled` only",
        "refused",
        "A read decides: the reason does not tell filled from cancelled.",
    ],
    ["listed in both, or in neither", "unknown", "The cancel goes again; a read follows."],
    [
        "a row above that is true of the whole request; `Invalid orderID`; `Invalid order payload`",
        "not sent",
        "The cancel goes again at the time the answer names.",
    ],
    ["everything else", "unknown", "The cancel goes again; a read follows."],
]


def page() -> str:
    """The page as Markdown."""
    shapes = table(["HTTP", "answer", "outcome", "code", "what the worker does next"], _SHAPES)
    cancels = table(
        ["the id is, or the answer is", "outcome", "what the worker does next"], _CANCELS
    )
    classes = "\n".join(f"- `{one}`: {words}." for one, words in _CLASSES.items())
    refusals = table(
        ["HTTP", "text", "outcome", "code", "class", "what the worker does next"],
        [_row(rule) for rule in RULES],
    )
    return (
        f"{_HEAD}\n{classes}\n\n## Placements, by the shape of the answer\n\n{shapes}\n\n"
        "## Refusals, by status and text\n\n"
        "Asked from the top; the first that describes the answer counts. HTTP 200 means an error text in a "
        "result. For a batch that was answered as a whole, a row counts only where it says *whole request*; "
        "otherwise all its orders are `UNKNOWN` with the row's code.\n\n"
        f"{refusals}\n\n## Cancels\n\n{cancels}\n"
    )


def _row(rule: Rule) -> list[str]:
    statuses = ", ".join(str(status) for status in rule.statuses) or "any"
    texts = "<br>".join(f"`{text}`" for text in rule.texts)
    if rule.html:
        texts = "an HTML page, not JSON"
    elif rule.pattern is None:
        texts = "any body"
    if rule.body_code:
        texts += f"<br>or `code` is `{rule.body_code}`"
    return [statuses, texts, rule.verdict.value, f"`{rule.code}`", rule.reason.value, _next(rule)]


def _next(rule: Rule) -> str:
    words = [_NEXT[rule.verdict]]
    if rule.verdict is Verdict.NOT_PLACED:
        words.append(f"Not before the time it names, or else {rule.wait_ms / 1000:g} s.")
    if rule.mode is not None:
        words.append(f"Placements of the account wait: mode `{rule.mode.value}`.")
    if rule.whole_request:
        words.append("*Whole request.*")
    return " ".join(words)
