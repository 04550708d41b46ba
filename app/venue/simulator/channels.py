"""The two websocket channels as their clients speak to them (docs/venue.md 6.1, 7)."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from app.venue.simulator.streams import Hub, Listener

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue


class Channel:
    """One connection. ``receive`` answers False where the venue would close it."""

    def __init__(
        self, name: str, hub: Hub, send: Callable[[str], None], drop: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._send = send
        self._listener = Listener(name, send, drop)

    def receive(self, text: str) -> bool:
        """A text frame of the client."""
        if text == "PING":
            self._send("PONG")
            return True
        try:
            frame = json.loads(text)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            self._send("INVALID OPERATION")
            return True
        return self.take(frame)

    def take(self, frame: Mapping[str, Any]) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        """The connection is gone."""
        self._hub.leave(self._listener)

    @property
    def joined(self) -> bool:
        return self._listener in self._hub.listeners


class UserChannel(Channel):
    """Orders and trades of the account whose API key is in the first frame."""

    def __init__(
        self, venue: Venue, hub: Hub, send: Callable[[str], None], drop: Callable[[], None]
    ) -> None:
        super().__init__("user", hub, send, drop)
        self._venue = venue

    def take(self, frame: Mapping[str, Any]) -> bool:
        markets = {one for one in frame.get("markets") or () if isinstance(one, str)}
        if not self.joined:
            return self._enter(frame.get("auth"), markets)
        if frame.get("operation") == "subscribe":
            self._listener.markets |= markets
        elif frame.get("operation") == "unsubscribe":
            self._listener.markets -= markets
        return True

    def _enter(self, auth: Any, markets: set[str]) -> bool:
        if not isinstance(auth, dict):
            return False
        key = self._venue.accounts.keys.get(str(auth.get("apiKey")))
        if key is None:
            return False
        given = (str(auth.get("secret")), str(auth.get("passphrase")))
        wanted = (key.secret, key.passphrase)
        if not all(_same(g, w) for g, w in zip(given, wanted, strict=True)):
            return False
        self._listener.account = key.address
        self._listener.markets = markets
        self._hub.join(self._listener)
        return True


class MarketChannel(Channel):
    """Books and trades of tokens, for anybody."""

    def __init__(self, hub: Hub, send: Callable[[str], None], drop: Callable[[], None]) -> None:
        super().__init__("market", hub, send, drop)

    def take(self, frame: Mapping[str, Any]) -> bool:
        tokens = [one for one in frame.get("assets_ids") or () if isinstance(one, str)]
        if not self.joined:
            self._hub.join(self._listener)
        if "custom_feature_enabled" in frame:
            self._listener.custom = frame["custom_feature_enabled"] is True
        if frame.get("operation") == "unsubscribe":
            self._listener.tokens -= set(tokens)
        else:
            self._hub.subscribe(self._listener, tokens)
        return True


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.rstrip("=").encode(), wanted.rstrip("=").encode())
