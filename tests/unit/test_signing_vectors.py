"""Recorded orders of other implementations, where LEDGER_TEST_DATA_DIR names their folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.venue.polymarket.auth import ApiCredentials
from app.venue.polymarket.domain import Domain
from app.venue.polymarket.encoding import parse_address, parse_bytes32
from app.venue.polymarket.signing import OrderFields, Signer, order_hash, struct_hash


def recorded(name: str) -> Any:
    folder = os.environ.get("LEDGER_TEST_DATA_DIR")
    file = Path(folder or "absent") / "signing-vectors" / name
    if not folder or not file.is_file():
        pytest.skip(f"LEDGER_TEST_DATA_DIR does not name a folder with signing-vectors/{name}")
    return json.loads(file.read_text())


def fields_of(order: dict[str, Any]) -> OrderFields:
    return OrderFields(
        salt=int(order["salt"]),
        maker=parse_address(order["maker"]),
        signer=parse_address(order["signer"]),
        token_id=int(order["tokenId"]),
        maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]),
        side=order["side"],
        signature_type=order["signatureType"],
        timestamp_ms=int(order["timestamp"]),
        metadata=parse_bytes32(order["metadata"], what="metadata"),
        builder=parse_bytes32(order["builder"], what="builder"),
    )


def test_every_recorded_order_of_the_current_struct_has_our_hash_and_signature() -> None:
    vectors = recorded("order_signing_vectors.json")["vectors"]
    seen: dict[int, int] = {}
    for vector in vectors:
        if vector["protocol"] == "V1":
            continue  # the struct that the venue refuses since 2026-04-28
        fields, named = fields_of(vector["order"]), vector["domain"]
        domain = Domain(named["chainId"], named["verifyingContract"], named["version"])
        assert order_hash(fields, domain) == vector["expectedOrderHash"], vector["id"]
        signed = Signer.from_key(vector["privateKey"], domain.chain_id).sign(fields, domain)
        assert "0x" + signed.signature.hex() == vector["expectedSignature"], vector["id"]
        for key in ("structHash", "contentsHash"):
            assert vector.get(key) in (None, "0x" + struct_hash(fields).hex()), vector["id"]
        assert vector.get("domainSeparator") in (None, "0x" + domain.separator.hex()), vector["id"]
        seen[fields.signature_type] = seen.get(fields.signature_type, 0) + 1
    assert sum(seen.values()) == 19
    assert set(seen) == {0, 1, 2, 3}


def test_every_recorded_request_has_our_hmac() -> None:
    for vector in recorded("auth_hmac_bookhash_vectors.json")["hmacL2"]:
        credentials = ApiCredentials("id", vector["secret"], "pass")
        signature = credentials.signature(
            int(vector["timestamp"]), vector["method"], vector["path"], vector["body"].encode()
        )
        assert signature == vector["expected"]
