"""What an owner could do by hand to what stops and limits trading, to money, to the journal, to the guards.

As `tests.support.manipulations`, which has what concerns orders.
"""

from __future__ import annotations

from typing import Final

from tests.support.corruptions import Corruption

UNDONE: Final[dict[str, Corruption]] = {
    # ---- limits
    "a limit changed without a change": (
        ("UPDATE ledger.limits SET max_outcome_micros = 900000000 WHERE account_id = 0",),
        "limits",
        "all accounts, all markets: max_outcome_micros: expected 500000000, found 900000000",
    ),
    "a limit set for one market without a change": (
        ("INSERT INTO ledger.limits (account_id, market_id, burst_per_minute) VALUES (1, 1, 600)",),
        "limits",
        "main, m1: burst_per_minute: expected not set, found 600",
    ),
    "a limit that was taken away": (
        ("DELETE FROM ledger.limits WHERE account_id = 1",),
        "limits",
        "main, m4: max_outcome_micros: expected 1000000, found not set",
    ),
    "a limit nobody ever changed": (
        ("UPDATE ledger.limits SET burst_counts_sells = true WHERE account_id = 0",),
        "limits",
        "all accounts, all markets: burst_counts_sells: expected false, found true",
    ),
    "a change of a limit deleted": (
        (
            ("DELETE FROM ledger.limit_change WHERE change_id = (SELECT min(change_id) "
            "FROM ledger.limit_change WHERE name = 'max_outcome_micros')"),
        ),
        "limits",
        "all accounts, all markets: max_outcome_micros, change",
    ),
    # ---- suspensions and the burst limiter
    "a suspension wiped": (
        (
            ("UPDATE ledger.exposure SET suspended_until = NULL, suspended_why = NULL "
            "WHERE suspended_until IS NOT NULL"),
        ),
        "suspensions",
        "main m4: suspension: expected INVARIANT_BREACH_HALT CAP_OUTCOME",
    ),
    "a suspension cut short": (
        (
            ("UPDATE ledger.exposure SET suspended_until = suspended_until - interval '10 minutes' "
            "WHERE suspended_until IS NOT NULL"),
        ),
        "suspensions",
        "main m4: suspension",
    ),
    "a suspension invented": (
        (
            ("UPDATE ledger.exposure SET suspended_until = ledger.clock(), suspended_why = 'REJECTS' "
            "WHERE market_id = 1"),
        ),
        "suspensions",
        "main m1: suspension: expected none",
    ),
    "admissions forgotten": (
        (
            ("UPDATE ledger.exposure SET admitted_at = '{{}}' WHERE market_id = "
            "(SELECT market_id FROM ledger.market WHERE slug = 'm2')"),
        ),
        "limiter",
        "main m2: admitted at",
    ),
    "an admission invented": (
        (
            ("UPDATE ledger.exposure SET admitted_at = admitted_at || last_admitted_at "
            "WHERE cardinality(admitted_at) > 0"),
        ),
        "limiter",
        "main m2: admitted at",
    ),
    "the last admission forgotten": (
        ("UPDATE ledger.exposure SET last_admitted_at = NULL WHERE market_id = 1",),
        "limiter",
        "main m1: last_admitted_at",
    ),
    # ---- halts
    "a halt cleared by hand": (
        (
            "SELECT ledger.set_halt('account', 'main', 'a storm', 'ann')",
            ("UPDATE ledger.halt SET cleared_at = ledger.clock(), cleared_by = 'bob' "
            "WHERE cleared_at IS NULL"),
        ),
        "halt_changes",
        "expected not cleared, for no change of it is known, found cleared of account 1 by bob",
    ),
    "a halt deleted": (
        (
            "SELECT ledger.set_halt('account', 'main', 'a storm', 'ann')",
            "DELETE FROM ledger.halt WHERE cleared_at IS NULL",
        ),
        "halt_changes",
        "expected set of account 1 by",
    ),
    "a halt for another reason": (
        ("UPDATE ledger.halt SET why = 'a test' WHERE scope = 'market'",),
        "halt_changes",
        "expected set of market 2 by",
    ),
    "a change of a halt deleted": (
        ("DELETE FROM ledger.halt_change WHERE change = 'cleared'",),
        "halt_changes",
        "expected not cleared",
    ),
    # ---- strangers
    "a foreign order forgotten": (
        ("DELETE FROM ledger.foreign_order",),
        "foreign_orders",
        "second: 0x",
    ),
    "a foreign order resolved by hand": (
        ("UPDATE ledger.foreign_order SET resolution = 'not_ours: sure'",),
        "foreign_orders",
        "second: 0x",
    ),
    "a mode of the venue ended by hand": (
        ("UPDATE ledger.venue_mode SET ended_at = ledger.clock() WHERE mode = 'POST_ONLY'",),
        "venue_modes",
        "second: POST_ONLY: expected since",
    ),
    "a mode of the venue forgotten": (
        ("DELETE FROM ledger.venue_mode WHERE mode = 'POST_ONLY'",),
        "venue_modes",
        "second: POST_ONLY",
    ),
    "the halt for a foreign order deleted from both tables": (
        (
            "DELETE FROM ledger.halt WHERE scope = 'account'",
            "DELETE FROM ledger.halt_change WHERE scope = 'account'",
        ),
        "foreign_orders",
        "expected a halt of the account since then",
    ),
    # ---- accounts
    "a shorter quarantine": (
        ("UPDATE ledger.account SET quarantine_ms = 100 WHERE name = 'main'",),
        "accounts",
        "main: quarantine_ms: expected 120000, found 100",
    ),
    "another signer": (
        ("UPDATE ledger.account SET signer = '0x' || repeat('1', 40) WHERE name = 'main'",),
        "accounts",
        "main: signer",
    ),
    "a live account made a paper one": (
        ("UPDATE ledger.account SET venue = 'polymarket' WHERE name = 'second'",),
        "accounts",
        "second: venue",
    ),
    "a grant written by hand": (
        ("INSERT INTO ledger.account_grant VALUES (1, 'mallory', 'ann', ledger.clock())",),
        "accounts",
        "main: grant to mallory",
    ),
    # ---- money
    "collateral from nowhere, entry, counter and balance in step": (
        (
            ("INSERT INTO ledger.balance_entry (account_id, entry_seq, asset, cause, entry_key, "
            "available_delta, locked_delta, at, contra, contra_delta) SELECT 1, entry_seq + 1, 'collateral', "
            "'deposit', 'movement:x', 5000000, 0, ledger.clock(), 'outside', -5000000 FROM ledger.account_state "
            "WHERE account_id = 1"),
            "UPDATE ledger.account_state SET entry_seq = entry_seq + 1 WHERE account_id = 1",
            ("UPDATE ledger.balance SET available = available + 5000000 "
            "WHERE asset = 'collateral' AND account_id = 1"),
        ),
        "entry_journal",
        "expected none, for the journal knows of none",
    ),
    "an opening that was a deposit": (
        ("UPDATE ledger.balance_entry SET cause = 'deposit' WHERE entry_key = 'movement:opening main'",),
        "entry_journal",
        "main: entry 1",
    ),
    "an entry of another event": (
        (
            ("UPDATE ledger.balance_entry SET cause = 'END_CANCELLED', "
            "at = at + interval '1 minute' WHERE entry_key = 'order:{filled}:reserve'"),
        ),
        "entry_journal",
        "of order {filled}",
    ),
    # ---- the journal itself
    "another actor in the journal": (
        ("UPDATE ledger.journal SET actor = 'ann' WHERE account_id = 1 AND seq = 30",),
        "journal",
        "main: seq 30: expected the digest",
    ),
    "another actor in the journal, and its digest": (
        (
            "UPDATE ledger.journal SET actor = 'ann' WHERE account_id = 1 AND seq = 30",
            ("UPDATE ledger.journal j SET digest = sha256(b.digest || convert_to(jsonb_build_array("
            "j.account_id, j.seq, j.market_id, j.market_seq, extract(epoch FROM j.at), j.event, "
            "j.order_id, j.attempt, j.from_state, j.to_state, j.actor, j.detail)::text, 'UTF8')) "
            "FROM ledger.journal b WHERE j.account_id = 1 AND b.account_id = 1 AND j.seq = 30 "
            "AND b.seq = 29"),
        ),
        "journal",
        "main: seq 31: expected the digest",
    ),
    "the end of the journal cut off, counters put back": (
        (
            ("DELETE FROM ledger.journal j USING ledger.account_state s "
            "WHERE j.account_id = s.account_id AND j.seq = s.journal_seq AND j.account_id = 1"),
            "UPDATE ledger.account_state SET journal_seq = journal_seq - 1 WHERE account_id = 1",
            ("UPDATE ledger.exposure e SET journal_seq = (SELECT max(j.market_seq) "
            "FROM ledger.journal j WHERE j.account_id = e.account_id AND j.market_id = e.market_id)"),
        ),
        "journal",
        "main: last seq: expected the digest",
    ),
    "a gap excused by an archive that never was": (
        (
            "DELETE FROM ledger.journal WHERE account_id = 1 AND seq = 20",
            ("INSERT INTO ledger.archived_partition VALUES ('journal_2026_03', 5, "
            "'2026-03-01Z', '2026-03-31Z', sha256(''), 'ann', ledger.clock())"),
        ),
        "archive",
        "the journal of all accounts",
    ),
    "an archive of another month": (
        (
            "DELETE FROM ledger.journal WHERE account_id = 1 AND seq = 20",
            ("INSERT INTO ledger.archived_partition VALUES ('journal_2026_02', 1, "
            "'2026-03-01Z', '2026-03-31Z', sha256(''), 'ann', ledger.clock())"),
        ),
        "archive",
        "journal_2026_02: expected rows of that month",
    ),
    # ---- the rules
    "an unknown order that may be withdrawn": (
        (
            ("UPDATE ledger.transition SET to_state = 'NOT_PLACED' "
            "WHERE from_state = 'UNKNOWN' AND event = 'WITHDRAW'"),
        ),
        "transitions",
        "UNKNOWN, WITHDRAW: expected refused, found to NOT_PLACED",
    ),
    "a state that counts as ended": (
        ("UPDATE ledger.order_state SET ended = true WHERE state = 'UNKNOWN'",),
        "transitions",
        "state UNKNOWN",
    ),
    "an append-only trigger switched off": (
        ("ALTER TABLE ledger.journal DISABLE TRIGGER journal_append_only",),
        "guards",
        "journal_append_only of journal: expected a trigger that fires",
    ),
    "an append-only trigger dropped": (
        ("DROP TRIGGER limit_change_append_only ON ledger.limit_change",),
        "guards",
        "limit_change_append_only of limit_change",
    ),
    "a foreign key switched off": (
        ("ALTER TABLE ledger.fill DISABLE TRIGGER ALL",),
        "guards",
        "of fill: expected a trigger that fires",
    ),
    "a unique index dropped": (
        ("DROP INDEX ledger.attempt_one_open",),
        "guards",
        "attempt_one_open of attempt",
    ),
    "a constraint that was never checked": (
        ("ALTER TABLE ledger.orders ADD CONSTRAINT late CHECK (size_micros > 0) NOT VALID",),
        "guards",
        "late of orders",
    ),
    "a constraint dropped": (
        ("ALTER TABLE ledger.orders DROP CONSTRAINT sent_orders_have_an_id",),
        "guards",
        "sent_orders_have_an_id of orders",
    ),
    "a partition that may be emptied": (
        ("DROP TRIGGER journal_rest_no_truncate ON ledger.journal_rest",),
        "guards",
        "journal_rest of journal",
    ),
}  # fmt: skip
