"""The fuzzer finds what is planted: for each oracle a fault that it must see."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.clock import SystemClock
from app.errors import BadInput, Code
from app.markets.books.desk import Desk
from app.venue.interface import Absent, Accepted, CancelAccepted, Found, Rejected, Unknown
from app.venue.polymarket import answers, venue
from app.venue.polymarket.answers import Page
from app.venue.polymarket.transport import Transport
from app.venue.polymarket.wire import Exchange, Phase
from proof.fuzzing import part, targets
from proof.fuzzing.bending import Pairs, Raw, bent, encoded, write
from proof.fuzzing.engine import Tally, drive
from proof.fuzzing.model import (
    STREAM,
    Check,
    Random,
    Surroundings,
    Target,
    first_of,
    rng_of,
    steady,
)
from proof.fuzzing.processes import Crew, Order
from proof.fuzzing.targets import settings as setting_targets
from proof.parts import Request

MOST = 3_000
WITHOUT_DATABASE = sorted(one.name for one in targets.ALL.values() if not one.needs_database)


def fuzzed(name: str, folder: Path, most: int = MOST, until: str = "") -> Tally:
    """Inputs of a target from its first on, at most so many, or until one broke something of a kind."""
    many = min(50, most)
    target = targets.ALL[name]
    tally = Tally()
    with ExitStack() as stack:
        check = stack.enter_context(target.opened(Surroundings(folder)))
        for start in range(first_of(1), first_of(1) + most, many):
            tally.add(drive(target, check, iter(range(start, start + many)), lambda _: True))
            if until and tally.kinds[until]:
                break
    return tally


def is_found(name: str, folder: Path, kind: str, words: str = "", most: int = MOST) -> None:
    """The planted fault is seen, as what it is."""
    tally = fuzzed(name, folder, most, "" if words else kind)
    seen = [one.what for one in tally.findings.values() if one.kind == kind and words in one.what]
    assert seen, (tally.inputs, tally.kinds, [one.what[:200] for one in tally.findings.values()])


# --- that it runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITHOUT_DATABASE)
def test_each_target_meets_good_and_bad_inputs(name: str, tmp_path: Path) -> None:
    most = {"command-parser": 10, "wire": 50, "environment": 50, "market-stream": 50}.get(name, 150)
    tally = fuzzed(name, tmp_path, most)
    assert tally.inputs == most
    assert len(tally.outcomes) > 1, tally.outcomes
    assert not tally.kinds["hang"]


def test_a_number_is_one_input_and_a_seed_is_a_stream_of_them() -> None:
    made = [targets.ALL["place-one"].make(rng_of("place-one", first_of(7) + 3)) for _ in range(2)]
    assert made[0] == made[1]
    assert first_of(7) == 7 * STREAM
    assert first_of(7 * STREAM + 3) == 7 * STREAM + 3


def test_a_run_counts_what_it_did_and_one_input_can_be_run_again(tmp_path: Path) -> None:
    said: list[str] = []
    request = Request(3, 3.0, True, tmp_path, processes=2, only="read-tier", report=said.append)
    share = part.run(request)
    assert share.figures["inputs"] > 10
    assert share.figures["inputs"] >= share.figures["distinct_inputs"] > 5
    assert share.figures["misreadings"] == share.figures["crashes"] == 0
    assert [row["target"] for row in share.table] == ["read-tier"]
    again = part.run(replace(request, seed=3 * STREAM + 5))
    assert again.figures["inputs"] == 1
    assert any(f"input {3 * STREAM + 5}:" in line for line in said)


def test_documents_can_be_written_wrongly() -> None:
    assert write(Pairs([("a", 1), ("a", Raw("1e400"))])) == '{"a":1,"a":1e400}'
    seen = {encoded(rng, bent(rng, {"a": "1", "b": [1]}, 2)) for rng in map(Random, range(300))}
    assert len(seen) > 200


# --- what a process can do ------------------------------------------------------------------------


def planted(monkeypatch: pytest.MonkeyPatch, check: Check, bound_s: float = 5.0) -> str:
    target = Target("planted", lambda rng: rng.random(), steady(check), bound_s=bound_s)
    monkeypatch.setitem(targets.ALL, "planted", target)
    return "planted"


def test_an_input_that_never_ends_is_a_hang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def check(_: Any) -> str:
        for _ in itertools.count():
            pass
        raise AssertionError

    name = planted(monkeypatch, check, bound_s=0.01)
    assert fuzzed(name, tmp_path, 50).kinds["hang"] == 50


def kill_oneself(_: Any) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def freeze(_: Any) -> str:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    signal.sigwait({signal.SIGUSR2})
    return "awake"


@pytest.mark.parametrize(("check", "kind"), [(kill_oneself, "crash"), (freeze, "hang")])
def test_an_input_that_takes_its_process_along_is_found_and_the_other_targets_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, check: Check, kind: str
) -> None:
    name = planted(monkeypatch, check)
    ends_ns = SystemClock().monotonic_ns() + 4_000_000_000
    order = Order((name, "read-time"), first_of(2), 1, 0, ends_ns, tmp_path)
    tallies = Crew(silent_s=1.5, method="fork").run([order])
    (found,) = tallies[name].findings.values()
    assert (found.kind, found.seed) == (kind, first_of(2))
    assert tallies["read-time"].inputs > 0


# --- that nothing is misread ----------------------------------------------------------------------


def test_an_error_that_escapes_is_a_crash_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = answers.frame_events

    def broken(frame: str, ours: Any) -> Any:
        if "UPDATE" in frame:
            raise KeyError("planted")
        return true(frame, ours)

    monkeypatch.setattr(answers, "frame_events", broken)
    is_found("user-frame", tmp_path, "crash", "KeyError", most=200)


def _each(of: Callable[[Exchange, str], Any]) -> Callable[..., Any]:
    return lambda exchange, ids: [of(exchange, one) for one in ids]


def test_an_acceptance_without_its_words_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HTTP 200 and success, as more than one client takes it."""
    true = answers.place_outcomes

    def eager(exchange: Exchange, ids: Any) -> Any:
        if exchange.status == 200 and b'"success":true' in exchange.body:
            return [Accepted(one, "live", "") for one in ids]
        return true(exchange, ids)

    monkeypatch.setattr(answers, "place_outcomes", eager)
    is_found("place-one", tmp_path, "misread", "accepted, and the answer does not say so")
    is_found("place-batch", tmp_path, "misread", "accepted, and the answer does not say so")


def test_an_acceptance_that_is_overlooked_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(answers, "place_outcomes", _each(lambda _, __: Unknown("NEVER", "")))
    is_found("place-one", tmp_path, "misread", "was not taken for one")


def test_a_refusal_that_none_is_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    true = answers.place_outcomes

    def harsh(exchange: Exchange, ids: Any) -> Any:
        if exchange.phase is Phase.DONE and exchange.status == 400:
            return [Rejected("ANY", "") for _ in ids]
        return true(exchange, ids)

    monkeypatch.setattr(answers, "place_outcomes", harsh)
    is_found("place-one", tmp_path, "misread", "refused for good")


def test_a_cancel_that_is_not_in_the_list_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(answers, "cancel_outcomes", _each(lambda _, __: CancelAccepted("")))
    is_found("cancel", tmp_path, "misread", "no list says so")


def test_absence_by_any_but_a_clean_answer_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = answers.read_order

    def absent(exchange: Exchange, *rest: Any) -> Any:
        return Absent("") if exchange.status == 404 else true(exchange, *rest)

    monkeypatch.setattr(answers, "read_order", absent)
    is_found("read-order", tmp_path, "misread", "absent")


def test_absence_by_one_look_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def once(self: Any, account: str, venue_order_id: str, **_: Any) -> Any:
        wallet = self._wallets[account]
        exchange = await self._read(wallet, answers_endpoint(), wallet.identity, path="/x")
        return answers.read_order(exchange, venue_order_id)

    monkeypatch.setattr(venue.PolymarketVenue, "order", once)
    is_found("venue", tmp_path, "misread", "absent after one look")


def answers_endpoint() -> Any:
    from app.venue.polymarket.wire import Endpoint

    return Endpoint.GET_ORDER


def test_a_list_that_is_believed_before_its_end_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = answers.read_orders_page

    def short(exchange: Exchange, *rest: Any) -> Any:
        page = true(exchange, *rest)
        return Page(page.rows, None) if isinstance(page, Page) else page

    monkeypatch.setattr(answers, "read_orders_page", short)
    monkeypatch.setattr(venue, "read_orders_page", short)
    is_found("read-orders", tmp_path, "misread", "the list ends with", most=600)
    is_found("venue", tmp_path, "misread", "a list was believed before its end", most=600)


def test_a_row_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    true = answers.read_orders_page

    def lossy(exchange: Exchange, *rest: Any) -> Any:
        page = true(exchange, *rest)
        return Page(page.rows[1:], page.next_cursor) if isinstance(page, Page) else page

    monkeypatch.setattr(answers, "read_orders_page", lossy)
    is_found("read-orders", tmp_path, "misread", "rows were read of another number", most=600)


def test_a_number_that_went_through_a_float_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = answers.read_order

    def rounded(exchange: Exchange, *rest: Any) -> Any:
        answer = true(exchange, *rest)
        if isinstance(answer, Found):
            size = answer.value.order.original_size_micros
            order = replace(answer.value.order, original_size_micros=size // 10 * 10)
            return Found(replace(answer.value, order=order))
        return answer

    monkeypatch.setattr(answers, "read_order", rounded)
    is_found("read-order", tmp_path, "misread", "original size is")


def test_a_fill_with_the_takers_values_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = answers.own_fills

    def of_taker(row: Any, ours: Any) -> Any:
        price = row.fields.price_micros("price") if row.makers else 0
        return {
            k: replace(v, price_micros=price) if v.is_maker else v
            for k, v in true(row, ours).items()
        }

    monkeypatch.setattr(answers, "own_fills", of_taker)
    is_found("read-trades", tmp_path, "misread", "price of a maker's fill", most=600)


# --- streams --------------------------------------------------------------------------------------


def test_a_reader_that_stops_behind_a_bad_frame_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = answers.frame_events
    broken: list[bool] = []

    def deaf(frame: str, ours: Any) -> Any:
        events = true(frame, ours)
        broken[:] = broken or [True for one in events if hasattr(one, "reason")]
        return [] if broken else events

    monkeypatch.setattr(venue, "frame_events", deaf)
    is_found("user-stream", tmp_path, "stuck", most=100)


def test_a_desk_that_stops_behind_an_unreadable_message_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true = Desk.take

    def once(self: Desk, connection: int, text: str) -> None:
        if not self.counters.unreadable:
            true(self, connection, text)

    monkeypatch.setattr(Desk, "take", once)
    is_found("market-frame", tmp_path, "stuck", most=300)


# --- secrets, sockets -----------------------------------------------------------------------------


def test_a_refusal_that_shows_a_secret_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tells() -> Any:
        shown = [
            v
            for k, v in os.environ.items()
            if k.startswith("LEDGER_") and setting_targets.CANARY in v
        ]
        raise BadInput(Code.BAD_SETTING, f"wrong: {shown}")

    monkeypatch.setattr(setting_targets, "load_settings", tells)
    is_found("environment", tmp_path, "secret", most=200)


def test_an_address_that_is_shown_with_its_password_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setting_targets, "masked", lambda text: text)
    is_found("database-address", tmp_path, "secret", "the refusal of an address", most=300)


@contextmanager
def bent_transport(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Exchange], Exchange]
) -> Iterator[None]:
    true = Transport._exchange

    async def exchanged(self: Transport, *rest: Any) -> Exchange:
        return change(await true(self, *rest))

    with monkeypatch.context() as patch:
        patch.setattr(Transport, "_exchange", exchanged)
        yield


def test_a_cut_answer_that_is_taken_for_whole_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hopeful(one: Exchange) -> Exchange:
        return replace(one, phase=Phase.DONE) if one.phase is Phase.READING else one

    with bent_transport(monkeypatch, hopeful):
        is_found("wire", tmp_path, "misread", "cut was taken for whole", most=100)


def test_a_message_of_the_transport_with_a_secret_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from proof.fuzzing.targets.wire import PASSPHRASE

    def chatty(one: Exchange) -> Exchange:
        return replace(one, problem=f"sent {PASSPHRASE}") if one.problem else one

    with bent_transport(monkeypatch, chatty):
        is_found("wire", tmp_path, "secret", most=100)
