"""Keys and API secrets appear nowhere: not in text, errors, logs, copies or tracebacks."""

from __future__ import annotations

import base64
import copy
import io
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polymarket._internal.hmac import build_hmac_signature as hmac_of_polymarket_client
from py_clob_client_v2.signing.hmac import build_hmac_signature as hmac_of_py_clob_client_v2

from app.errors import Code, LedgerError
from app.venue.interface import OrderType, Side
from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.order import build_order
from app.venue.polymarket.signing import SignatureType, Signer

CANARY = "c0ffee" * 10 + "5eed"
SECRET = base64.urlsafe_b64encode(b"\xfb\xff a secret of the API \xff").decode()
PASSPHRASE = "correct horse battery staple"
SIGNER = Signer.from_key(CANARY)
CREDENTIALS = ApiCredentials("an-id", SECRET, PASSPHRASE)
HOLDERS: list[Signer | ApiCredentials] = [SIGNER, CREDENTIALS]


def leaks(text: str) -> bool:
    """Whether a secret is in the text, as it is, as hex, as bytes or as a number."""
    raw = bytes.fromhex(CANARY)
    api = base64.urlsafe_b64decode(SECRET)
    spellings = [CANARY, CANARY.upper(), repr(raw)[2:-1], str(int(CANARY, 16)), SECRET, PASSPHRASE]
    spellings += [repr(api)[2:-1], api.hex()]
    return any(spelling in text for spelling in spellings)


@pytest.mark.parametrize("holder", HOLDERS)
def test_no_text_of_a_holder_shows_its_secret(holder: object) -> None:
    for text in (repr(holder), str(holder), f"{holder}", f"{[holder]}", ascii(holder)):
        assert not leaks(text)
    assert not hasattr(holder, "__dict__")


def test_a_holder_says_whose_it_is() -> None:
    assert repr(SIGNER) == f"<Signer {SIGNER.address} chain 137>"
    assert repr(CREDENTIALS) == "<ApiCredentials an-id>"


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "how", [pickle.dumps, copy.copy, copy.deepcopy, lambda x: pickle.dumps([x], 0)]
)
def test_a_holder_is_neither_copied_nor_pickled(holder: object, how: Callable[[Any], Any]) -> None:
    with pytest.raises(LedgerError, match="neither copied nor pickled") as refusal:
        how(holder)
    assert not leaks(str(refusal.value))


def test_no_log_shows_a_secret() -> None:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    for holder in HOLDERS:
        logger.warning("holder %s %r", holder, {"holder": holder}, extra={"holder": holder})
    assert "Signer" in stream.getvalue()
    assert not leaks(stream.getvalue())


def test_a_signed_order_shows_neither_key_nor_signature() -> None:
    order = build_order(
        SIGNER,
        token_id="1",
        side=Side.BUY,
        price_micros=500_000,
        size_micros=5_000_000,
        tick_micros=10_000,
        neg_risk=False,
        order_type=OrderType.GTC,
        salt=1,
        timestamp_ms=1,
        maker=SIGNER.address,
        signer_address=SIGNER.address,
        signature_type=SignatureType.EOA,
    )
    assert order.signature not in repr(order)
    assert not leaks(repr(order))
    assert not leaks(order.body_template.decode())


BAD_KEYS = [
    "",
    "0x",
    CANARY[:-1],
    CANARY + "0",
    "g" + CANARY[1:],
    "0" * 64,
    "f" * 64,
    "0x0x" + CANARY[4:],
    "hunter2-" * 8,
    "-" + CANARY[1:],
    "_".join((CANARY[:32], CANARY[33:])),
    "٣" * 64,
]


@pytest.mark.parametrize("text", BAD_KEYS)
def test_a_wrong_key_is_refused_without_an_echo(text: str) -> None:
    assert_silent(lambda: Signer.from_key(text), text)


@pytest.mark.parametrize("text", ["", "a", "spaces in between!", "ä" * 8, SECRET + "!" + SECRET])
def test_a_wrong_api_secret_is_refused_without_an_echo(text: str) -> None:
    assert_silent(lambda: ApiCredentials("an-id", text, PASSPHRASE), text)


def assert_silent(make: Callable[[], object], text: str) -> None:
    """The error, what it was raised from and the locals of our own frames hold none of the text."""
    with pytest.raises(LedgerError) as refusal:
        make()
    error = refusal.value
    assert error.code is Code.SIGNING_FAILED
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in shown.stack if "venue/polymarket" in frame.filename]
    assert ours
    told = str(error) + "".join(str(frame.locals) for frame in ours)
    assert not leaks(told)
    if len(text) > 8:
        assert text[:8] not in told


@pytest.mark.parametrize("text", [CANARY, "0x" + CANARY, CANARY.upper(), f" 0x{CANARY}\n"])
def test_a_key_is_read_in_its_usual_spellings(text: str) -> None:
    assert Signer.from_key(text).address == SIGNER.address


# --- headers --------------------------------------------------------------------------------------


@given(
    st.binary(min_size=1, max_size=48),
    st.integers(0, 1 << 40),
    st.sampled_from(("GET", "POST", "DELETE")),
    st.sampled_from(("/order", "/orders", "/data/orders")),
    st.text(alphabet=st.characters(exclude_characters="'", exclude_categories=["Cs"]), max_size=99),
)
def test_the_hmac_is_that_of_both_official_packages(
    raw: bytes, timestamp: int, method: str, path: str, body: str
) -> None:
    secret = base64.urlsafe_b64encode(raw).decode()
    ours = ApiCredentials("an-id", secret, "p").signature(timestamp, method, path, body.encode())
    theirs = hmac_of_polymarket_client(
        secret=secret, timestamp=timestamp, method=method, path=path, body=body
    )
    assert ours == theirs
    assert ours == hmac_of_py_clob_client_v2(secret, str(timestamp), method, path, body)


def test_the_headers_are_the_five_of_level_two() -> None:
    asked = {"timestamp_s": 1_780_000_000, "method": "POST", "path": "/order", "body": b"{}"}
    headers = CREDENTIALS.headers(address=SIGNER.address, **asked)  # type: ignore[arg-type]
    assert headers == {
        "POLY_ADDRESS": SIGNER.address,
        "POLY_API_KEY": "an-id",
        "POLY_PASSPHRASE": PASSPHRASE,
        "POLY_SIGNATURE": CREDENTIALS.signature(1_780_000_000, "POST", "/order", b"{}"),
        "POLY_TIMESTAMP": "1780000000",
    }


def test_an_api_secret_is_read_in_both_alphabets_with_or_without_padding() -> None:
    standard = base64.b64encode(base64.urlsafe_b64decode(SECRET)).decode()
    assert standard != SECRET
    signatures = {
        ApiCredentials("an-id", text, "p").signature(1, "GET", "/")
        for text in (SECRET, standard, SECRET.rstrip("="), f" {SECRET}\n")
    }
    assert len(signatures) == 1


@pytest.mark.parametrize("passphrase", ["inner\nline", "p\u00e4ss", "", " before", "nul\0"])
def test_a_passphrase_that_no_header_can_carry_is_refused_without_an_echo(passphrase: str) -> None:
    """Refused by the connection instead, it would stand in the error's text, and so in logs and rows."""
    assert_silent(lambda: ApiCredentials("an-id", SECRET, passphrase), passphrase or SECRET)
