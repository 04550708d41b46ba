"""What is decided from answers and comparisons, without a database: each guard of it is missed here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.errors import Code, Refused
from app.gateway.evaluation import Evaluation
from app.gateway.gateway import Gateway
from app.gateway.mutex import Lease
from app.ledger.answers import Refusal, admission_of
from app.ledger.intents import Intent
from app.reconcile.compare import DriftClass, Ours, Theirs, compare_orders


def test_a_strangers_order_halts() -> None:
    plan = compare_orders([], [Theirs("0x1", 0)])
    [found] = plan.differences
    assert (found.kind, found.drift_class) == ("order_not_ours", DriftClass.HALT)
    assert (plan.observe, plan.look_up) == (("0x1",), ())


def test_what_matched_further_there_is_news_and_what_matched_less_is_none() -> None:
    ours = [Ours(1, "0x1", "LIVE", 5), Ours(2, "0x2", "LIVE", 5), Ours(3, "0x3", "LIVE", 5)]
    plan = compare_orders(ours, [Theirs("0x1", 6), Theirs("0x2", 5), Theirs("0x3", 4)])
    assert plan.observe == ("0x1",)
    assert [(one.kind, one.ours, one.theirs) for one in plan.differences] == [
        ("matched_behind", "5", "6")
    ]


def test_a_key_of_a_replacement_admits_no_order() -> None:
    answer = {"item": 0, "status": "asked", "replay": True, "replacement_id": 4}
    found = admission_of(answer)
    assert isinstance(found, Refusal)
    assert found.code is Code.KEY_REUSED


class Untouched:
    """Fails whoever asks it for anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


@pytest.mark.parametrize("deed", ["place", "cancel", "replace", "want"])
async def test_nothing_is_asked_for_in_an_evaluation_whose_hold_ended(deed: str) -> None:
    gateway = SimpleNamespace(
        mutexes=SimpleNamespace(is_lost=lambda _lease: True), ledger=Untouched()
    )
    lease = SimpleNamespace(market="m1", term=3, again=False)
    evaluation = Evaluation(cast(Gateway, gateway), cast(Lease, lease))
    intent = Intent(
        market="m1", outcome="Up", side="BUY", size_micros=1, price_micros=1, key="a key"
    )
    deeds: dict[str, Callable[[], Awaitable[object]]] = {
        "place": lambda: evaluation.place_order_with_guards(intent),
        "cancel": lambda: evaluation.cancel_order(1),
        "replace": lambda: evaluation.replace_order(1, intent),
        "want": lambda: evaluation.set_desired_orders([], tick_micros=10_000, revision="r"),
    }
    with pytest.raises(Refused) as refused:
        await deeds[deed]()
    assert refused.value.code is Code.MUTEX_LOST
