"""What to do next, for every code: no error of a command line ends with a shrug.

Where an error brings a next step of its own, that one is shown; it knows more.
"""

from __future__ import annotations

from typing import Final

from app.errors import Code

NEXT: Final[dict[Code, str]] = {
    Code.BAD_REQUEST: "correct it; ledger-worker COMMAND --help shows what it takes",
    Code.BAD_NUMBER: "write a plain decimal such as 0.45 or 12.5",
    Code.BAD_PRICE: "give a price above 0 and below 1 on the market's tick",
    Code.OFF_TICK: "round the price to the tick; ledger-worker markets list shows it",
    Code.BAD_SIZE: "give a size in shares above 0 with at most two decimals",
    Code.BELOW_MINIMUM: "give a larger size; ledger-worker markets list shows the minimum",
    Code.BAD_KEY: "give a key of 1 to 200 bytes, the same whenever this intent is repeated",
    Code.BAD_VALIDITY: "give --valid-for from 1ms to 24h, and --expires-at with --type GTD alone",
    Code.UNKNOWN_ACCOUNT: "ledger-worker account list shows the names",
    Code.UNKNOWN_MARKET: "ledger-worker markets list shows slugs and condition ids; "
    "ledger-worker markets import FILE takes in others",
    Code.UNKNOWN_OUTCOME: "name one of the outcomes that ledger-worker markets list shows",
    Code.UNKNOWN_ORDER: "ledger-worker orders shows the numbers",
    Code.UNKNOWN_ROLE: "make the login first: CREATE ROLE ... LOGIN IN ROLE ledger_trader",
    Code.TAKER_BUY_UNBOUNDED: "use --type GTC at the same price with a short --valid-for",
    Code.NOT_TRADABLE: "ledger-worker markets list shows why; choose another market",
    Code.NOT_GRANTED: "let an operator run: ledger-worker account grant ACCOUNT ROLE",
    Code.KEY_REUSED: "use a new key for a new intent",
    Code.HALTED: "see ledger-worker status; an operator ends it with ledger-worker resume",
    Code.SUSPENDED: "wait until it ends; ledger-worker status shows when and why",
    Code.CAP_OUTCOME: "ask for less, give --clamp, or see ledger-worker limits",
    Code.CAP_MARKET: "ask for less, give --clamp, or see ledger-worker limits",
    Code.BURST_GAP: "wait for the gap of ledger-worker limits, then repeat with the same key",
    Code.BURST_MINUTE: "wait until a minute has passed, then repeat with the same key",
    Code.ORDER_SIZE: "ask for less; ledger-worker limits shows the largest order",
    Code.ORDER_COST: "ask for less; ledger-worker limits shows what an order may cost",
    Code.OPEN_ORDERS: "cancel some first; ledger-worker orders --open shows them",
    Code.IMBALANCE: "trade the other outcome first, or sell with --class unwind",
    Code.COOLDOWN: "wait for the cooldown of ledger-worker limits, then repeat with the same key",
    Code.CHANGES_MINUTE: "wait, then repeat with the same key; cancels are never refused",
    Code.COLLAR: "see the price; ledger-worker markets book shows the book",
    Code.SLIPPAGE: "ask for less or at a better price; ledger-worker markets book shows the depth",
    Code.NO_BOOK: "see that a worker with its book feed runs; ledger-worker risk shows the books' age",
    Code.WOULD_CROSS: "give --clamp, or a price behind the other side's best",
    Code.SELF_MATCH: "cancel the order it names first",
    Code.DUPLICATE: "repeat with the key of the order it names if it is the same intent",
    Code.TOO_EARLY: "wait until then, or see ledger-worker limits",
    Code.TOO_LATE: "choose another market; --class unwind sells what is held",
    Code.WEEKEND: "wait for Monday (UTC), or see ledger-worker limits",
    Code.BREAKER: "wait for the probe; ledger-worker breakers shows what it waits for",
    Code.DRAWDOWN: "sell, or see ledger-worker risk; a person may change the limit",
    Code.CAP_MARKET_COST: "ask for less; ledger-worker risk shows what is used",
    Code.CAP_ACCOUNT: "ask for less; ledger-worker risk shows what is used",
    Code.CAP_GROUP: "ask for less; ledger-worker risk shows what is used",
    Code.CAP_GLOBAL: "ask for less; ledger-worker risk shows what is used",
    Code.CAP_LIVE: "ask for less; a person lifts it with ledger-worker limits set --scope live",
    Code.INSUFFICIENT_COLLATERAL: "ask for less; ledger-worker balances shows what is available",
    Code.INSUFFICIENT_TOKENS: "ask for less; only confirmed tokens can be sold",
    Code.LOCKED: "repeat with the same key once the evaluation has ended",
    Code.MUTEX_LOST: "evaluate the market again; what was decided under the lost hold does not count",
    Code.BUSY: "repeat with the same key",
    Code.DEFERRED: "repeat with the same key in a minute",
    Code.EXPIRED: "place a new order, with a longer --valid-for if need be",
    Code.CANCEL_ASKED: "nothing: a cancel was asked for, so it is not sent; or place a new order",
    Code.STALE_ATTEMPT: "ledger-worker order show tells what became of it",
    Code.ILLEGAL_TRANSITION: "ledger-worker order show tells what became of it",
    Code.NOT_PROVEN: "give it the evidence it lacks, or resolve it as another state",
    Code.ALREADY_ENDED: "place a new order",
    Code.ID_MISMATCH: "stop, and compare the two ids that ledger-worker order show shows",
    Code.VENUE_MODE: "nothing: it goes when the condition is over; ledger-worker status shows which",
    Code.ISOLATION: "use READ COMMITTED, and a session without an open transaction",
    Code.DATABASE_UNREACHABLE: "see that the server runs and LEDGER_DATABASE_URL is right, "
    "then repeat; ledger-worker doctor looks",
    Code.DATABASE_BUSY: "wait, then repeat; ledger-worker db status shows the embedded server",
    Code.DATABASE_DAMAGED: "copy the folder away as it is, then restore a backup",
    Code.DATABASE_NOT_OURS: "set LEDGER_DATA_DIR to an empty folder",
    Code.DATABASE_PRIVILEGE: "connect as a role that may do this (docs/audit.md lists the roles)",
    Code.SCHEMA_MISSING: "run: alembic upgrade head",
    Code.SCHEMA_OLD: "run: alembic upgrade head",
    Code.SCHEMA_NEW: "install the release that made it, or a newer one",
    Code.MIGRATION_FAILED: "put right what it names, then repeat",
    Code.DOWNGRADE_REFUSED: "ledger-worker cancel --all, wait until ledger-worker orders --open "
    "shows none, then repeat",
    Code.NOT_DURABLE: "see that the synchronous standby is connected, then repeat with the same key",
    Code.BAD_FILE: "fetch the file again",
    Code.BAD_SETTING: "docs/configuration.md lists every setting",
    Code.LIVE_NOT_ALLOWED: "set LEDGER_VENUE=paper, or LEDGER_LIVE=1 to trade with real money",
    Code.SIGNING_FAILED: "see the key, the wallet and the signature type; "
    "ledger-worker dead-letters retry tries again",
    Code.STALE_VERSION: "ledger-worker status shows the halts that stand with their versions",
}
"""Code to what a person at a shell does about it. A test holds it against `Code`."""
