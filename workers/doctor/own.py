"""Checks of what is ours: settings, keys, and whether key, wallet and signature type belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.addresses import is_loopback
from app.config import Settings
from app.errors import LedgerError
from app.secrets import SecretSet
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.wallet import Fit, judge
from workers.doctor.findings import Finding, fail, ok, skipped, warn

PAPER: Final = "the venue is paper"


def check_venue(settings: Settings) -> Finding:
    """Where orders go, and whether that was meant."""
    if settings.venue == "paper":
        return ok("venue", "paper: no order leaves this machine")
    if is_loopback(settings.polymarket_clob_url):
        return ok("venue", f"polymarket at the loopback address {settings.polymarket_clob_url}")
    return warn(
        "venue",
        f"polymarket at {settings.polymarket_clob_url}: real money",
        "set LEDGER_VENUE=paper if that is not meant",
    )


def check_addresses(settings: Settings) -> Finding:
    """All addresses of one world: a real order book beside a made-up stream would be a blind worker."""
    urls = {
        "LEDGER_POLYMARKET_CLOB_URL": settings.polymarket_clob_url,
        "LEDGER_POLYMARKET_WS_URL": settings.polymarket_ws_url,
        "LEDGER_POLYMARKET_MARKET_WS_URL": settings.polymarket_market_ws_url,
    }
    local = [name for name, url in urls.items() if is_loopback(url)]
    if local and len(local) < len(urls):
        return fail(
            "addresses",
            f"{', '.join(local)} is a loopback address and the others are not",
            "point all three at one venue",
        )
    return ok("addresses", "order book, user channel and market channel belong together")


def check_secrets(place: str, read: Callable[[], SecretSet]) -> tuple[Finding, SecretSet | None]:
    """Whether the keys can be read, and are whole. ``read`` may block."""
    try:
        found = read()
    except LedgerError as error:
        return fail("keys", error.wrong, error.next_step), None
    if not found.current.has_api_key:
        return (
            fail(
                "keys",
                f"{place}: a private key and no API key",
                "derive the API key of this private key, and store its three parts",
            ),
            found,
        )
    before = (
        "" if found.previous is None else f"; the key before, {found.previous.key_id}, is known"
    )
    key_id = found.current.credentials.key_id
    return ok("keys", f"{place}: private key and API key {key_id}{before}"), found


def check_wallet(settings: Settings, signer: str) -> Finding:
    """The self-check of (key, wallet, signature type) that a start needs (docs/venue.md 2.3, 12 no. 21)."""
    kind = SignatureType(settings.signature_type)
    if not settings.funder and kind is not SignatureType.EOA:
        return fail(
            "wallet",
            f"signature type {kind.value} and no LEDGER_FUNDER",
            "set LEDGER_FUNDER to the wallet that holds the funds",
        )
    try:
        fit, words = judge(signer, settings.funder or signer, kind)
    except LedgerError as error:
        return fail("wallet", error.wrong, "correct LEDGER_FUNDER")
    if fit is Fit.WRONG:
        return fail("wallet", words, "correct LEDGER_FUNDER, LEDGER_SIGNATURE_TYPE or the key")
    if fit is Fit.UNSURE:
        return warn("wallet", words, "the live test shows whether the venue takes its orders")
    if kind is SignatureType.EOA:
        return warn(
            "wallet",
            words,
            "new users of the API must use a deposit wallet (signature type 3); older ones may go on",
        )
    return ok("wallet", words)


def check_account(settings: Settings, signer: str, row: dict[str, str | None] | None) -> Finding:
    """The ledger's account against the keys. ``row``: its venue, maker and signer, or None if not open."""
    name = settings.account
    if row is None:
        return fail(
            "account",
            f"{name} is not open",
            f"ledger-worker account open {name} --venue {settings.venue}",
        )
    if row["venue"] != settings.venue:
        return fail(
            "account",
            f"{name} trades on {row['venue']}, and LEDGER_VENUE is {settings.venue}",
            "an account never changes its venue: name another account, or the other venue",
        )
    maker = (settings.funder or signer).lower()
    # The order's signer field of a deposit wallet is the wallet (docs/venue.md 2.3).
    signs = (signer.lower(), maker if settings.signature_type == SignatureType.POLY_1271 else "")
    wrong = [
        f"{part} {known}, and the keys say {mine[0]}"
        for part, mine in (("maker", (maker,)), ("signer", signs))
        if (known := (row[part] or "").lower()) and known not in mine
    ]
    if wrong:
        return fail(
            "account",
            f"{name} has {' and '.join(wrong)}",
            "one account is one wallet and one key: open another account for another key",
        )
    return ok("account", f"{name} trades on {row['venue']} with this key")


def not_asked(name: str, why: str = PAPER) -> Finding:
    """A check that makes no sense here."""
    return skipped(name, why)
