"""What each reason code means, and what to do about it. The codes come from `app.errors.Code`."""

from __future__ import annotations

from typing import Final

from workers.docs.words_risk import RISK_CODES

PLACES: Final[dict[str, tuple[str, ...]]] = {
    "EXPIRED": ("ledger._no_longer_wanted", "ledger.sweep_expired"),
    "SUSPENDED": ("ledger._judge", "ledger._no_longer_wanted"),
    "HALTED": ("ledger._judge", "ledger._no_longer_wanted"),
}
"""Where a code is decided, if its name is also an ordinary word of the SQL."""

CODES: Final[dict[str, tuple[str, str]]] = {
    "BAD_REQUEST": (
        (
            "The request or the command cannot be read as one: a wrong type, an unknown field, a "
            "missing reason."
        ),
        "Correct it; the detail names the part.",
    ),
    "BAD_NUMBER": (
        (
            "Text that is not an exact number of micros: an exponent, `NaN`, more than six "
            "decimals, too large."
        ),
        "Give decimal text such as `0.45`.",
    ),
    "BAD_PRICE": (
        "The price is not between one tick and one less a tick.",
        "Give a price on the market's ticks.",
    ),
    "OFF_TICK": (
        "The price is not a multiple of the market's tick.",
        "Round it; `markets list` shows the tick.",
    ),
    "BAD_SIZE": (
        (
            "The size is not a positive whole number of hundredths of a share, or lies outside "
            "the order."
        ),
        "Give at most two decimals.",
    ),
    "BELOW_MINIMUM": (
        "The size is below the market's minimum.",
        "Ask for more; `markets list` shows the minimum.",
    ),
    "BAD_KEY": (
        (
            "The key of an intent is not text of 1 to 200 bytes in UTF-8. In `doctor`: the private "
            "key is not 64 hex digits of a number in the curve's range."
        ),
        "Give another key; for the private key see its setting, its content is never shown.",
    ),
    "BAD_VALIDITY": (
        "How long the intent or the order lives is out of bounds, or an expiry without GTD.",
        "1 ms to 24 h; a GTD expiry at least 180 s ahead.",
    ),
    "UNKNOWN_ACCOUNT": (
        "There is no such account.",
        "`account list` shows them; `account open` opens one.",
    ),
    "UNKNOWN_MARKET": ("There is no such market.", "Import it: `markets import FILE`."),
    "UNKNOWN_OUTCOME": (
        "The market has no such outcome, or no market has such a token.",
        "Name a label, `0`, `1` or a token id of the market.",
    ),
    "UNKNOWN_ORDER": (
        (
            "There is no such order, or this login may not see it. As an answer to a fact: no intent "
            "explains it, and the account is halted."
        ),
        "`orders` shows the numbers; for a fact see `FOREIGN_ORDER`.",
    ),
    "UNKNOWN_ROLE": (
        "The database has no such role. A grant to it would wait for whoever makes one of that name.",
        "`CREATE ROLE … LOGIN IN ROLE ledger_trader`, then repeat.",
    ),
    "TAKER_BUY_UNBOUNDED": (
        (
            "On Polymarket a FOK or FAK BUY spends its collateral at whatever better price it finds, "
            "and may bring more shares than its size: no cap could count it."
        ),
        "Send a GTC at the same price, which is bounded by its size, with a short `--valid-for`.",
    ),
    "NOT_TRADABLE": (
        "The market lacks what trading needs, is closed, or its window has ended.",
        "`markets list` shows the reason; import newer data.",
    ),
    "NOT_GRANTED": (
        "This login was not granted the account.",
        "An operator runs `account grant ACCOUNT ROLE`.",
    ),
    "OVER_ALLOCATED": (
        "The parts of a reward would be more than was paid.",
        "Say another strategy's part again, smaller; `audit.rewards` shows what is allocated.",
    ),
    "KEY_REUSED": (
        "The key is bound to another request.",
        "Use a new key for a new intent; the first one stands.",
    ),
    "HALTED": (
        "A halt covers the market, or a withdrawal pauses the account. The detail names scope and reason.",
        "Read `status`; a person ends it with `resume SCOPE --version N`. A pause ends with its withdrawal.",
    ),
    "SUSPENDED": (
        "The market is suspended, mostly after a breach.",
        "Wait: it ends by itself. Find out why first.",
    ),
    "CAP_OUTCOME": (
        "The order would take the outcome over its cap; the detail says what is left.",
        "Ask for less, or with `clamp`.",
    ),
    "CAP_MARKET": (
        "The order would take both outcomes together over the market's cap.",
        "Ask for less, or with `clamp`.",
    ),
    "BURST_GAP": (
        "The last order of this market was admitted too short a time ago.",
        "Repeat with the same key after the gap.",
    ),
    "BURST_MINUTE": (
        "As many orders as allowed were admitted in the last minute.",
        "Repeat with the same key later.",
    ),
    "INSUFFICIENT_COLLATERAL": (
        "Less collateral is available than price times size and the highest fee.",
        "Ask for less, or cancel what holds it.",
    ),
    "INSUFFICIENT_TOKENS": (
        "Fewer confirmed tokens are available than would be sold.",
        "Wait for the purchase to be confirmed.",
    ),
    "LOCKED": (
        "Another evaluation of the market is under way.",
        "Drop the tick, or repeat with the same key.",
    ),
    "MUTEX_LOST": (
        "The evaluation's hold on the market ran out or was taken over.",
        "Evaluate again; nothing of it counts.",
    ),
    "BUSY": (
        (
            "Another transaction holds the market (in a call over several), or a replacement is "
            "already waiting."
        ),
        "Repeat with the same key; the Python client does it by itself.",
    ),
    "DEFERRED": (
        "The rest of a desired set, for which the minute has no room.",
        "The next tick posts it.",
    ),
    "EXPIRED": (
        "The intent's `valid_until`, or the expiry of the order, passed before it was sent.",
        "Place a new one, with a longer `valid_for` if needed.",
    ),
    "CANCEL_ASKED": (
        "A cancel was asked for, so it is not sent (again).",
        "Nothing; this is what was asked.",
    ),
    "STALE_ATTEMPT": (
        "The claim or the attempt is no longer this worker's. Its answer is kept as evidence.",
        "Nothing. Often: see why a worker was paused longer than its lease.",
    ),
    "ILLEGAL_TRANSITION": (
        "The order's state does not allow it.",
        "Read `order show ID`; the refusal is journaled.",
    ),
    "NOT_PROVEN": (
        "A copy may be at the venue, or a proof of absence is missing; the detail says which.",
        "Ask for a cancel, wait for the quarantine, or `order resolve`.",
    ),
    "ALREADY_ENDED": ("The order to be replaced has ended.", "Place a new one."),
    "ID_MISMATCH": (
        (
            "The venue answered with another order id than the hash of what was sent. The account "
            "is halted."
        ),
        "Stop. Compare the two ids in `order show ID` before anything else.",
    ),
    "VENUE_MODE": (
        (
            "A condition of the venue, or of our account there, gates placements. Nothing was sent; the order "
            "keeps its place in its lane and goes when the condition is over."
        ),
        "Nothing while it ends by itself; `status` shows which stands, docs/failure-modes.md what each means.",
    ),
    "ISOLATION": (
        "The transaction is not READ COMMITTED, or a durable call was made inside one.",
        "Use READ COMMITTED and a session without an open transaction.",
    ),
    "DATABASE_UNREACHABLE": (
        "No connection, or a server older than Postgres 15.",
        "See the address and the server's log.",
    ),
    "DATABASE_BUSY": (
        (
            "It is starting or stopping, takes no more sessions, or gave no answer in time: paused, "
            "overloaded, or another session holds a lock."
        ),
        "See `db status` and `pg_stat_activity`; wait, then repeat with the same key.",
    ),
    "DATABASE_DAMAGED": (
        "The embedded data folder is incomplete, gone, or of another version. It was not touched.",
        "Copy it away as it is, then restore a backup.",
    ),
    "DATABASE_NOT_OURS": (
        "The folder holds something else than an embedded ledger.",
        "Set `LEDGER_DATA_DIR` to an empty folder.",
    ),
    "DATABASE_PRIVILEGE": (
        "The login may not do this, or its password is wrong.",
        "See the role in the address and its grants.",
    ),
    "SCHEMA_MISSING": ("The database has no ledger schema.", "`alembic upgrade head`"),
    "SCHEMA_OLD": ("The schema is older than this release.", "`alembic upgrade head`"),
    "SCHEMA_NEW": (
        "The schema is newer than this release.",
        "Install the release that made it, or a newer one.",
    ),
    "MIGRATION_FAILED": (
        "The database refused a statement of a migration. The schema is as it was.",
        "Read what it said, and the server's log; put right what stands in the way; repeat.",
    ),
    "DOWNGRADE_REFUSED": (
        "Orders may be live at the venue, and a downgrade would drop the rows that know them.",
        "`cancel --all`, wait until `orders --open` shows none, then repeat.",
    ),
    "NOT_DURABLE": (
        (
            "The commit happened or not, and may still be lost. Nothing was sent on the strength "
            "of it."
        ),
        "See that the synchronous standby is connected; the step is repeated.",
    ),
    "BAD_FILE": (
        "A file that is damaged, truncated or of another kind; it is named.",
        "Fetch it again.",
    ),
    "BAD_SETTING": (
        "A setting cannot be right; it is named, its value is not.",
        "See [configuration.md](configuration.md).",
    ),
    "LIVE_NOT_ALLOWED": (
        "The venue is `polymarket` and `LEDGER_LIVE` is not set.",
        "Set it only to trade with real money.",
    ),
    "SIGNING_FAILED": (
        "The key cannot sign this order. It is tried five times, then a dead letter.",
        "See the key, wallet and signature type; `dead-letters retry`.",
    ),
    "STALE_VERSION": (
        "A newer halt of the scope stands than the one named.",
        "Read its reason in `status`, then name that version.",
    ),
    **RISK_CODES,
}
"""Code to what it means and what to do."""
