"""Whom requests to the venue trust: the system's authorities read once, a given one by its own caller alone."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from app.clock import AsyncioTasks, Ports, SeededRng, SystemClock
from app.venue.polymarket.authorities import nobody_trusted, trusted
from app.venue.polymarket.transport import Transport
from app.venue.simulator.certificates import make_certificates


def test_the_authorities_of_the_system_are_read_once() -> None:
    assert trusted(None) is trusted(None)
    assert trusted(None).verify_mode == ssl.CERT_REQUIRED
    assert trusted(None).check_hostname


def test_a_given_authority_is_trusted_by_its_own_caller_alone(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, SystemClock().now_ms())
    ours = trusted(str(made.authority))
    [given] = ssl.create_default_context(cafile=made.authority).get_ca_certs()
    assert given in ours.get_ca_certs()
    assert given not in trusted(None).get_ca_certs()
    assert ours.verify_mode == ssl.CERT_REQUIRED
    assert ours.check_hostname


def test_what_is_not_encrypted_trusts_nobody() -> None:
    assert nobody_trusted().get_ca_certs() == []
    assert nobody_trusted().verify_mode == ssl.CERT_REQUIRED


async def test_plain_requests_read_no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *where: Any, **more: Any) -> None:
        read.append((where, more))
        original(context, *where, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    ports = Ports(SystemClock(), SeededRng(1), AsyncioTasks())
    await Transport("http://127.0.0.1:9", ports).aclose()
    assert read == []
