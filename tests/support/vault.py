"""A Vault for tests: the key-value engine and AppRole over loopback HTTP, as far as we use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.config import Settings
from tests.support.web import Answer, Asked, web


@dataclass
class FakeVault:
    """What it holds and what it was asked. ``broken``: answer everything with this status and text."""

    token: str = "a-vault-token"
    role_id: str = "a-role"
    secret_id: str = "a-secret-id"
    versions: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    broken: tuple[int, str] | None = None
    redirect_to: str = ""
    address: str = ""

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, str]:
        self.asked.append((method, path, token))
        if self.broken is not None:
            return self.broken
        if (method, path) == ("POST", "/v1/auth/approle/login"):
            if body != {"role_id": self.role_id, "secret_id": self.secret_id}:
                return 400, json.dumps({"errors": ["invalid role or secret ID"]})
            return 200, json.dumps({"auth": {"client_token": self.token}})
        if token != self.token:
            return 403, json.dumps({"errors": ["permission denied"]})
        place, _, query = path.partition("?")
        if place == "/v1/secret/data/trading/main":
            number = int(query.removeprefix("version=") or len(self.versions))
            if not 0 < number <= len(self.versions):
                return 404, json.dumps({"errors": []})
            data = {"data": self.versions[number - 1], "metadata": {"version": number}}
            return 200, json.dumps({"data": data})
        if place == "/v1/old/trading/main" and self.versions:
            return 200, json.dumps({"data": self.versions[-1]})
        return 404, json.dumps({"errors": []})


@contextmanager
def fake_vault() -> Iterator[FakeVault]:
    """Serve one until the end of the block."""
    vault = FakeVault()

    def answer(asked: Asked) -> Answer:
        if vault.redirect_to:
            return 307, {"location": vault.redirect_to}, ""
        body = json.loads(asked.body) if asked.body else None
        token = asked.headers.get("x-vault-token", "")
        status, text = vault.answer(asked.method, asked.path, token, body)
        return status, {"content-type": "application/json"}, text

    with web(answer) as served:
        vault.address = served.address
        yield vault


def vault_settings(vault: FakeVault, **given: Any) -> Settings:
    """Settings that read the keys from there, with its token."""
    options: dict[str, Any] = {
        "secrets": "vault",
        "vault_addr": vault.address,
        "vault_path": "trading/main",
        "vault_token": vault.token,
    }
    return Settings(_env_file=None, **options | given)
