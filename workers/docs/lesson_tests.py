"""Which named test shows which lesson. The names are checked against ``tests/`` whenever the page is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Lesson:
    """One fault, what happens here instead, and the tests that show it."""

    number: int
    subject: str
    fault: str
    here: str
    tests: tuple[str, ...] = ()
    open: str = "Open"


_SENDING: Final = "Sending"
_LOOKING: Final = "Looking up"
_FILLS: Final = "Fills"
_CANCELLING: Final = "Cancelling"
_STARTING: Final = "Starting"
_DATABASE: Final = "Database"
_LIMITS: Final = "Markets and limits"

LESSONS: Final = (
    Lesson(
        1,
        _SENDING,
        "A timeout was taken for a failure; three tries, three fills.",
        "Only the same bytes go again; nothing is signed anew while the fate is open.",
        (
            "test_an_unknown_order_is_sent_again_only_as_the_same_bytes",
            "test_a_lost_answer_ends_in_the_order_that_the_venue_has",
            "test_what_a_look_up_misses_is_sent_again_with_the_same_bytes",
        ),
    ),
    Lesson(
        2,
        _SENDING,
        '"It never arrived"; 40 s later a confirmation came.',
        "No class of error is believed; absence waits for a quarantine.",
        (
            "test_absence_is_not_concluded_within_the_quarantine",
            "test_a_refused_resend_proves_nothing_about_the_first_copy",
            "test_a_cancel_of_an_order_in_flight_is_repeated_until_its_fate_is_known",
            "test_an_order_may_appear_late_and_only_once",
        ),
    ),
    Lesson(
        3,
        _SENDING,
        "A lease ran out; the next worker signed anew.",
        "A takeover makes the same bytes; the zombie's completion is refused.",
        (
            "test_a_takeover_signs_with_the_same_salt_and_time",
            "test_a_takeover_sends_the_same_bytes_and_the_venue_calls_them_duplicated",
            "test_a_zombies_late_answer_is_refused_and_kept_as_evidence",
        ),
    ),
    Lesson(
        4,
        _SENDING,
        'A retry was still scheduled after the stream had said "accepted".',
        "Evidence ends pending retries and look-ups.",
        (
            "test_evidence_cancels_a_retry_that_is_still_scheduled",
            "test_evidence_cancels_the_look_up_of_an_unknown_order",
        ),
    ),
    Lesson(
        5,
        _SENDING,
        "A retry built a new random id into the body.",
        "Salt and timestamp come from the intent, once.",
        (
            "test_a_takeover_signs_with_the_same_salt_and_time",
            "test_building_twice_gives_the_same_bytes",
        ),
    ),
    Lesson(
        6,
        _SENDING,
        "A batch raised on one bad item and lost the ids of the accepted.",
        "Each item is answered.",
        (
            "test_a_batch_answers_per_item",
            "test_a_batch_keeps_accepted_and_refused_apart_in_order",
            "test_a_poisonous_request_in_a_shared_call_fails_alone",
        ),
    ),
    Lesson(
        7,
        _SENDING,
        "HTTP 200 and `success: true` with an error text.",
        "Accepted only with no error, our id and a known status.",
        (
            "test_a_200_with_success_true_and_an_error_text_is_no_acceptance",
            "test_accepted_needs_no_error_our_id_and_a_known_status",
            "test_success_with_an_error_text_is_no_acceptance_and_the_same_bytes_go_again",
        ),
    ),
    Lesson(
        8,
        _SENDING,
        "`null` in an error field raised after the order was live.",
        "What cannot be read is UNKNOWN, its raw text kept.",
        (
            "test_a_null_or_absent_error_text_does_not_undo_an_acceptance",
            "test_an_unreadable_200_is_unknown_and_kept",
            "test_no_single_answer_raises_or_is_accepted_without_every_sign",
            "test_an_acceptance_without_an_error_text_is_one",
        ),
    ),
    Lesson(
        9,
        _SENDING,
        '`delayed` was read as "nothing filled".',
        "In flight, and counted as open.",
        ("test_a_delayed_order_is_in_flight_and_counts_as_open",),
    ),
    Lesson(
        10,
        _SENDING,
        "The edge closes connections every 10,000 requests.",
        "Connections are replaced before; a lost one is UNKNOWN, then resolved.",
        (
            "test_connections_are_replaced_after_so_many_requests_while_others_are_under_way",
            "test_a_connection_that_closes_without_an_answer_may_have_carried_the_request",
            "test_orders_over_connections_that_go_away_again_and_again_are_one_each",
        ),
    ),
    Lesson(
        11,
        _SENDING,
        "Orders went out after the heartbeat had failed.",
        "Checked when sending.",
        (
            "test_nothing_is_sent_while_the_last_accepted_beat_is_too_old",
            "test_the_heartbeat_is_registered_before_the_first_order_leaves",
        ),
    ),
    Lesson(
        12,
        _SENDING,
        "Two engines were started and both traded.",
        "They share the work; nothing doubles.",
        (
            "test_two_workers_share_the_work_and_nothing_doubles",
            "test_who_lost_the_claim_can_neither_prepare_nor_open",
            "test_copies_sent_at_once_from_many_processes_make_one_order",
        ),
    ),
    Lesson(
        13,
        _SENDING,
        "Rejects hammered a venue whose counter was stuck.",
        "Rate limits and refused keys pause the account; a refusal for want of balance has what is owned compared. "
        "A pause by class of reason comes with the breakers.",
        (
            "test_a_refusal_for_want_of_balance_is_followed_by_a_look_at_the_balance",
            "test_too_many_requests_hold_placements_back_for_as_long_as_told_and_no_cancel",
            "test_a_condition_of_our_account_halts_it_and_its_cancels_leave",
        ),
    ),
    Lesson(
        14,
        _LOOKING,
        "A matched order was missing from the look-up, present in trades.",
        "Absence needs both, and age.",
        (
            "test_absence_needs_every_kind_of_evidence",
            "test_an_order_that_no_look_up_finds_is_booked_by_its_trades",
        ),
    ),
    Lesson(
        15,
        _LOOKING,
        "A failed read returned an empty list; everything was placed again.",
        "Reads are found, absent or unread.",
        (
            "test_a_look_up_that_fails_concludes_nothing",
            "test_a_worker_that_cannot_read_the_venue_is_not_ready_and_places_nothing",
            "test_a_read_that_fails_makes_it_incomplete_and_books_nothing",
            "test_a_database_that_is_gone_makes_everything_unknown",
        ),
    ),
    Lesson(
        16,
        _LOOKING,
        "A page of a listing failed or shifted.",
        "The whole read is unread.",
        (
            "test_a_page_that_cannot_be_read_makes_the_whole_list_unread",
            "test_an_item_that_a_shift_hid_is_found_by_the_second_reading",
            "test_a_list_that_never_rests_is_unread",
            "test_fills_from_while_nobody_looked_are_booked_from_pages_that_shift",
        ),
    ),
    Lesson(
        17,
        _LOOKING,
        "Recovery by look-alike attached the wrong order.",
        "By identity only.",
        (
            "test_a_twin_at_the_venue_is_never_taken_for_an_order_of_unknown_fate",
            "test_two_intents_never_share_salt_and_time",
            "test_what_no_intent_explains_halts_the_account_once",
        ),
    ),
    Lesson(
        18,
        _LOOKING,
        'A zero row of the positions API was taken for "flat".',
        "Nothing is booked from what the venue says is owned; a difference halts.",
        (
            "test_a_balance_that_cannot_be_read_is_not_zero",
            "test_balances_that_cannot_be_read_make_the_comparison_incomplete",
            "test_tokens_that_our_rows_hold_and_the_venue_does_not_halt",
        ),
    ),
    Lesson(
        19,
        _FILLS,
        "One trade id for several of our maker orders.",
        "The key is (trade, order).",
        ("test_one_trade_may_fill_several_of_our_orders",),
    ),
    Lesson(
        20,
        _FILLS,
        "A maker fill was booked with the taker's side or token.",
        "Both come from our own row.",
        ("test_side_and_token_come_from_our_own_order",),
    ),
    Lesson(
        21,
        _FILLS,
        "MATCHED counted as final; a third failed to settle.",
        "Provisional until confirmed; a failure is reversed.",
        (
            "test_a_failed_settlement_is_reversed",
            "test_bought_tokens_can_be_sold_only_once_confirmed",
        ),
    ),
    Lesson(
        22,
        _FILLS,
        "The fill in one commit, the position in the next.",
        "One function, one commit.",
        (
            "test_a_fill_stands_or_falls_with_the_position_it_makes",
            "test_a_session_killed_behind_a_fill_leaves_neither_fill_nor_position",
        ),
    ),
    Lesson(
        23,
        _FILLS,
        "A late fill of a closed order was dropped.",
        "Legal in every state.",
        (
            "test_a_fill_is_booked_in_every_state",
            "test_a_fill_after_absence_reopens_and_queues_a_cancel",
        ),
    ),
    Lesson(
        24,
        _FILLS,
        "Trades, updates and answers out of order gave a wrong remainder.",
        "Any order of arrival gives the same rows.",
        ("test_all_orders_of_arrival_give_the_same_rows",),
    ),
    Lesson(
        25,
        _FILLS,
        "An overfill by rounding stopped the system.",
        "Booked; the market is suspended; the writer lives.",
        ("test_a_fill_after_the_last_fill_is_an_overfill_that_halts",),
    ),
    Lesson(
        26,
        _FILLS,
        "Dust kept an order open for ever; a terminated partial was reported MATCHED.",
        "Ended by state with a tolerance of a hundredth of a share.",
        (
            "test_dust_does_not_keep_an_order_open",
            "test_a_terminated_partial_reported_matched_is_cancelled",
        ),
    ),
    Lesson(
        27,
        _CANCELLING,
        "A phantom cancel freed the hold while the order lived.",
        "Released on proof only.",
        ("test_a_phantom_cancel_frees_nothing", "test_the_stream_alone_ends_nothing"),
    ),
    Lesson(
        28,
        _CANCELLING,
        "Cancel-all missed an order in flight.",
        "Repeated until the fate is known.",
        (
            "test_a_cancel_of_an_order_in_flight_is_repeated_until_its_fate_is_known",
            "test_a_cancel_of_an_unknown_order_repeats_until_its_fate_is_known",
            "test_a_cancel_asked_while_sending_ends_what_is_then_held_back",
        ),
    ),
    Lesson(
        29,
        _CANCELLING,
        '"Cancelled: true" without reading the result per id.',
        "Each id is read.",
        (
            "test_each_order_of_a_cancel_request_ends_by_its_own_answer_and_its_own_read",
            "test_a_cancelled_order_is_one_that_a_read_shows_cancelled",
        ),
    ),
    Lesson(
        30,
        _CANCELLING,
        "A back-off held cancels back.",
        "Nothing of ours delays a cancel.",
        (
            "test_a_cancel_leaves_at_once",
            "test_a_cancel_leaves_at_once_under",
            "test_a_cancel_waits_neither_for_the_request_nor_for_the_read_of_another_account",
            "test_a_protective_cancel_leaves_at_once_while_the_market_is_locked",
        ),
    ),
    Lesson(
        31,
        _CANCELLING,
        "Cancelling what does not exist looped or killed the process.",
        "Ends by proof or by an operator.",
        (
            "test_an_order_is_absent_once_every_proof_is_there",
            "test_an_operator_may_end_what_evidence_cannot",
        ),
    ),
    Lesson(
        32,
        _STARTING,
        "Cancel-all failed at start; the bot went on.",
        "Not ready until a complete comparison.",
        (
            "test_a_worker_that_cannot_read_the_venue_is_not_ready_and_places_nothing",
            "test_a_look_up_that_fails_at_the_start_keeps_the_worker_from_placing",
        ),
    ),
    Lesson(
        33,
        _STARTING,
        "After SIGKILL working orders were thrown away.",
        "Nothing is deleted.",
        ("test_a_death_ends_in_one_venue_order_or_a_proven_none",),
    ),
    Lesson(
        34,
        _STARTING,
        "Starting twice gave different rows.",
        "A second start changes nothing.",
        (
            "test_a_second_start_changes_nothing",
            "test_starting_twice_leaves_the_same_rows",
        ),
    ),
    Lesson(
        35,
        _STARTING,
        "The draining process took back what the new one had queued.",
        "Incarnation ids; recovery is a sweep that repeats.",
        (
            "test_a_drained_worker_takes_nothing_back_from_its_successor",
            "test_a_lapsed_attempt_is_unknown_and_a_live_colleagues_is_left_alone",
        ),
    ),
    Lesson(
        36,
        _STARTING,
        "Fills from before the restart were forgiven a grace.",
        "No second look at a start.",
        ("test_what_was_missed_before_a_start_is_forgiven_no_second_look",),
    ),
    Lesson(
        37,
        _DATABASE,
        "One idle transaction stopped the queue.",
        "A watchdog ends who sits on a ledger lock; time-outs per role; the oldest snapshot is told.",
        (
            "test_every_role_has_its_time_outs_after_a_migration",
            "test_a_worker_logs_an_old_snapshot_once_in_a_while_and_status_shows_it",
            "test_an_idle_transaction_does_not_stop_the_queue",
            "test_the_watchdog_waits_in_no_queue_behind_the_lock_it_is_there_to_break",
            "test_a_trader_that_waits_for_a_second_session_of_its_own_is_ended",
        ),
    ),
    Lesson(
        38,
        _DATABASE,
        "A half-open LISTEN socket slept for ever.",
        "The poll is the truth; the session is asked every 5 s.",
        (
            "test_a_listening_session_whose_other_end_went_silent_is_made_anew",
            "test_a_lost_wake_up_only_delays_to_the_poll",
        ),
    ),
    Lesson(
        39,
        _DATABASE,
        "Contended writers collapsed after a minor release.",
        "A contended benchmark.",
        open="Open: comes with the benchmarks",
    ),
    Lesson(
        40,
        _DATABASE,
        "Deadlocks between writers.",
        "One order of locks.",
        (
            "test_two_batches_over_the_same_markets_in_opposite_order_do_not_deadlock",
            "test_no_functions_deadlock_and_the_sums_hold",
        ),
    ),
    Lesson(
        41,
        _DATABASE,
        "A dropped session lost its advisory lock and did not know.",
        "Leases with terms.",
        (
            "test_a_lease_has_one_holder_and_a_growing_term",
            "test_a_holder_whose_market_was_taken_over_cannot_reserve",
        ),
    ),
    Lesson(
        42,
        _DATABASE,
        "Old code on a new schema broke in a rolling deploy.",
        "What the revision before served is served; a program of another revision says so.",
        (
            "test_every_function_of_the_schema_before_is_served_by_this_one",
            "test_sessions_of_before_take_their_orders_through_the_migration",
            "test_this_release_on_the_schema_before_says_so_and_writes_nothing",
        ),
    ),
    Lesson(
        43,
        _LIMITS,
        "A stale tick was cached for ever; a fee ceiling taken for the fee.",
        "Tick from the market row at each decision; fee from the market's schedule.",
        (
            "test_tick_and_fee_are_the_market_s_at_each_decision",
            "test_a_schedule_counts_whatever_the_switch_says",
            "test_a_changed_tick_is_taken_over",
        ),
    ),
    Lesson(
        44,
        _LIMITS,
        "Millions of orders left that nobody compared with what was meant.",
        "Each venue order has one intent; the bytes are checked against it.",
        (
            "test_an_intent_becomes_one_order_with_the_stored_bytes",
            "test_the_audit_names_a_corrupted_row",
            "test_true_duplicates_are_found_in_the_venues_own_book",
        ),
    ),
    Lesson(
        45,
        _LIMITS,
        "Own resting opposite orders matched each other.",
        "A self-match check.",
        open="Open: comes with the risk layer",
    ),
    Lesson(
        46,
        _LIMITS,
        "A limit was checked before the lock.",
        "Checked under the lock.",
        (
            "test_64_callers_of_7_shares_under_a_cap_of_100_get_exactly_14_in",
            "test_64_callers_under_the_default_limiter_get_exactly_one_in",
        ),
    ),
    Lesson(
        47,
        _LIMITS,
        "A kill switch was cleared by the next start.",
        "Durable and versioned; a person ends it.",
        (
            "test_no_start_and_no_stop_ends_a_halt",
            "test_a_halt_survives_every_session",
            "test_resume_is_refused_while_a_newer_halt_stands",
        ),
    ),
)
