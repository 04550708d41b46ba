"""What a mistaken repair, or an owner by hand, could do to what risk counts, lends, limits and remembers.

As `tests.support.corruptions`.
"""

from __future__ import annotations

from typing import Final

from tests.support.corruptions import Corruption

MISCOUNTED: Final[dict[str, Corruption]] = {
    # ---- costs and what is at risk
    "a cost one micro short": (
        ("UPDATE ledger.exposure SET bought_cost[1] = bought_cost[1] - 1 WHERE market_id = 1",),
        "costs",
        "main m1: outcome 0, bought for",
    ),
    "a sale that brought more": (
        ("UPDATE ledger.exposure SET sold_cost[1] = sold_cost[1] + 1 WHERE market_id = 1",),
        "costs",
        "main m1: outcome 0, sold for",
    ),
    "a purchase forgotten in the costs": (
        ("UPDATE ledger.exposure SET bought[1] = bought[1] - 10000 WHERE market_id = 1",),
        "costs",
        "main m1: outcome 0, bought:",
    ),
    "less at risk in a market and in its totals": (
        (
            "UPDATE ledger.exposure SET at_risk = at_risk - 1000000 WHERE market_id = 1",
            "UPDATE ledger.account_state SET at_risk = at_risk - 1000000 WHERE account_id = 1",
        ),
        "costs",
        "main m1: at risk",
    ),
    "a hold that no order has": (
        ("UPDATE ledger.exposure SET held_cost = held_cost + 1 WHERE market_id = 1",),
        "costs",
        "main m1: collateral held",
    ),
    "an open order too few": (
        ("UPDATE ledger.exposure SET open_orders = open_orders - 1 WHERE market_id = 1",),
        "costs",
        "main m1: orders that have not ended",
    ),
    "another value of tokens that moved": (
        (
            ("UPDATE ledger.balance_entry SET value_micros = value_micros + 1 "
            "WHERE value_micros IS NOT NULL"),
        ),
        "costs",
        "main m1: outcome 0, bought for",
    ),
    # ---- totals
    "less at risk in an account": (
        ("UPDATE ledger.account_state SET at_risk = at_risk - 1 WHERE account_id = 1",),
        "risk_totals",
        "main: at risk",
    ),
    "fewer shares in an account": (
        ("UPDATE ledger.account_state SET shares = 0 WHERE account_id = 1",),
        "risk_totals",
        "main: effective shares",
    ),
    "less at risk in a group": (
        ("UPDATE ledger.group_state SET at_risk = at_risk - 1 WHERE group_key = 'seven'",),
        "risk_totals",
        "main: group seven, at risk",
    ),
    "a group forgotten": (
        ("DELETE FROM ledger.group_state WHERE group_key = 'seven'",),
        "risk_totals",
        "main: group seven, effective shares",
    ),
    "what trading brought, by hand": (
        ("UPDATE ledger.account_state SET traded_net = traded_net + 1 WHERE account_id = 1",),
        "pnl",
        "main: net of all trades",
    ),
    # ---- caps that are lent out
    "a loan above what the pool lent": (
        ("UPDATE ledger.loan SET cost_micros = cost_micros + 1 WHERE scope = 'global'",),
        "loans",
        "pool global",
    ),
    "a loan and its pool below what is in use": (
        (
            "UPDATE ledger.pool SET lent_cost_micros = 0 WHERE scope = 'global'",
            "UPDATE ledger.loan SET cost_micros = 0 WHERE scope = 'global'",
        ),
        "loans",
        "loan of main from global",
    ),
    "a pool forgotten": (
        ("DELETE FROM ledger.pool WHERE scope = 'group'",),
        "loans",
        "pool group seven",
    ),
    # ---- the other side
    "another side deleted": (
        ("DELETE FROM ledger.contra_balance WHERE contra = 'venue' AND asset = 'collateral'",),
        "contra",
        "main: venue of collateral",
    ),
    "an entry without its twin": (
        (
            "ALTER TABLE ledger.balance_entry DROP CONSTRAINT balance_entry_balances",
            ("UPDATE ledger.balance_entry SET contra_delta = contra_delta + 1 "
            "WHERE entry_key = 'movement:opening main'"),
        ),
        "contra",
        "its twin: a sum of zero",
    ),
    "fees that went to the counterparty": (
        (
            ("UPDATE ledger.balance_entry SET contra_delta = contra_delta + fee_delta, fee_delta = 0 "
            "WHERE fee_delta <> 0"),
        ),
        "contra",
        "main: fees of collateral",
    ),
    "a deposit that was a correction": (
        (
            ("UPDATE ledger.balance_entry SET contra = 'correction' "
            "WHERE entry_key = 'movement:opening main'"),
        ),
        "contra",
        "expected outside, found correction",
    ),
    "a value of collateral": (
        (
            ("UPDATE ledger.balance_entry SET value_micros = 1 "
            "WHERE entry_key = 'movement:opening main'"),
        ),
        "contra",
        "expected no value, found value 1",
    ),
    # ---- limits on totals
    "a limit on a total changed by hand": (
        ("UPDATE ledger.total_limits SET max_cost_micros = 1000000000 WHERE scope = 'live'",),
        "total_limits",
        "live: max_cost_micros: expected 400000000, found 1000000000",
    ),
    "a limit of an account written by hand": (
        ("INSERT INTO ledger.total_limits (scope, scope_id) VALUES ('account', '2')",),
        "total_limits",
        "account 2: its row: expected none, found there",
    ),
    "a total that was taken away": (
        ("DELETE FROM ledger.total_limits WHERE scope = 'account' AND scope_id = '1'",),
        "total_limits",
        "account 1: changes_per_minute: expected 100, found not set",
    ),
    "the default of groups deleted": (
        (
            "DELETE FROM ledger.limit_change WHERE scope = 'group'",
            "DELETE FROM ledger.total_limits WHERE scope = 'group'",
        ),
        "total_limits",
        "group: its row: expected there, found none",
    ),
    "a change of a total deleted": (
        ("DELETE FROM ledger.limit_change WHERE scope = 'live'",),
        "total_limits",
        "live: max_cost_micros: expected 500000000, found 400000000",
    ),
    "a change of a market's limit that names a total": (
        ("UPDATE ledger.limit_change SET scope_id = 'x' WHERE scope = '' AND market_id <> 0",),
        "total_limits",
        "expected of a total, or of an account and a market",
    ),
    # ---- breakers
    "a breaker closed by hand": (
        ("UPDATE ledger.breaker SET until = NULL, count = 0 WHERE until IS NOT NULL",),
        "breakers",
        "main: reject of m7: expected open until",
    ),
    "a breaker that ends sooner": (
        (
            ("UPDATE ledger.breaker SET until = until - interval '1 second' "
            "WHERE until IS NOT NULL"),
        ),
        "breakers",
        "main: reject of m7: expected open until",
    ),
    "a breaker deleted": (
        ("DELETE FROM ledger.breaker WHERE until IS NOT NULL",),
        "breakers",
        "main: reject of m7: expected open until",
    ),
    "a breaker invented": (
        (
            ("UPDATE ledger.breaker SET until = ledger.clock() WHERE until IS NULL "
            "AND kind = 'reject'"),
        ),
        "breakers",
        "main: reject of m8: expected closed",
    ),
    # ---- withdrawals
    "another amount withdrawn": (
        ("UPDATE ledger.withdrawal SET amount_micros = amount_micros + 1 WHERE state = 'DONE'",),
        "withdrawals",
        "third: withdrawal 1, amount",
    ),
    "a withdrawal that is called done": (
        ("UPDATE ledger.withdrawal SET state = 'DONE' WHERE state = 'COMPENSATED'",),
        "withdrawals",
        "third: withdrawal 2, state",
    ),
    "bytes of a transfer deleted": (
        ("DELETE FROM ledger.withdrawal_transfer WHERE withdrawal_id = 1",),
        "withdrawals",
        "third: withdrawal 1, bytes of its transfer",
    ),
    "an attempt deleted": (
        ("DELETE FROM ledger.withdrawal_attempt WHERE withdrawal_id = 1 AND attempt = 2",),
        "withdrawals",
        "third: withdrawal 1, attempts",
    ),
    "given back in doubt": (
        ("UPDATE ledger.withdrawal_attempt SET outcome = 'unsure' WHERE withdrawal_id = 2",),
        "withdrawals",
        "third: withdrawal 2, proof that nothing moved",
    ),
    # ---- who made and who took
    "a fill that took, and made": (
        ("UPDATE ledger.fill SET liquidity = CASE liquidity WHEN 'taker' THEN 'maker' ELSE 'taker' END",),
        "liquidity",
        "main m1: fill part 1 of order {partly_filled}",
    ),
}  # fmt: skip
