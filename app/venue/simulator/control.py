"""What scripts may do to the venue from behind: set the scene, and order what goes wrong.

Each deed is a command like any other: journaled, replayed, deterministic. Arguments that are wrong
raise `BadInput` before anything is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from app.errors import BadInput, Code
from app.money import format_micros, parse_micros
from app.venue.interface import Side
from app.venue.matching import Fate, Outcome, Taker, offer, replace_levels, take
from app.venue.polymarket.amounts import AMOUNT_DECIMALS
from app.venue.simulator.accounts import COLLATERAL, spelled
from app.venue.simulator.exchange import levels
from app.venue.simulator.faults.catalogue import MIXTURE
from app.venue.simulator.limits import TIERS
from app.venue.simulator.markets import Market, made_up, read_gamma
from app.venue.simulator.modes import Mode

if TYPE_CHECKING:
    from app.venue.matching import Book
    from app.venue.simulator.trading import Call
    from app.venue.simulator.venue import Venue

Args = dict[str, Any]
_PUSD: Final = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"


def carry_out(venue: Venue, do: str, args: Args) -> Any:
    """One deed by name."""
    deed = DEEDS.get(do)
    if deed is None:
        raise _bad(f"there is no {do!r}", f"there are: {', '.join(DEEDS)}")
    try:
        return deed(venue, args)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"{do}: {error!r}", "see the documentation of the simulator") from error


def _bad(wrong: str, next_step: str = "") -> BadInput:
    return BadInput(Code.BAD_REQUEST, wrong, not_done="nothing was changed", next_step=next_step)


# --- markets --------------------------------------------------------------------------------------


def _markets(venue: Venue, args: Args) -> list[Args]:
    """``gamma``: JSON of the venue's shape; or ``made_up``: how many, with their terms."""
    if "gamma" in args:
        found = read_gamma(json.dumps(args["gamma"]))
    else:
        terms = args.get("made_up", {})
        first = len(venue.exchange.markets)
        found = [
            made_up(
                venue.settings.seed,
                number,
                tick_micros=_tick({"tick": "0.01", **terms}),
                min_size_micros=_micros(terms, "min_size", "5"),
                neg_risk=bool(terms.get("neg_risk", False)),
                fee_rate_ppm=_micros(terms, "fee_rate", "0"),
                seconds_delay=int(terms.get("seconds_delay", 0)),
            )
            for number in range(first, first + int(terms.get("count", 1)))
        ]
    for market in found:
        venue.exchange.add_market(market)
    return [describe(venue.exchange.markets[one.condition_id]) for one in found]


def describe(market: Market) -> Args:
    """A market for whoever writes scripts."""
    return {
        "condition_id": market.condition_id,
        "slug": market.slug,
        "tokens": list(market.tokens),
        "outcomes": list(market.outcomes),
        "tick": format_micros(market.tick_micros),
        "min_size": format_micros(market.min_size_micros),
        "neg_risk": market.neg_risk,
        "closed": market.closed,
        "accepting": market.accepting,
    }


def _market(venue: Venue, args: Args) -> Args:
    """Change a market: ``accepting``, ``ready``, ``seconds_delay``, ``tick``."""
    market = venue.exchange.markets[args["condition_id"]]
    tick = _tick(args) if "tick" in args else 0
    delay = int(args.get("seconds_delay", market.seconds_delay))
    market.accepting = bool(args.get("accepting", market.accepting))
    market.ready = bool(args.get("ready", market.ready))
    market.seconds_delay = delay
    if tick:
        venue.exchange.change_tick(market.condition_id, tick, venue.at_ms)
    return describe(market)


def _resolve(venue: Venue, args: Args) -> Args:
    market = venue.exchange.markets[args["condition_id"]]
    if args["winner"] not in market.tokens:
        raise ValueError("winner is no token of the market")
    venue.exchange.resolve(market.condition_id, args["winner"], venue.at_ms)
    return describe(market)


# --- books ----------------------------------------------------------------------------------------


def _book(venue: Venue, args: Args) -> None:
    """``bids`` and ``asks``: lists of [price, size]; the outside liquidity is this from now on."""
    rows = [
        (side, _number(price), _number(size))
        for key, side in (("bids", Side.BUY), ("asks", Side.SELL))
        for price, size in args.get(key, [])
    ]
    wanted = levels(rows)
    _outside(venue, args, lambda book: replace_levels(book, wanted, venue.at_ms, _rules(venue)))


def _liquidity(venue: Venue, args: Args) -> None:
    taker = _taker(args)
    _outside(venue, args, lambda book: offer(book, taker, venue.at_ms, _rules(venue)))


def _trade(venue: Venue, args: Args) -> None:
    """Somebody outside takes. ``mint``: by way of the other token."""
    taker = _taker(args)
    _outside(venue, args, lambda book: take(book, taker, venue.at_ms, _rules(venue)))


def _outside(venue: Venue, args: Args, deed: Callable[[Book], Outcome]) -> None:
    if args["token_id"] not in venue.exchange.books:
        raise ValueError("no such token")
    mint = bool(args.get("mint", False))
    venue.exchange.outside(args["token_id"], deed, venue.at_ms, mint=mint)


def _taker(args: Args) -> Taker:
    return Taker(Side(args["side"]), _micros(args, "price"), _micros(args, "size"))


def _rules(venue: Venue) -> Any:
    return venue.settings.rules


# --- accounts -------------------------------------------------------------------------------------


def _account(venue: Venue, args: Args) -> Args:
    """Open or change an account; what is not given stays. Sizes are decimals, added to what is."""
    address, kind = spelled(args["address"]), int(args.get("signature_type", 0))
    wallet = spelled(args["wallet"]) if args.get("wallet") else address
    tier, amounts, key = args.get("tier", ""), _amounts(args), args.get("key")
    if tier and tier not in TIERS:
        raise ValueError(f"tiers are {', '.join(TIERS)}")
    chosen = (key["key_id"], key["secret"], key["passphrase"]) if key else ()
    account = venue.accounts.open(address, wallet, kind)
    account.tier = tier or account.tier
    account.closed_only = bool(args.get("closed_only", account.closed_only))
    account.banned = bool(args.get("banned", account.banned))
    _move(venue, wallet, amounts, seen=bool(args.get("seen", True)))
    if chosen:
        venue.accounts.add_key(address, *chosen)
    elif args.get("make_key"):
        made = venue.accounts.key_for(address, 0) or venue.accounts.create_key(address, 0)
        key = {"key_id": made.key_id, "secret": made.secret, "passphrase": made.passphrase}
    shown = {"address": address, "wallets": account.wallets, "tier": account.tier}
    return {**shown, "key": key}


def _credit(venue: Venue, args: Args) -> None:
    """Move money on the chain; with ``seen`` false the venue's cache does not notice."""
    wallet, amounts = spelled(args["wallet"]), _amounts(args)
    _move(venue, wallet, amounts, seen=bool(args.get("seen", True)))


def _reward(venue: Venue, args: Args) -> Args:
    """What ``address`` was paid for ``day`` and ``condition_id``; again: corrected. ``kind``: liquidity, rebate."""
    if args.get("kind", "liquidity") not in ("liquidity", "rebate"):
        raise ValueError("kinds are liquidity and rebate")
    row = {
        "kind": str(args.get("kind", "liquidity")),
        "address": spelled(args["address"]),
        "maker": spelled(args.get("wallet") or args["address"]),
        "day": str(args["day"]),
        "condition_id": str(args["condition_id"]),
        "asset": str(args.get("asset", _PUSD)),
        "micros": _micros(args, "amount"),
    }
    same = ("kind", "address", "day", "condition_id", "asset")
    venue.rewards = [one for one in venue.rewards if any(one[k] != row[k] for k in same)]
    venue.rewards.append(row)
    return row


def _amounts(args: Args) -> dict[str, int]:
    wanted = {COLLATERAL: args.get("collateral", "0"), **args.get("tokens", {})}
    return {asset: _number(size) for asset, size in wanted.items()}


def _move(venue: Venue, wallet: str, amounts: dict[str, int], *, seen: bool) -> None:
    for asset, micros in amounts.items():
        if micros:
            venue.exchange.backing.balances.move(wallet, asset, micros, seen=seen)


# --- the venue as a whole -------------------------------------------------------------------------


def _clock(venue: Venue, args: Args) -> Args:
    """``manual`` stops the venue's clock; ``advance_ms`` moves it, running or not."""
    advance, offset = int(args.get("advance_ms", 0)), int(args.get("offset_ms", venue.offset_ms))
    if advance < 0:
        raise ValueError("time does not go back")
    venue.manual = bool(args.get("manual", venue.manual))
    # running time is moved for good: otherwise it would wait until this machine has caught up
    venue.offset_ms = offset + (0 if venue.manual else advance)
    venue.run_until(venue.at_ms + advance)
    return {"at_ms": venue.at_ms, "manual": venue.manual}


def _mode(venue: Venue, args: Args) -> Args:
    post_only = int(args.get("post_only_ms", venue.settings.post_only_ms))
    mode = Mode(args["mode"])
    venue.modes.set(mode, venue.at_ms, int(args.get("for_ms", 0)), post_only)
    return {"mode": venue.modes.mode.value, "until_ms": venue.modes.until_ms}


def _settings(venue: Venue, args: Args) -> Args:
    venue.configure(args)
    return venue.settings.to_json()


def _geoblock(venue: Venue, args: Args) -> Args:
    venue.geoblock = {"blocked": bool(args["blocked"]), "country": str(args.get("country", "US"))}
    return venue.geoblock


def _fault(venue: Venue, args: Args) -> list[int]:
    """``faults``: a list of rules. All are taken, or none."""
    return [rule.number for rule in venue.faults.add_all(args["faults"])]


def _mixture(venue: Venue, args: Args) -> list[int]:
    """Faults by chance, without end: ``per_mille`` of what each would meet, ``names`` or the usual."""
    ppm = int(args["per_mille"]) * 1000
    return _fault(
        venue,
        {"faults": [{"name": name, "times": 0, "ppm": ppm} for name in args.get("names", MIXTURE)]},
    )


def _no_fault(venue: Venue, args: Args) -> None:
    venue.faults.drop(args.get("number"))


def _fate(venue: Venue, args: Args) -> None:
    """The next trade (of ``order_id``, if given) ends so: CONFIRM, RETRY or FAIL."""
    ordered = (str(args.get("order_id", "")), Fate(args["fate"]), int(args.get("after_ms", 0)))
    venue.exchange.fates.append(ordered)


def _cancel(venue: Venue, args: Args) -> int:
    """The venue cancels by itself: one order, or all of an account. How many that were."""
    account = spelled(args["address"])
    wanted = args.get("order_id")
    status = str(args.get("status", ""))
    found = [r.order.order_id for r in venue.exchange.live_orders(account)]
    ended = [one for one in found if wanted in (None, one)]
    for order_id in ended:
        venue.exchange.cancel(account, order_id, venue.at_ms, status)
    return len(ended)


DEEDS: Final[dict[str, Callable[[Venue, Args], Any]]] = {
    "markets": _markets,
    "market": _market,
    "resolve": _resolve,
    "book": _book,
    "liquidity": _liquidity,
    "trade": _trade,
    "account": _account,
    "credit": _credit,
    "reward": _reward,
    "clock": _clock,
    "mode": _mode,
    "settings": _settings,
    "geoblock": _geoblock,
    "fault": _fault,
    "mixture": _mixture,
    "no_fault": _no_fault,
    "fate": _fate,
    "cancel": _cancel,
}


def happen(venue: Venue, name: str, params: Args, call: Call) -> None:
    """A DURING fault that changes the venue, right before the call it struck."""
    if name == "mass_cancel":
        venue.heartbeats.expire(call.key_id)
        venue.cancel_for_key(call.key_id)
    elif name == "engine_restart":
        venue.modes.set(Mode.RESTARTING, call.at_ms, params["for_ms"], params["post_only_ms"])
    elif name == "cancel_only":
        venue.modes.set(Mode.CANCEL_ONLY, call.at_ms, params["for_ms"])
    elif name == "disabled":
        venue.modes.set(Mode.DISABLED, call.at_ms, params["for_ms"])
    elif name == "closed_only":
        venue.accounts.open(call.account).closed_only = True
    elif name == "geoblock":
        venue.geoblock = {"blocked": True, "country": params["country"]}
    elif name in ("tick_change", "market_not_ready"):
        for market in venue.exchange.markets.values():
            if any(token in call.body for token in market.tokens):
                _disturb(venue, name, params, market, call.at_ms)


def _disturb(venue: Venue, name: str, params: Args, market: Market, now_ms: int) -> None:
    if name == "tick_change":
        venue.exchange.change_tick(market.condition_id, _tick(params), now_ms)
    else:
        market.ready = False
        venue.unready[market.condition_id] = now_ms + params["ms"]


def _number(value: Any) -> int:
    return parse_micros(str(value), what="a number")


def _tick(args: Args) -> int:
    tick = _micros(args, "tick")
    if tick not in AMOUNT_DECIMALS:
        raise ValueError("no such tick")
    return tick


def _micros(args: Args, key: str, usual: str | None = None) -> int:
    value = args[key] if usual is None else args.get(key, usual)
    return parse_micros(str(value), what=key)
