"""``balances book``: what no order explains is booked once, with a cause, and the audit agrees."""

from __future__ import annotations

from tests.support.cli import MARKET, Cli, cli_fixture

__all__ = ["cli_fixture"]


def test_a_movement_is_booked_once_under_its_key(cli: Cli) -> None:
    terms = ("--asset", "collateral", "--cause", "deposit", "--key", "d1", "--why", "a transfer")
    first = cli.good("balances", "book", *terms, "--amount", "12.5", role="risk")
    assert (first["status"], first["amount_micros"]) == ("booked", 12_500_000)
    again = cli.good("balances", "book", *terms, "--amount", "12.5", role="risk")
    assert again["status"] == "replay"
    other = cli.run("balances", "book", *terms, "--amount", "13", "--json", role="risk")
    assert (other.code, other.error["code"]) == (1, "KEY_REUSED")
    (balance,) = cli.good("balances", "--account", "main")
    assert balance["available_micros"] == 512_500_000
    gone = ("--amount", "-2.5", "--cause", "withdrawal", "--key", "w1", "--why", "x")
    cli.good("balances", "book", "--asset", "collateral", *gone)
    (balance,) = cli.good("balances")
    assert balance["available_micros"] == 510_000_000
    assert cli.good("audit")["ok"] is True


def test_the_tokens_of_a_split_are_booked_by_their_ids(cli: Cli) -> None:
    tokens = cli.fetch(
        "SELECT token_id FROM ledger.outcome JOIN ledger.market USING (market_id) "
        "WHERE slug = $1 ORDER BY outcome",
        MARKET,
    )
    assets = [("collateral", "-5"), *((row["token_id"], "5") for row in tokens)]
    for number, (asset, amount) in enumerate(assets):
        terms = ("--cause", "split", "--key", f"split {number}", "--why", "a split on the site")
        cli.good("balances", "book", "--asset", asset, "--amount", amount, *terms)
    owned = {row["asset"]: row["available_micros"] for row in cli.good("balances")}
    assert owned.pop("collateral") == 495_000_000
    assert owned == {row["token_id"]: 5_000_000 for row in tokens}
    assert cli.good("audit")["ok"] is True
