"""Whatever comes back: nothing raises, nothing is accepted or refused that was not said."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.venue.interface import Accepted, CancelAccepted, NotPlaced, Rejected, Seen, Unknown
from app.venue.polymarket.answers import (
    RULES,
    Verdict,
    budget_of,
    cancel_outcomes,
    mode_of,
    place_outcomes,
    rule_for,
)
from app.venue.polymarket.wire import Endpoint, Exchange, Phase
from tests.support.answers import OURS, SECOND, STRANGER, THIRD, batched, failed, posted, taken

THREE = [OURS, SECOND, THIRD]
DELETES = [
    Endpoint.DELETE_ORDER,
    Endpoint.DELETE_ORDERS,
    Endpoint.DELETE_ALL,
    Endpoint.DELETE_MARKET,
]
HEADER_NAMES = st.sampled_from(
    [
        "retry-after",
        "date",
        "content-type",
        "poly-ratelimit-remaining",
        "poly-ratelimit-reset",
        "poly-ratelimit-tier",
        "poly-ratelimit-warning",
    ]
)
HEADERS = st.dictionaries(HEADER_NAMES, st.text(max_size=40) | st.from_regex(r"-?[0-9.]{1,12}"))
STATUSES = st.integers(0, 599) | st.sampled_from([200, 400, 401, 403, 404, 425, 429, 500, 503])
PHASES = st.sampled_from(list(Phase))
TEXTS = st.sampled_from([text for rule in RULES for text in rule.texts]) | st.text(max_size=60)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from([*THREE, STRANGER, "live", "matched", "delayed", "unmatched", ""])
)
NAMES = st.sampled_from(
    ["success", "errorMsg", "error", "orderID", "status", "code", "retry_after_seconds", "canceled"]
) | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(NAMES, v, max_size=6), max_leaves=20
)
RESULTS = st.fixed_dictionaries(
    {},
    optional={
        "success": st.booleans() | LEAVES,
        "errorMsg": TEXTS | LEAVES,
        "error": TEXTS | LEAVES,
        "orderID": st.sampled_from([*THREE, STRANGER, "", None]) | LEAVES,
        "status": st.sampled_from(["live", "matched", "delayed", "unmatched", "", None]) | LEAVES,
    },
)
BODIES = (
    st.binary(max_size=300)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | RESULTS.map(lambda value: json.dumps(value).encode())
    | st.lists(RESULTS, max_size=4).map(lambda value: json.dumps(value).encode())
)


def result_of(body: bytes) -> dict[str, Any]:
    value = json.loads(body)
    assert isinstance(value, dict)
    return value


@given(STATUSES, HEADERS, BODIES, PHASES)
def test_no_single_answer_raises_or_is_accepted_without_every_sign(
    status: int, headers: dict[str, str], body: bytes, phase: Phase
) -> None:
    answer = Exchange(Endpoint.POST_ORDER, phase, status, headers, body, "broke")
    (found,) = place_outcomes(answer, [OURS])
    assert isinstance(found, Unknown) or phase in (Phase.DONE, Phase.CONNECTING)
    if isinstance(found, Accepted):
        said = result_of(body)
        assert (status, phase) == (200, Phase.DONE)
        assert said["orderID"].lower() == OURS == found.venue_order_id
        assert said["status"] in ("live", "matched", "delayed")
        assert said.get("errorMsg") in (None, "")
        assert said.get("error") in (None, "")
        assert said.get("success") is not False
        assert said.get("success") is True or said["errorMsg"] == ""
    if isinstance(found, Rejected):
        rule = next(rule for rule in RULES if rule.code == found.code)
        assert rule.verdict is Verdict.REJECTED
        assert status in rule.statuses
    if isinstance(found, NotPlaced):
        assert 0 <= found.retry_after_ms <= 3_600_000


@given(STATUSES, HEADERS, BODIES, PHASES)
def test_no_batch_answer_raises_and_each_order_has_one_outcome(
    status: int, headers: dict[str, str], body: bytes, phase: Phase
) -> None:
    answer = Exchange(Endpoint.POST_ORDERS, phase, status, headers, body, "broke")
    found = place_outcomes(answer, THREE)
    assert len(found) == 3
    for one, ours in zip(found, THREE, strict=True):
        if isinstance(one, Accepted):
            assert one.venue_order_id == ours
            assert ours in one.raw.lower()


@given(st.lists(RESULTS, min_size=3, max_size=3))
def test_in_a_batch_with_a_moved_result_only_those_that_name_their_order_are_believed(
    results: list[dict[str, Any]],
) -> None:
    body = json.dumps([*results[:2], taken(OURS)]).encode()
    first, second, third = place_outcomes(
        Exchange(Endpoint.POST_ORDERS, Phase.DONE, 200, {}, body), THREE
    )
    assert isinstance(third, Unknown)
    for one, ours in ((first, OURS), (second, SECOND)):
        assert isinstance(one, Unknown) or ours in one.raw.lower()


@given(st.integers(0, 2**32), st.integers(1, 8))
@example(0, 1)
def test_no_mutation_of_an_accepted_answer_is_ever_a_refusal(seed: int, times: int) -> None:
    """Bytes flipped, lost, doubled or cut: the order may be live, so nothing may end it."""
    rng = random.Random(seed)
    body = bytearray(json.dumps(taken(status=rng.choice(["live", "matched", "delayed"]))).encode())
    for _ in range(times):
        at = rng.randrange(len(body) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(body):
            body[at] = rng.randrange(256)
        elif kind == 1:
            del body[at : at + rng.randrange(1, 12)]
        elif kind == 2:
            body[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6)))
        else:
            del body[at:]
    (found,) = place_outcomes(posted(200, bytes(body)), [OURS])
    assert isinstance(found, Accepted | Unknown)


@given(
    st.sampled_from(["success", "errorMsg", "orderID", "status", "error", "code"]),
    LEAVES,
    st.sampled_from(["live", "matched", "delayed"]),
)
def test_no_changed_field_of_an_accepted_answer_makes_a_refusal(
    field: str, value: object, status: str
) -> None:
    (found,) = place_outcomes(posted(200, taken(status=status) | {field: value}), [OURS])
    assert isinstance(found, Accepted | Seen | Unknown)


@given(st.sampled_from(RULES), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_text_around_a_refusal_never_makes_it_another_refusal(
    rule: Any, before: str, behind: str
) -> None:
    for text in rule.texts:
        found = rule_for(400, f"{before} {text} {behind}")
        assert found is None or found.verdict is not Verdict.NOT_PLACED or found is rule
        if found is not None and found.verdict is Verdict.REJECTED:
            assert found is rule


@given(st.sampled_from(DELETES), STATUSES, HEADERS, BODIES, PHASES)
def test_no_answer_to_a_cancel_raises_or_cancels_what_it_does_not_list(
    endpoint: Endpoint, status: int, headers: dict[str, str], body: bytes, phase: Phase
) -> None:
    answer = Exchange(endpoint, phase, status, headers, body, "broke")
    found = cancel_outcomes(answer, THREE)
    assert len(found) == 3
    for one, ours in zip(found, THREE, strict=True):
        if isinstance(one, CancelAccepted):
            assert (status, phase) == (200, Phase.DONE)
            assert ours in [str(listed).lower() for listed in json.loads(body)["canceled"]]


@given(st.sampled_from(list(Endpoint)), STATUSES, HEADERS, BODIES, PHASES)
def test_no_answer_keeps_modes_and_budget_from_being_read(
    endpoint: Endpoint, status: int, headers: dict[str, str], body: bytes, phase: Phase
) -> None:
    answer = Exchange(endpoint, phase, status, headers, body, "broke")
    sign = mode_of(answer)
    budget_of(answer)
    if sign is not None:
        assert phase in (Phase.DONE, Phase.READING)
        assert sign.for_ms is None or 0 <= sign.for_ms <= 3_600_000


@given(st.lists(st.sampled_from(["ok", "known", "new", "null"]), min_size=1, max_size=15))
def test_a_batch_says_of_each_order_what_it_would_say_alone(kinds: list[str]) -> None:
    ids = [f"0x{place:064x}" for place in range(len(kinds))]
    results: list[Any] = [
        {
            "ok": taken(one),
            "known": failed("invalid signature"),
            "new": failed("never heard of"),
            "null": None,
        }[kind]
        for kind, one in zip(kinds, ids, strict=True)
    ]
    together = place_outcomes(batched(results), ids)
    for one, result, found in zip(ids, results, together, strict=True):
        (alone,) = place_outcomes(posted(200, json.dumps(result)), [one])
        assert alone == found
