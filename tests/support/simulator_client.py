"""A small client of the venue's API for tests: signs with the project's own signer, keeps raw answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from app.clock import SeededRng, SystemClock
from app.money import parse_micros
from app.venue.interface import OrderType, Side
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.body import with_owner
from app.venue.polymarket.order import SignedOrder, build_order
from app.venue.polymarket.signing import SignatureType, Signer
from tests.support.simulator import Simulator, no_authorities

T = TypeVar("T")
SOON_S = 20.0


class Trader:
    """One account of a simulator with its key. ``number`` names it: another number, another account."""

    def __init__(self, simulator: Simulator, number: int, *, url: str = "", **account: Any) -> None:
        self.simulator = simulator
        self.signer = Signer.ephemeral(SeededRng(number).bits)
        self.address = self.signer.address
        self.kind = SignatureType(account.get("signature_type", 0))
        self.wallet = account.get("wallet", self.address)
        self.key: dict[str, str] = simulator.api_key(self.address, **account)
        """With its secrets, as the stream's first frame wants them."""
        self.credentials = ApiCredentials(**self.key)
        self.http = httpx.Client(
            base_url=url or simulator.url, timeout=SOON_S, verify=no_authorities()
        )
        self._salt = number * 1_000_000

    def close(self) -> None:
        self.http.close()

    # --- orders --------------------------------------------------------------------------------

    def sign(
        self,
        token_id: str,
        side: str = "BUY",
        price: str = "0.45",
        size: str = "10",
        *,
        order_type: str = "GTC",
        tick: str = "0.01",
        neg_risk: bool = False,
        expiration_s: int = 0,
        post_only: bool = False,
        at_ms: int | None = None,
    ) -> SignedOrder:
        """A new order each time: the salt counts up."""
        self._salt += 1
        return build_order(
            self.signer,
            token_id=token_id,
            side=Side(side),
            price_micros=parse_micros(price, what="price"),
            size_micros=parse_micros(size, what="size"),
            tick_micros=parse_micros(tick, what="tick"),
            neg_risk=neg_risk,
            order_type=OrderType(order_type),
            salt=self._salt,
            timestamp_ms=SystemClock().now_ms() if at_ms is None else at_ms,
            maker=self.wallet,
            signer_address=self.wallet if self.kind == 3 else self.address,
            signature_type=self.kind,
            expiration_s=expiration_s,
            post_only=post_only,
        )

    def body(self, order: SignedOrder) -> bytes:
        """The bytes that are sent, the same each time."""
        return with_owner(order.body_template, self.credentials.key_id)

    def post(self, order: SignedOrder) -> httpx.Response:
        return self.ask("POST", "/order", self.body(order))

    def post_all(self, orders: Sequence[SignedOrder]) -> httpx.Response:
        return self.ask("POST", "/orders", b"[" + b",".join(map(self.body, orders)) + b"]")

    def placed(self, token_id: str, *terms: str, **more: Any) -> SignedOrder:
        """An order that the venue took."""
        order = self.sign(token_id, *terms, **more)
        answer = self.post(order)
        assert answer.status_code == 200, answer.text
        assert answer.json()["orderID"] == order.venue_order_id, answer.text
        return order

    def cancel(self, order: SignedOrder) -> httpx.Response:
        return self.ask("DELETE", "/order", _json({"orderID": order.venue_order_id}))

    # --- reads ---------------------------------------------------------------------------------

    def look(self, order: SignedOrder) -> dict[str, Any] | None:
        """GET /data/order/{id}: None for null."""
        found: dict[str, Any] | None = self.ask("GET", f"/data/order/{order.venue_order_id}").json()
        return found

    def status(self, order: SignedOrder) -> str:
        """The venue's text, or ABSENT."""
        found = self.look(order)
        return "ABSENT" if found is None else str(found["status"])

    def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All rows of a listing, as clients read it: page by page to the end."""
        rows: list[dict[str, Any]] = []
        cursor = "MA=="
        while cursor != "LTE=":
            page = self.ask("GET", path, **query, next_cursor=cursor).json()
            rows += page["data"]
            cursor = page["next_cursor"]
        return rows

    def trades(self) -> list[dict[str, Any]]:
        return self.pages("/data/trades")

    def ask(
        self, method: str, path: str, body: bytes = b"", *, timeout: float = SOON_S, **query: Any
    ) -> httpx.Response:
        """Any request, with fresh level-2 headers."""
        headers = self.credentials.headers(
            address=self.address,
            timestamp_s=SystemClock().now_ms() // 1000,
            method=method,
            path=path,
            body=body,
        )
        return self.http.request(
            method, path, content=body, headers=headers, params=query, timeout=timeout
        )

    # --- stream --------------------------------------------------------------------------------

    @contextmanager
    def stream(self, markets: Sequence[str] = ()) -> Iterator[Frames]:
        """The user channel, once the venue listens."""
        auth = {"apiKey": self.key["key_id"], "secret": self.key["secret"]}
        frame: dict[str, Any] = {
            "auth": {**auth, "passphrase": self.key["passphrase"]},
            "type": "user",
        }
        if markets:
            frame["markets"] = list(markets)
        with listen(self.simulator, "user", frame) as frames:
            yield frames


class Frames:
    """One websocket connection's frames."""

    def __init__(self, socket: Connection) -> None:
        self.socket = socket

    def next(self, timeout: float = SOON_S) -> Any:
        """The next frame, parsed. TimeoutError if none comes."""
        return json.loads(self.text(timeout))

    def text(self, timeout: float = SOON_S) -> str:
        return str(self.socket.recv(timeout=timeout))

    def until(self, wanted: Callable[[Any], T | None]) -> T:
        """The first true answer about a frame; those before it are skipped."""
        while True:
            found = wanted(self.next())
            if found:
                return found

    def ping(self) -> list[Any]:
        """All frames that were on their way, by what comes before the answer to a ping."""
        self.socket.send("PING")
        before: list[Any] = []
        while (text := self.text()) != "PONG":
            before.append(json.loads(text))
        return before


@contextmanager
def listen(
    simulator: Simulator, channel: str, first: dict[str, Any], *, entered: bool = True
) -> Iterator[Frames]:
    """A connection of a channel whose first frame was sent; ``entered``: and was taken."""
    url = str(simulator.ready[f"{channel}_ws_url"])
    with connect(url, proxy=None, compression=None) as socket:
        socket.send(json.dumps(first))
        frames = Frames(socket)
        if entered:
            assert frames.ping() is not None
        yield frames


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
