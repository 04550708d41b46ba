"""What anybody may read at the CLOB: time, markets, books (docs/venue.md 8.2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from app.money import MICROS, format_micros
from app.venue.matching import Book
from app.venue.simulator.cursors import page
from app.venue.simulator.markets import Market
from app.venue.simulator.messages import Request, Response, answer, number, refuse
from app.venue.simulator.views import best, book_view

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue


def ok(venue: Venue, request: Request, arg: str) -> Response:
    return answer("OK")


def time(venue: Venue, request: Request, arg: str) -> Response:
    # Not the time of the last command: a venue at which nothing happens has a clock that goes all the same.
    return answer(max(venue.at_ms, request.at_ms) // 1000)


def version(venue: Venue, request: Request, arg: str) -> Response:
    return answer({"version": venue.settings.order_version})


def geoblock(venue: Venue, request: Request, arg: str) -> Response:
    blocked = venue.geoblock.get("blocked", False)
    country = venue.geoblock.get("country", "IE")
    body = {"blocked": blocked, "ip": "127.0.0.1", "country": country, "region": ""}
    return answer(body)


# --- markets --------------------------------------------------------------------------------------


def clob_market(venue: Venue, request: Request, arg: str) -> Response:
    """GET /clob-markets/{condition}: the compact object that orders are made with."""
    market = venue.exchange.markets.get(arg)
    if market is None:
        return refuse(404, "market not found")
    compact: dict[str, Any] = {
        "t": [
            {"t": token, "o": outcome}
            for token, outcome in zip(market.tokens, market.outcomes, strict=True)
        ],
        "c": market.condition_id,
        "mos": number(market.min_size_micros),
        "mts": number(market.tick_micros),
        "mbf": 1000 if market.fee_rate_ppm else 0,
        "tbf": 1000 if market.fee_rate_ppm else 0,
        "ao": market.accepting,
        "nr": market.neg_risk,
        "cbos": True,
        "ibce": True,
        "itode": market.seconds_delay > 0,
    }
    if market.fee_rate_ppm:
        compact["fd"] = {"r": number(market.fee_rate_ppm), "e": 1, "to": True}
    return answer(compact)


def market_by_token(venue: Venue, request: Request, arg: str) -> Response:
    market = venue.exchange.market_of(arg)
    if market is None:
        return refuse(404, "market not found")
    body = {
        "condition_id": market.condition_id,
        "primary_token_id": market.tokens[0],
        "secondary_token_id": market.tokens[-1],
    }
    return answer(body)


def market(venue: Venue, request: Request, arg: str) -> Response:
    found = venue.exchange.markets.get(arg)
    return refuse(404, "market not found") if found is None else answer(_market(venue, found))


def markets(venue: Venue, request: Request, arg: str) -> Response:
    rows = list(venue.exchange.markets.values())
    found = page(rows, request.query.get("next_cursor", ""), venue.settings.page_limit)
    if found is None:
        return refuse(400, "Invalid next_cursor")
    found["data"] = [_market(venue, one) for one in found["data"]]
    return answer(found)


def _market(venue: Venue, market: Market) -> dict[str, Any]:
    tokens = []
    for token, outcome in zip(market.tokens, market.outcomes, strict=True):
        price = _mid(venue.exchange.books[token])
        won = market.winner == token
        shown = number(MICROS if won else price)
        tokens.append({"token_id": token, "outcome": outcome, "price": shown, "winner": won})
    return {
        "enable_order_book": True,
        "active": market.active,
        "closed": market.closed,
        "archived": False,
        "accepting_orders": market.accepting,
        "minimum_order_size": number(market.min_size_micros),
        "minimum_tick_size": number(market.tick_micros),
        "condition_id": market.condition_id,
        "question_id": market.question_id,
        "question": market.question,
        "market_slug": market.slug,
        "end_date_iso": market.end_date or None,
        "game_start_time": market.raw.get("gameStartTime"),
        "seconds_delay": market.seconds_delay,
        "maker_base_fee": 1000 if market.fee_rate_ppm else 0,
        "taker_base_fee": 1000 if market.fee_rate_ppm else 0,
        "neg_risk": market.neg_risk,
        "neg_risk_market_id": market.raw.get("negRiskMarketID") or "",
        "tokens": tokens,
        "tags": [],
    }


# --- books ----------------------------------------------------------------------------------------


def _book_of(venue: Venue, token_id: Any) -> Book | None:
    book = venue.exchange.books.get(token_id) if isinstance(token_id, str) else None
    return book if book is not None and book.open else None


def _no_book() -> Response:
    return refuse(404, "No orderbook exists for the requested token id")


def shown_book(venue: Venue, book: Book) -> dict[str, Any]:
    """A book as anybody sees it now."""
    exchange = venue.exchange
    market = exchange.markets[book.condition_id]
    price = exchange.last_price.get(book.token_id, "")
    return book_view(book, market, exchange.touched_ms.get(book.token_id, 0), price)


def book(venue: Venue, request: Request, arg: str) -> Response:
    found = _book_of(venue, request.query.get("token_id"))
    return _no_book() if found is None else answer(shown_book(venue, found))


def books(venue: Venue, request: Request, arg: str) -> Response:
    """POST /books: those of a list that exist, in its order."""
    try:
        wanted = json.loads(request.body)
        tokens = [one["token_id"] for one in wanted]
    except (ValueError, KeyError, TypeError):
        return refuse(400, "Invalid payload")
    found = [one for one in (_book_of(venue, token) for token in tokens) if one is not None]
    return answer([shown_book(venue, one) for one in found])


def tick_size(venue: Venue, request: Request, arg: str) -> Response:
    market = venue.exchange.market_of(request.query.get("token_id", arg))
    if market is None:
        return refuse(404, "market not found")
    return answer({"minimum_tick_size": number(market.tick_micros)})


def neg_risk(venue: Venue, request: Request, arg: str) -> Response:
    market = venue.exchange.market_of(request.query.get("token_id", arg))
    if market is None:
        return refuse(404, "market not found")
    return answer({"neg_risk": market.neg_risk})


def fee_rate(venue: Venue, request: Request, arg: str) -> Response:
    """A ceiling of what may be charged, not the rate (docs/venue.md 8.2)."""
    market = venue.exchange.market_of(request.query.get("token_id", arg))
    if market is None:
        return refuse(404, "market not found")
    return answer({"base_fee": 1000 if market.fee_rate_ppm else 0})


def _mid(book: Book) -> int:
    bid, ask = best(book)
    if bid is None or ask is None:
        return MICROS // 2
    return (bid + ask) // 2


def midpoint(venue: Venue, request: Request, arg: str) -> Response:
    found = _book_of(venue, request.query.get("token_id"))
    if found is None or None in best(found):
        return _no_book()
    return answer({"mid": format_micros(_mid(found))})


def price(venue: Venue, request: Request, arg: str) -> Response:
    """The best price to buy from or sell to."""
    found = _book_of(venue, request.query.get("token_id"))
    if found is None:
        return _no_book()
    bid, ask = best(found)
    shown = bid if request.query.get("side") == "BUY" else ask
    return answer({"price": format_micros(shown or 0)})


def spread(venue: Venue, request: Request, arg: str) -> Response:
    found = _book_of(venue, request.query.get("token_id"))
    if found is None:
        return _no_book()
    bid, ask = best(found)
    if bid is None or ask is None:
        return _no_book()
    return answer({"spread": format_micros(ask - bid)})


def last_trade_price(venue: Venue, request: Request, arg: str) -> Response:
    token = request.query.get("token_id", "")
    last = venue.exchange.last_price.get(token)
    side = venue.exchange.last_side.get(token, "")
    return answer({"price": last or "0.5", "side": side})
