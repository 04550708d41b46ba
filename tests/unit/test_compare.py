"""The comparison of two views: what is acted on, what is told, and that repeating it tells nothing new."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.reconcile.compare import (
    AT_VENUE,
    OurFill,
    Ours,
    Theirs,
    TheirTrade,
    compare_orders,
    compare_trades,
    confirmed_by_both,
)

IDS = st.sampled_from([f"0x{n}" for n in range(8)])
STATES = st.sampled_from(
    [
        "SENDING",
        "UNKNOWN",
        "DELAYED",
        "LIVE",
        "FILLED",
        "CANCELLED",
        "EXPIRED",
        "NOT_PLACED",
        "REJECTED",
    ]
)
MATCHED = st.integers(0, 3)
OURS = st.builds(Ours, st.integers(1, 99), IDS, STATES, MATCHED)
THEIRS = st.builds(Theirs, IDS, MATCHED)
SETTLEMENTS = st.sampled_from(["provisional", "confirmed", "failed"])
FEES = st.integers(0, 3)
FILLS = st.builds(
    OurFill, st.sampled_from(["a", "b", "c"]), IDS, SETTLEMENTS, FEES, st.booleans(), st.booleans()
)
TRADES = st.builds(TheirTrade, st.sampled_from(["a", "b", "c"]), IDS, SETTLEMENTS, FEES)


def by_id(one: Ours | Theirs) -> str:
    return one.venue_order_id


def by_part(one: OurFill | TheirTrade) -> tuple[str, str]:
    return (one.trade_id, one.venue_order_id)


ours_lists = st.lists(OURS, unique_by=by_id)
theirs_lists = st.lists(THEIRS, unique_by=by_id)
fill_lists = st.lists(FILLS, unique_by=by_part)
trade_lists = st.lists(TRADES, unique_by=by_part)


@given(ours_lists, theirs_lists, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(ours, theirs, random) -> None:  # type: ignore[no-untyped-def]
    plan = compare_orders(ours, theirs)
    random.shuffle(ours)
    random.shuffle(theirs)
    assert compare_orders(ours, theirs) == plan


@given(ours_lists, theirs_lists)
def test_every_difference_is_acted_on_and_only_differences_are(
    ours: list[Ours], theirs: list[Theirs]
) -> None:
    plan = compare_orders(ours, theirs)
    acted = {*plan.observe, *plan.look_up}
    assert acted == {one.subject for one in plan.differences}
    assert len(plan.observe) + len(plan.look_up) == len(acted), "each id once"


@given(ours_lists, theirs_lists)
def test_an_unknown_order_of_theirs_is_always_told(ours: list[Ours], theirs: list[Theirs]) -> None:
    known = {one.venue_order_id for one in ours}
    told = {
        one.subject
        for one in compare_orders(ours, theirs).differences
        if one.kind == "order_not_ours"
    }
    assert told == {one.venue_order_id for one in theirs} - known


@given(ours_lists, theirs_lists)
def test_an_order_that_we_hold_live_and_they_do_not_list_is_looked_up_never_concluded(
    ours: list[Ours], theirs: list[Theirs]
) -> None:
    plan = compare_orders(ours, theirs)
    listed = {one.venue_order_id for one in theirs}
    unlisted = {
        one.venue_order_id
        for one in ours
        if one.state in AT_VENUE and one.venue_order_id not in listed
    }
    assert unlisted <= set(plan.look_up)
    assert not unlisted & set(plan.observe)


@given(ours_lists, theirs_lists)
def test_an_order_whose_fate_is_open_and_not_listed_is_left_to_the_look_ups(
    ours: list[Ours], theirs: list[Theirs]
) -> None:
    """Absence from the list proves nothing, and an unsent or unknown order is nobody's drift."""
    plan = compare_orders(ours, theirs)
    listed = {one.venue_order_id for one in theirs}
    for one in ours:
        if one.state not in AT_VENUE and one.venue_order_id not in listed:
            assert one.venue_order_id not in {*plan.observe, *plan.look_up}


@given(ours_lists, theirs_lists)
def test_when_what_the_venue_knows_is_booked_nothing_differs(
    ours: list[Ours], theirs: list[Theirs]
) -> None:
    """All listed orders live with their matched size, all others ended: that is agreement."""
    seen = {one.venue_order_id: one for one in theirs}
    booked = [
        replace(
            one,
            state="LIVE" if one.venue_order_id in seen else "CANCELLED",
            matched_micros=max(
                one.matched_micros,
                seen[one.venue_order_id].matched_micros if one.venue_order_id in seen else 0,
            ),
        )
        for one in ours
    ]
    booked += [
        Ours(99, one.venue_order_id, "LIVE", one.matched_micros)
        for one in theirs
        if one.venue_order_id not in {mine.venue_order_id for mine in ours}
    ]
    assert compare_orders(booked, theirs).differences == ()


@given(theirs_lists, MATCHED)
def test_a_list_that_is_behind_our_matched_size_is_no_news(
    theirs: list[Theirs], ahead: int
) -> None:
    ours = [Ours(1, one.venue_order_id, "LIVE", one.matched_micros + ahead) for one in theirs]
    assert compare_orders(ours, theirs).differences == ()


def heard(our: OurFill | None, their: TheirTrade) -> OurFill:
    """What the ledger holds after it has booked what the venue says: confirmed stays confirmed, and of the
    fee what a confirmation says counts, of two the higher one.
    """
    if our is None:
        final = their.settlement == "confirmed" and their.fee_micros > 0
        return OurFill(*by_part(their), their.settlement, their.fee_micros, final)
    pair = {our.settlement, their.settlement}
    rank = {"provisional": 0, "failed": 1, "confirmed": 2}
    now = replace(
        our,
        settlement=max(our.settlement, their.settlement, key=lambda one: rank[one]),
        contradicted=our.contradicted or pair == {"confirmed", "failed"},
    )
    if their.settlement == "confirmed" and their.fee_micros:
        fee = max(our.fee_micros if our.fee_is_final else 0, their.fee_micros)
        now = replace(now, fee_micros=fee, fee_is_final=True)
    return now


@given(fill_lists, trade_lists)
def test_trades_are_booked_where_they_are_news_and_nowhere_else(
    fills: list[OurFill], trades: list[TheirTrade]
) -> None:
    mine = {by_part(one): one for one in fills}
    plan = compare_trades(fills, trades)
    news = {
        by_part(one)
        for one in trades
        if heard(mine.get(by_part(one)), one) != mine.get(by_part(one))
    }
    # a fee that is confirmed as it was said before is no news to anybody
    silent = {
        by_part(one)
        for one in trades
        if (our := mine.get(by_part(one)))
        and replace(heard(our, one), fee_is_final=our.fee_is_final) == our
    }
    assert set(plan.book) == news - silent
    assert len(plan.book) == len(set(plan.book)) <= len(plan.differences)


@given(fill_lists, trade_lists)
def test_when_the_news_is_booked_only_contradictions_are_told(
    fills: list[OurFill], trades: list[TheirTrade]
) -> None:
    theirs = {by_part(one): one for one in trades}
    booked = {by_part(one): one for one in fills}
    for key in compare_trades(fills, trades).book:
        booked[key] = heard(booked.get(key), theirs[key])
    plan = compare_trades(booked.values(), trades)
    assert plan.book == ()
    assert {one.kind for one in plan.differences} <= {"settlement_contradicted", "fee_contradicted"}


def kinds(our: OurFill, their: TheirTrade) -> list[tuple[str, str, str, bool]]:
    plan = compare_trades([our], [their])
    return [(one.kind, one.ours, one.theirs, bool(plan.book)) for one in plan.differences]


def test_a_final_trade_that_ended_the_other_way_at_the_venue_is_a_difference_of_its_own() -> None:
    ours, theirs = OurFill("t", "0x1", "confirmed"), TheirTrade("t", "0x1", "failed")
    kind = "settlement_contradicted"
    assert kinds(ours, theirs) == [(kind, "confirmed", "failed", True)]
    assert kinds(replace(ours, contradicted=True), theirs) == [(kind, "confirmed", "failed", False)]
    ours, theirs = OurFill("t", "0x1", "failed"), TheirTrade("t", "0x1", "confirmed")
    assert kinds(ours, theirs) == [(kind, "failed", "confirmed", True)]


def test_a_fee_that_is_said_with_the_confirmation_only_is_news() -> None:
    ours = OurFill("t", "0x1", "confirmed", 0)
    assert kinds(ours, TheirTrade("t", "0x1", "confirmed", 0)) == []
    assert kinds(ours, TheirTrade("t", "0x1", "confirmed", 7)) == [("fee_behind", "0", "7", True)]
    ours = OurFill("t", "0x1", "confirmed", 7, fee_is_final=True)
    assert kinds(ours, TheirTrade("t", "0x1", "confirmed", 0)) == []
    assert kinds(ours, TheirTrade("t", "0x1", "confirmed", 8)) == [("fee_behind", "7", "8", True)]
    assert kinds(ours, TheirTrade("t", "0x1", "confirmed", 6)) == [
        ("fee_contradicted", "7", "6", False)
    ]


@given(ours_lists, theirs_lists, theirs_lists)
def test_only_what_stood_twice_is_confirmed(
    ours: list[Ours], first: list[Theirs], second: list[Theirs]
) -> None:
    one, two = (compare_orders(ours, theirs).differences for theirs in (first, second))
    both = confirmed_by_both(one, two)
    assert set(both) <= set(one)
    assert {(d.kind, d.subject) for d in both} == {(d.kind, d.subject) for d in one} & {
        (d.kind, d.subject) for d in two
    }
    assert confirmed_by_both(one, one) == one
