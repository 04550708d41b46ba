"""What the codes and journal events of risk mean. docs/risk.md tells of each control at length."""

from __future__ import annotations

from typing import Final

RISK_CODES: Final[dict[str, tuple[str, str]]] = {
    "ORDER_SIZE": (
        "The order is larger than one order may be; in a drawdown the largest shrinks.",
        "Ask for less; `limits` shows `max order`, `risk` the size factor.",
    ),
    "ORDER_COST": (
        "Price times size and the highest fee come to more than one order may cost.",
        "Ask for less, or at a lower price.",
    ),
    "OPEN_ORDERS": (
        "As many orders as allowed have not ended, in the market or in the account; the detail says which.",
        "Cancel some; what is unknown counts until evidence ends it.",
    ),
    "IMBALANCE": (
        "One outcome would lead the other by more shares than allowed.",
        "Trade the lagging outcome first; an unwinding sell is let through.",
    ),
    "COOLDOWN": (
        "The market was changed (a placement, a replacement, a cancel) too short a time ago.",
        "Repeat with the same key after the cooldown.",
    ),
    "CHANGES_MINUTE": (
        "The budget of changes a minute is used up, of the market or of the account.",
        "Repeat with the same key later: it fills evenly. Cancels are never refused.",
    ),
    "COLLAR": (
        "The price is too far on the wrong side of the middle of the last good book.",
        "See the price; `markets book` reads the book anew.",
    ),
    "SLIPPAGE": (
        "By the depth of the last good book it would trade too much worse than the middle.",
        "Ask for less, or at a better price.",
    ),
    "NO_BOOK": (
        "A collar or a slippage limit stands, and there is no good book young enough to judge by.",
        "See the feed (`BOOK_FEED` in the logs, `risk`: books). Unwinding sells are let through.",
    ),
    "WOULD_CROSS": (
        "The order is post-only and would trade at once by the last good book.",
        "Ask with `clamp`: its price is moved behind the other side's best.",
    ),
    "SELF_MATCH": (
        "It could trade with an order of the same account, the complementary outcome included.",
        "Cancel that order first, or place where the two cannot meet.",
    ),
    "DUPLICATE": (
        "The same order was admitted under another key a moment ago, and this is refused by `duplicate_refused`.",
        "Repeat with the first key if it is the same intent.",
    ),
    "TOO_EARLY": (
        "The market's window opened, or opens, too short a time ago (`open_buffer_ms`).",
        "Wait; the detail says until when.",
    ),
    "TOO_LATE": (
        "The market's window ends too soon (`close_buffer_ms`).",
        "Nothing is opened here any more; unwinding sells are let through.",
    ),
    "WEEKEND": (
        "It is Saturday or Sunday in UTC, and nothing is opened then.",
        "Wait, or `limits set --weekend`.",
    ),
    "BREAKER": (
        (
            "A breaker is open after rejects, cancels without an answer or slow answers in a row; or its "
            "probe is under way."
        ),
        "Wait for the probe; `breakers` shows why. A person who knows: `breakers reset`.",
    ),
    "DRAWDOWN": (
        "The account's loss from its highest equity has reached `drawdown_to`: nothing is opened.",
        "Sells go on. See `risk`; a person may change the limit.",
    ),
    "CAP_MARKET_COST": (
        "What positions and holds of the market cost would pass its cap.",
        "Ask for less; `risk` shows what is used.",
    ),
    "CAP_ACCOUNT": (
        "What the account has at risk, or holds in shares, would pass its cap.",
        "Ask for less, or free something; `risk` shows what is used.",
    ),
    "CAP_GROUP": (
        "What all accounts have at risk in the correlation group would pass its cap.",
        "Ask for less, or free something; `risk` shows who uses it.",
    ),
    "CAP_GLOBAL": (
        "What all accounts have at risk together would pass the cap.",
        "Ask for less, or free something; `risk` shows who uses it.",
    ),
    "CAP_LIVE": (
        "What all live accounts have at risk together would pass the canary cap.",
        "Ask for less; a person lifts it: `limits set --scope live`.",
    ),
}
"""Code to what it means and what to do."""

RISK_JOURNAL: Final[dict[str, str]] = {
    "BREAKER_CLOSED": "A success closed a breaker.",
    "BREAKER_OPENED": (
        "Failures in a row, or a failed probe, opened a breaker: of which kind, after how many, until when."
    ),
    "BREAKER_RESET": "A person closed a breaker, and said why.",
    "DUPLICATE_SUSPECTED": "The same order was admitted under another key a moment before; which one.",
}
"""Event of a journal row to what it means."""
