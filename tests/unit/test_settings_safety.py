"""What the settings refuse before anything starts: real money by accident, keys in the open, keys for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from app.config import Settings, load_settings
from app.errors import BadInput, Code

LOCAL: Final = {
    "polymarket_clob_url": "http://127.0.0.1:9",
    "polymarket_ws_url": "ws://127.0.0.1:9/ws/user",
    "polymarket_market_ws_url": "ws://[::1]:9/ws/market",
    "polymarket_gamma_url": "http://localhost:9/gamma",
    "polymarket_data_url": "http://localhost:9/data-api",
}


def polymarket(**more: Any) -> Settings:
    return Settings(**{"venue": "polymarket", "_env_file": None, **more})


def refused(**more: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        polymarket(**more)
    return caught.value


def test_a_venue_of_ones_own_on_loopback_needs_no_switch() -> None:
    assert polymarket(**LOCAL).live is False


@pytest.mark.parametrize("name", LOCAL)
def test_one_address_outside_is_real_money(name: str) -> None:
    """An order book on loopback beside the true user channel would send the stream's secret to production."""
    default = Settings.model_fields[name].default
    error = refused(**{**LOCAL, name: default})
    assert error.code == Code.LIVE_NOT_ALLOWED
    assert f"LEDGER_{name.upper()}" in error.wrong
    assert polymarket(**{**LOCAL, name: default}, live=True).live


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("polymarket_clob_url", "http://clob.example.org"),
        ("polymarket_clob_url", "clob.example.org"),
        ("polymarket_clob_url", "http://127.0.0.1.example.org"),
        ("polymarket_ws_url", "ws://ws.example.org/ws/user"),
        ("polymarket_ws_url", "http://ws.example.org/ws/user"),
        ("polymarket_market_ws_url", "ws://ws.example.org/ws/market"),
        ("polymarket_gamma_url", "http://gamma.example.org"),
        ("polymarket_data_url", "http://data.example.org"),
        ("polymarket_site_url", "http://site.example.org"),
        ("polymarket_clob_url", "http://[::1"),
    ],
)
def test_nothing_goes_to_another_machine_in_the_open(name: str, address: str) -> None:
    """Also with the switch: the level-2 headers and the stream's secret would travel readable."""
    error = refused(**{**LOCAL, name: address}, live=True)
    assert error.code == Code.BAD_SETTING
    assert f"LEDGER_{name.upper()}" in error.wrong
    assert error.not_done == "nothing was started"


def test_the_paper_venue_asks_for_no_switch() -> None:
    assert (
        Settings(_env_file=None, polymarket_gamma_url="http://gamma.example.org").venue == "paper"
    )


# --- .env -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def env_file(folder: Path, text: str, mode: int) -> None:
    path = folder / ".env"
    path.write_text(text, "utf-8")
    path.chmod(mode)


KEY: Final = "LEDGER_PRIVATE_KEY=0x" + "1" * 64


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_secrets_in_a_file_that_others_may_read_are_not_taken(folder: Path, mode: int) -> None:
    env_file(folder, f"{KEY}\nLEDGER_API_SECRET=x\n", mode)
    with pytest.raises(BadInput) as caught:
        load_settings()
    assert caught.value.code == Code.BAD_SETTING
    assert "LEDGER_API_SECRET, LEDGER_PRIVATE_KEY" in caught.value.wrong
    assert "111" not in str(caught.value)
    assert "chmod 600 .env" in caught.value.next_step


def test_a_file_of_ones_own_is_taken(folder: Path) -> None:
    env_file(folder, KEY, 0o600)
    assert load_settings().private_key is not None


def test_what_is_no_secret_may_be_read_by_anybody(folder: Path) -> None:
    text = "LEDGER_ACCOUNT=second\nLEDGER_API_SECRET=\nLEDGER_DATABASE_URL=postgresql://u@h/d\n"
    env_file(folder, text, 0o644)
    assert load_settings().account == "second"


def test_a_password_in_the_address_of_the_database_is_a_secret(folder: Path) -> None:
    env_file(folder, "LEDGER_DATABASE_URL=postgresql://u:p@h/d\n", 0o644)
    with pytest.raises(BadInput, match="LEDGER_DATABASE_URL"):
        load_settings()
