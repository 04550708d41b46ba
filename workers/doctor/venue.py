"""Checks of the venue over REST. Each asks one thing and says what the answer means for trading."""

from __future__ import annotations

from app.clock import Clock
from app.config import Settings
from app.money import MICROS, format_micros
from app.venue.interface import Found, Unread
from app.venue.polymarket.answers.border import Fields, Unreadable, document
from app.venue.polymarket.answers.reading import (
    Balance,
    read_closed_only,
    read_tier,
    read_time_ms,
    read_version,
)
from app.venue.polymarket.limits import TIERS
from app.venue.polymarket.official import Approvals
from app.venue.polymarket.order import ORDER_VERSION
from app.venue.polymarket.signing import SignatureType
from app.venue.polymarket.wallet import Ask, collateral, look_at_chain, short_allowances
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from workers.doctor.clocks import clock_finding, offset_ms
from workers.doctor.findings import Finding, fail, ok, warn

_AGAIN = "repeat; if it stays so, look at the address and at the venue's status page"


async def check_rest(ask: Ask) -> Finding:
    """Whether the order book answers at all."""
    answer = await ask(Endpoint.GET_OK)
    if answer.phase is not Phase.DONE:
        return fail("order book", problem_of(answer), _AGAIN)
    if answer.status == 403:
        return fail(
            "order book",
            problem_of(answer),
            "this address is refused before it reaches the venue: geoblock or a blocked data centre",
        )
    if answer.status != 200:
        return fail("order book", problem_of(answer), _AGAIN)
    return ok("order book", f"answers in {answer.took_ms} ms")


async def check_version(ask: Ask) -> Finding:
    """Whether the venue still takes the orders that this release signs."""
    found = read_version(await ask(Endpoint.GET_VERSION))
    if isinstance(found, Unread):
        return warn("order version", found.reason, _AGAIN)
    if found.value != ORDER_VERSION:
        return fail(
            "order version",
            f"the venue says {found.value}, this release signs version {ORDER_VERSION}",
            "every order would be refused (order_version_mismatch): install a newer release",
        )
    return ok("order version", str(found.value))


async def check_clock(ask: Ask, clock: Clock) -> Finding:
    """Our clock against the venue's, which tells whole seconds."""
    before = clock.now_ms()
    found = read_time_ms(await ask(Endpoint.GET_TIME))
    after = clock.now_ms()
    if isinstance(found, Unread):
        return warn("clock, venue", found.reason, _AGAIN)
    offset = offset_ms(before, found.value, after, resolution_ms=1_000)
    return clock_finding("clock, venue", offset, max(after - before, 1_000))


async def check_geoblock(ask: Ask) -> Finding:
    """Whether the venue trades with this address's country (docs/venue.md 9.5)."""
    try:
        answer = Fields(document(await ask(Endpoint.GET_GEOBLOCK)), "geoblock")
        blocked = answer.flag("blocked")
        where = " ".join(filter(None, (answer.optional("country"), answer.optional("region"))))
    except Unreadable as error:
        return warn("geoblock", str(error), "ask from the machine that will trade")
    if blocked is None:
        return warn("geoblock", "the answer does not say", "ask from the machine that will trade")
    if blocked:
        return fail("geoblock", f"blocked: {where}", "orders from here are refused")
    return ok("geoblock", f"not blocked: {where or 'no country told'}")


async def check_credentials(ask: Ask, key_id: str, signer: str) -> Finding:
    """Whether the API key is one of this signer's (level 2 headers, so the clock counts too)."""
    answer = await ask(Endpoint.GET_API_KEYS, signed=True)
    if answer.phase is Phase.DONE and answer.status == 401:
        return fail(
            "API key",
            f"refused: {answer.text[:200]}",
            f"the key must belong to {signer} and this machine's clock must be right: derive the key anew",
        )
    try:
        named = Fields(document(answer), "API keys").rows("apiKeys")
    except Unreadable as error:
        return warn("API key", str(error), _AGAIN)
    if key_id not in named:
        return fail(
            "API key",
            f"{key_id} is not among the {len(named)} keys of {signer}",
            "derive the API key of this private key, and store its three parts",
        )
    return ok("API key", f"{key_id} belongs to {signer}")


async def check_closed_only(ask: Ask) -> Finding:
    """Whether the venue lets this wallet open positions."""
    found = read_closed_only(await ask(Endpoint.GET_CLOSED_ONLY, signed=True))
    if isinstance(found, Unread):
        return warn("closed only", found.reason, _AGAIN)
    if found.value:
        return fail(
            "closed only",
            "this address may only close positions",
            "ask the venue; nothing new can be bought",
        )
    return ok("closed only", "no: positions may be opened")


async def check_tier(ask: Ask) -> Finding:
    """How fast this signer may place and cancel (docs/venue.md 9.4)."""
    found = read_tier(await ask(Endpoint.GET_TIER, signed=True))
    if isinstance(found, Unread):
        return warn("rate limit tier", found.reason, "the limits of the lowest tier are assumed")
    tier = TIERS.get(found.value)
    if tier is None:
        return warn(
            "rate limit tier",
            f"a tier nobody knows: {found.value[:40]}",
            "the limits of the lowest tier are assumed",
        )
    return ok(
        "rate limit tier",
        f"{tier.name}: {tier.orders_per_s} orders/s (burst {tier.orders_burst}), "
        f"{tier.cancels_per_s} cancels/s (burst {tier.cancels_burst})",
    )


async def check_collateral(ask: Ask, kind: SignatureType) -> tuple[Finding, Finding]:
    """What the wallet has, and which exchanges may move it. Both from the order book's cache."""
    found = await collateral(ask, kind)
    if isinstance(found, Found) and _is_short(found.value):
        # The cache may not have noticed a deposit or an approval: the venue looks at the chain, then answers anew.
        await look_at_chain(ask, kind)
        found = await collateral(ask, kind)
    if isinstance(found, Unread):
        step = "repeat; a wrong LEDGER_SIGNATURE_TYPE asks about another wallet"
        return (
            warn("collateral", found.reason, step),
            warn("allowances", "not known without the balance", step),
        )
    return _judge_balance(found.value.balance_micros), _judge_allowances(found.value)


def _is_short(balance: Balance) -> bool:
    return balance.balance_micros <= 0 or bool(
        short_allowances(balance, max(balance.balance_micros, MICROS))
    )


def _judge_balance(micros: int) -> Finding:
    if micros <= 0:
        return warn(
            "collateral",
            "no pUSD: nothing can be bought",
            "deposit and wrap to pUSD (docs/going-live.md); the venue was asked to look at the chain just now",
        )
    return ok("collateral", f"{format_micros(micros)} pUSD")


def _judge_allowances(balance: Balance) -> Finding:
    if not balance.allowances:
        return warn(
            "allowances",
            "the venue names no spender",
            "look at the approvals of the wallet (docs/going-live.md)",
        )
    needed = max(balance.balance_micros, MICROS)
    short = short_allowances(balance, needed)
    if "standard" in short:
        return fail(
            "allowances",
            f"these exchanges may move less than the wallet has: {', '.join(short)}",
            "approve them with the owner's wallet (docs/going-live.md); nothing here approves",
        )
    if short:
        return warn(
            "allowances",
            f"only the markets of these exchanges cannot be traded: {', '.join(short)}",
            "approve them if such markets are wanted (docs/going-live.md)",
        )
    return ok("allowances", "standard, neg-risk and v3 exchange may move the collateral")


async def check_approvals(approvals: Approvals, wallet: str) -> Finding:
    """Every approval that trading may need, as the official client's index has it. A second opinion."""
    found = await approvals.missing(wallet)
    if isinstance(found, Unread):
        return warn("approvals", found.reason, "this is a second opinion; repeat later")
    if found.value:
        named = ", ".join(f"{one.kind} {one.spender}" for one in found.value[:4])
        more = f" and {len(found.value) - 4} more" if len(found.value) > 4 else ""
        return warn(
            "approvals",
            f"missing: {named}{more}",
            "approve them with the owner's wallet (docs/going-live.md); the index may lag",
        )
    return ok("approvals", "none is missing, says the index")


def official_addresses(settings: Settings) -> bool:
    """Whether the official client would ask the same venue."""
    fields = Settings.model_fields
    return all(
        getattr(settings, name) == fields[name].default
        for name in ("polymarket_clob_url", "polymarket_data_url")
    )


def problem_of(exchange: Exchange) -> str:
    """In one line, why an exchange gives nothing."""
    if exchange.phase is not Phase.DONE:
        return f"{exchange.problem or 'no answer'} ({exchange.phase.value})"
    return f"HTTP {exchange.status}: {exchange.text[:200]}"
