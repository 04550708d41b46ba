-- purpose: who may do what. Nothing is left to PUBLIC; the trader and the auditor can write no table at all.
-- locks:   none.
-- index:   none.
-- fence:   functions are SECURITY DEFINER with a fixed search_path that ends in pg_temp.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger, audit, paper FROM PUBLIC;
REVOKE ALL ON SCHEMA ledger, audit, paper FROM PUBLIC;

GRANT USAGE ON SCHEMA ledger TO ${role_worker}, ${role_trader}, ${role_risk};
GRANT USAGE ON SCHEMA audit TO ${role_worker}, ${role_auditor}, ${role_risk};

-- A bot: reserve, ask for cancels and replacements, take the market mutex, read its own orders, halt.
GRANT EXECUTE ON FUNCTION
    ledger.reserve_pending(jsonb), ledger.release_pending(jsonb), ledger.request_cancel(jsonb),
    ledger.request_cancel_all(text, text, text), ledger.replace_order(bigint, jsonb),
    ledger.take_mutex(text, text, uuid, integer, boolean), ledger.renew_mutex(text, text, bigint, integer),
    ledger.release_mutex(text, text, bigint), ledger.get_orders(bigint[]), ledger.find_by_key(text, text),
    ledger.standing_orders(text, text, bigint), ledger.take_receipt(text, text, text), ledger.clock()
TO ${role_trader}, ${role_worker};

-- Anyone may halt; only risk clears, and the worker cannot.
GRANT EXECUTE ON FUNCTION ledger.set_halt(text, text, text, text) TO ${role_trader}, ${role_worker}, ${role_risk};
GRANT EXECUTE ON FUNCTION ledger.clear_halt(text, text, bigint, text, text), ledger.set_limit(text, text, text, text, text),
    ledger.release_lane(text, text, text, text), ledger.resolve_order(bigint, text, bigint, text, text),
    ledger.retry_dead_letter(bigint), ledger.grant_account(text, name),
    ledger.revoke_account(text, name, text, text),
    ledger.open_account(text, text, text, text, integer, bigint), ledger.book_movement(text, text, bigint, text, text, text, bigint),
    ledger.set_total_limit(text, text, text, text, text), ledger.reset_breaker(text, text, text)
TO ${role_risk};

GRANT EXECUTE ON FUNCTION
    ledger.prepare(jsonb), ledger.open_attempt(jsonb), ledger.acknowledge(jsonb), ledger.acknowledge_delayed(jsonb),
    ledger.reject(jsonb), ledger.hold_back(jsonb), ledger.mark_seen(jsonb), ledger.mark_unknown(jsonb),
    ledger.observe_orders(jsonb), ledger.record_fills(jsonb), ledger.record_evidence(jsonb), ledger.prove_absent(jsonb),
    ledger.claim_placements(uuid, text[], integer, integer), ledger.claim_look_ups(uuid, text[], integer, integer),
    ledger.claim_cancels(uuid, text[], integer), ledger.record_cancel_answers(jsonb), ledger.cancels_unseen(bigint[]), ledger.cancels_futile(bigint[]), ledger.renew_claims(uuid, integer, bigint[]),
    ledger.drop_claims(jsonb), ledger.sweep_lapsed(), ledger.sweep_expired(), ledger.sweep_cancels(), ledger.sweep_breaches(),
    ledger.fail_placement(bigint, uuid, integer, text), ledger.take_lease(text, uuid, integer), ledger.drop_leases(uuid),
    ledger.worker_started(uuid, text, text, integer), ledger.beat(uuid, integer, bigint, bigint), ledger.worker_ready(uuid, text), ledger.worker_stopped(uuid, text[]),
    ledger.end_lock_holders(integer), ledger.horizon(), ledger.end_idle_transactions(integer), ledger.make_partitions(integer), ledger.import_markets(jsonb),
    ledger.sign_as(text, text, text), ledger.open_paper_account(text, bigint, bigint), ledger.store_events(text, jsonb), ledger.mark_events(text, text[], text),
    ledger.waiting_events(text, integer, integer), ledger.move_cursor(text, text, bigint), ledger.start_run(text, text, uuid),
    ledger.end_run(bigint, text, jsonb, jsonb), ledger._halted_by(bigint, bigint)
TO ${role_worker};
GRANT EXECUTE ON FUNCTION ledger.import_markets(jsonb) TO ${role_risk};

GRANT EXECUTE ON FUNCTION
    ledger.note_mode(text, text, bigint, text), ledger.end_mode(text, text, text), ledger.end_lapsed_modes(text),
    ledger.spend(text, text, integer, integer, integer), ledger.pause_budget(text, text, bigint), ledger.owe_budget(text, text, integer),
    ledger.require_pulse(text, text, boolean, integer), ledger.take_pulse(text, text, bigint),
    ledger.beat_pulse(text, text, bigint, text, bigint, text, bigint), ledger.untold_orders(text, bigint, bigint),
    ledger.record_exchanges(jsonb), ledger.prune_exchanges(integer), ledger.record_holdings(text, bigint, jsonb),
    ledger.held_tokens(text), ledger.sweep_unconfirmed(text[], bigint, bigint), ledger.record_rewards(text, jsonb)
TO ${role_worker};
GRANT EXECUTE ON FUNCTION
    ledger.resolve_foreign(text, text, text, text, text), ledger.allocate_reward(text, text, text, bigint),
    ledger.end_mode(text, text, text)
TO ${role_risk};

GRANT EXECUTE ON FUNCTION ledger.note_books(jsonb), ledger.sweep_groups(), ledger.sweep_losses() TO ${role_worker};

-- A withdrawal is asked for and resolved by risk, and carried out by the worker, which can start none.
GRANT EXECUTE ON FUNCTION
    ledger.start_withdrawal(text, bigint, text, text, text, text, bigint, bigint), ledger.cancel_withdrawal(bigint, text, text),
    ledger.resolve_withdrawal(bigint, text, text, text)
TO ${role_risk};
GRANT EXECUTE ON FUNCTION
    ledger.claim_withdrawals(uuid, text[], integer), ledger.stop_for_withdrawal(bigint, uuid, bigint),
    ledger.drain_for_withdrawal(bigint, uuid, bigint), ledger.debit_withdrawal(bigint, uuid, bigint, jsonb),
    ledger.put_off_withdrawal(bigint, uuid, bigint, bigint), ledger.escalate_withdrawal(bigint, uuid, bigint, text),
    ledger.open_transfer(bigint, uuid, bigint, bigint, bigint),
    ledger.record_transfer(bigint, uuid, integer, text, text, text, text), ledger.lapse_transfer(bigint, uuid, bigint),
    ledger.note_transfer(bigint, uuid, bigint, text, boolean, text, text), ledger.compensate_withdrawal(bigint, uuid, bigint)
TO ${role_worker};

GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ${role_worker};
GRANT SELECT ON ALL TABLES IN SCHEMA audit TO ${role_worker}, ${role_auditor}, ${role_risk};

-- What the views and checks need: functions in a view run with the reader's rights, so their clock is granted to its
-- readers (who may not look into the schema it is in); the checks run with their owner's.
GRANT EXECUTE ON FUNCTION ledger.clock() TO ${role_auditor}, ${role_risk};
GRANT EXECUTE ON FUNCTION
    audit.as_of(timestamptz), audit.exposure_as_of(timestamptz), audit.check_list(), audit.check_scopes(),
    audit.check_market(bigint, bigint), audit.check_account(bigint), audit.check_ledger(), audit.checks(text, text)
TO ${role_worker}, ${role_auditor}, ${role_risk};
