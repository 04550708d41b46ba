"""What the events of logs mean. Names come from the code; reason codes and the journal have words of their own."""

from __future__ import annotations

from typing import Final

from workers.docs.words_risk import RISK_JOURNAL

LOGS: Final[dict[str, str]] = {
    "ACCOUNT_READY": "The start comparison was complete; placements of this account begin.",
    "ATTEMPT_DROPPED": (
        "More than 2 s passed between the attempt's commit and the send, or the intent ran out "
        "meanwhile: nothing was sent. The machine or the database was paused."
    ),
    "BEATING_ALONE": (
        "The database cannot say whose turn it is; the heartbeat goes on for a minute, so that "
        "its outage does not cancel the orders."
    ),
    "BEAT_NOT_TOLD": (
        "A beat was sent and the database did not take its result. Placements wait where it lasts."
    ),
    "BOOKS_NOT_STORED": "The ledger refused a round of books. Limits on prices go by the last ones.",
    "BOOK_FEED": (
        "What the feed of order books went through: `what` names it. Placing does not rest on it."
    ),
    "BOOK_FEED_FAILED": (
        "The feed of order books ended by an error of its own; a new one starts. Orders go on."
    ),
    "BURST_BLOCKED": "The limiter refused; nothing was reserved or placed. `reason` is the code.",
    "CANCELS_SWEPT": "Cancels asked for because a halt or a suspension stands.",
    "CANCEL_ANSWERED": (
        "What the venue said to a cancel. Not yet a cancel: the read that follows decides."
    ),
    "CANCEL_ESCALATED": (
        "Cancels by id came to nothing again and again: the whole market, or everything, is "
        "cancelled."
    ),
    "CANCEL_NOT_RECORDED": (
        "The answer to a cancel could not be recorded; the cancel stays due and is sent again."
    ),
    "CATCH_UP_INCOMPLETE": (
        "The comparison behind a new stream connection could not be completed and is repeated; "
        "nothing is placed meanwhile."
    ),
    "CLAIMS_TAKEN_BACK": "A worker died before it sent these; they are ready again.",
    "CLOB_MARKETS_UNREAD": (
        "The CLOB's own objects of some markets could not be read. Those markets are not traded."
    ),
    "CLOCK_STEPPED_BACK": (
        "The database's clock went on by `lost_ms` less than this worker's: it was set back, "
        "or stood still. What was reserved before is not sent any more. See to that machine's "
        "clock."
    ),
    "DATABASE_PROBLEM": (
        "A pass failed on the database and is repeated with growing pauses. Nothing is sent "
        "meanwhile."
    ),
    "EVENT_NOT_APPLIED": (
        "A stored venue event cannot be booked. It stays stored; see `dead-letters`."
    ),
    "EVENT_UNREADABLE": "A stored venue event cannot be read. It stays stored; see `dead-letters`.",
    "EXCHANGES_LOST": (
        "More requests and answers waited for the database than are kept; the oldest were "
        "dropped. Outcomes are not among them."
    ),
    "EXCHANGES_NOT_WRITTEN": (
        "The last requests and answers could not be written before the process ended. Outcomes "
        "are not among them."
    ),
    "FATE_UNKNOWN": (
        "The lease of a worker lapsed while it was sending. The orders stay in exposure until "
        "evidence settles them."
    ),
    "FILLS_UNCONFIRMED": (
        "Fills are not settled for longer than LEDGER_UNCONFIRMED_ALARM_S; markets of older ones are halted."
    ),
    "FOREIGN_ORDERS_CANCELLED": (
        "By LEDGER_FOREIGN_ORDERS=cancel the venue was asked to end orders that no intent explains; "
        "`outcomes` counts its answers. The account stays halted."
    ),
    "HEARTBEAT_MISSED": (
        "The venue did not take a beat. After 7 s nothing is placed; after 10 s the venue "
        "cancels everything."
    ),
    "HEARTBEAT_TAKEN": (
        "This worker keeps the heartbeat from now on, in the chain of the one before."
    ),
    "IDLE_TRANSACTIONS_ENDED": (
        "Sessions of bots or people sat in an open transaction for a minute and were ended."
    ),
    "INTENTS_EXPIRED": (
        "Intents whose time ran out before anything was sent. Often: too few workers, or a "
        "blocked lane."
    ),
    "INTENT_NOT_SIGNABLE": (
        "The intent cannot be written as an order of the venue, and never can be: it was released."
    ),
    "INVARIANT_BREACH_HALT": (
        "The sweep found markets over a cap or below zero and suspended them; everything there "
        "is being cancelled. Look at once: `status`, `audit.cap_breaches`."
    ),
    "LOCK_HOLDERS_ENDED": (
        "A session sat in an idle transaction on a ledger lock for more than 500 ms and was "
        "ended. Find the client that does it."
    ),
    "LOOK_UP_FAILED": "The venue could not be read, so nothing was concluded. Repeated.",
    "LANES_REGROUPED": "A market was imported into another group; what is at risk in it went along.",
    "LOSS_HALT": (
        "The daily or rolling loss of an account, or of all together (scope global), is over its limit; it is halted "
        "until a person resumes, and everything there is being cancelled. Look at `audit.losses` and `audit.pnl`."
    ),
    "MARKETS_NOT_LISTED": "Markets that are stored were not in a complete listing any more.",
    "MARKETS_NOT_STORED": (
        "The ledger would not take what the venue says of markets; what is stored stays in force."
    ),
    "MARKETS_REFRESHED": "The refresher has read the markets anew.",
    "MARKET_CHANGED": "The venue changed the terms of a market; they are in force from now on.",
    "MARKET_HALTED": "A market was halted for what the venue says of it now.",
    "MARKET_LOCK_ACQUIRED": "An evaluation of the market begins.",
    "MARKET_LOCK_RELEASED": "It ended. `lost`: its lease had run out before.",
    "MARKET_LOCK_SKIPPED": (
        "The market was being evaluated; this tick was dropped (`reason=LOCKED`)."
    ),
    "MARKET_LOCK_UNRELEASED": (
        "The release could not be told to the database; the lease runs out by itself."
    ),
    "NEG_RISK_TURNED_ON": (
        "An event turned neg-risk: its markets are halted and their orders cancelled."
    ),
    "NOT_PROVEN": "Absence cannot be concluded yet; `missing` says what lacks.",
    "NOT_READY": (
        "The start comparison could not be made; nothing is placed for this account. Repeated."
    ),
    "NOT_SENT": "The attempt was not opened, so nothing was sent. `code` says why.",
    "ORDER_ANSWERED": "How an attempt ended. `outcome` is the function that recorded it.",
    "ORDER_FOUND": "An order whose fate was unknown was found at the venue.",
    "PREPARE_REFUSED": (
        "The signed bytes were not stored: the claim was not this worker's any more."
    ),
    "PROVEN_ABSENT": "Every proof is there; the order ended as NOT_PLACED.",
    "RECONCILED": "A comparison with the venue ended: clean, drift or incomplete.",
    "RECONCILE_PAUSED": (
        "A periodic comparison failed on the database; the next one is made in time."
    ),
    "RECORD_DELAYED": (
        "The outcome of a send cannot be written yet. It is repeated until it can. If the "
        "lease lapses meanwhile the order is UNKNOWN and this becomes evidence."
    ),
    "RECORD_REFUSED": "An outcome came too late to complete its attempt; it was kept as evidence.",
    "REFRESH_INCOMPLETE": (
        "Markets could not be read completely; nothing is concluded from what is missing."
    ),
    "REWARDS_STORED": "The venue paid for resting orders, or corrected what it had paid; stored.",
    "SECRETS_NOT_READ": "The keys could not be read anew. Those in hand stay in use.",
    "SECRETS_REFUSED": (
        "The keys read anew are not taken: another signing key, or no API key any more. Those "
        "in hand stay in use."
    ),
    "SECRETS_ROTATED": (
        "Another API key is used from now on. The one before is kept for orders sent under it."
    ),
    "SENDING_SAME_BYTES": "An order of unknown fate was not found; its stored bytes go again.",
    "LEFT_OVER_FAILED": "A task nobody waits for any more failed, as a driver's does behind a cut line. Harmless.",
    "SENDS_LEFT": (
        "The worker stopped while outcomes of sends could not be recorded. Their leases lapse, "
        "and whoever runs then finds out."
    ),
    "SEND_GIVEN_UP": (
        "The database failed before the attempt was opened. Nothing was sent; the claim lapses."
    ),
    "SIGNING_FAILED": (
        "An order could not be signed. The fifth failure is a dead letter and blocks the lane."
    ),
    "SNAPSHOT_HELD": (
        "A transaction, a slot or a standby has kept dead rows alive for a minute, and every queue grows "
        "slower. End it; `subject` and `application` say whose."
    ),
    "STARTED": "A worker started. It is not ready yet.",
    "STOPPED": (
        "The worker stopped in order; its leases are given back. left: what is not over for each "
        "account, kept in the worker's row as well."
    ),
    "STOPPED_WITHOUT_DATABASE": (
        "The worker stopped and could not say so to the database. As safe; its leases run out."
    ),
    "STOPPING": "A signal was received: no new work, what is in flight is recorded.",
    "STREAM_LOST": (
        "The user stream ended or carried no data; it is opened again, and compared with REST "
        "behind that."
    ),
    "STREAM_OPENED": (
        "The user stream is open. Where it replays nothing, a comparison follows before "
        "anything is placed."
    ),
    "STREAM_PAUSED": "The user stream stopped on a database problem and is taken up again.",
    "TICK_CHANGED": "The venue changed a market's tick; new orders keep to it at once.",
    "DELAYED_READ": "Orders that the venue holds back before it matches them were looked up.",
    "EXCHANGE_REFUSED": "The database refuses a record of an exchange for itself; it is left out and counted.",
    "TICK_UNUSABLE": (
        "The venue told of a tick that no table knows. The market is not tradable until one is told or read "
        "that is known."
    ),
    "VENUE_ANSWERED_BADLY": (
        "A request broke or was answered with an error. `audit.exchanges` holds what was sent "
        "and what came."
    ),
    "VENUE_MODE_BEGAN": (
        "The venue, or our account there, is in a condition in which nothing (or only post- "
        "only) is placed. Cancels go on."
    ),
    "VENUE_MODE_ENDED": (
        "That condition is over; after an episode the account is compared with the venue."
    ),
    "WAKE_LOST": "The wake-up session died. The poll finds the work.",
    "WAKE_UNAVAILABLE": "No wake-up session could be opened. The poll finds the work.",
    "TRANSFER_ANSWERED": "How a send of a withdrawal's transfer ended. What is in doubt is UNKNOWN and looked up.",
    "TRANSFER_RECORD_DELAYED": "The answer to a transfer could not be stored yet. It is repeated until it is.",
    "WITHDRAWAL_CLAIM_LEFT": "A claim could not be given back after a step that failed. It lapses within seconds.",
    "WITHDRAWAL_MOVED": "A withdrawal went a step further.",
    "WITHDRAWAL_NEEDS_PERSON": (
        "A withdrawal waits for a person, with its account paused: `withdraw show` and `withdrawals.md` say what for."
    ),
    "WITHDRAWAL_NOT_CARRIED_ON": "The database failed under a step. Its claim is given back, and it is taken again.",
    "WITHDRAWAL_STEP_FAILED": (
        "The database would not take a step, and would not the next time either. A person is called; other withdrawals "
        "and the worker go on."
    ),
    "WITHDRAWAL_STEP_REFUSED": "The ledger refused a step: the claim was lost, or it stands elsewhere by now.",
    "WRONG_KEY": (
        "The key signs for other addresses than the account's. The account is not served. See "
        "the key before anything else."
    ),
}
"""Event of a log line to what it means."""


JOURNAL: Final[dict[str, str]] = {
    "ACCOUNT_OPENED": "An account was opened, with its venue, addresses and quarantine.",
    "ATTEMPT_ENDED": "An attempt ended after other evidence had settled the order; nothing else changed.",
    "CANCEL_ANSWERED": "The venue's answer to a cancel.",
    "CANCEL_ASKED": "A cancel was asked for an order that may be at the venue.",
    "EVIDENCE": "A late answer or a sighting was stored as evidence; the row keeps its digest.",
    "FOREIGN_ORDER": (
        "The venue shows an order under our account that no intent explains. The account is halted."
    ),
    "FOREIGN_ORDER_RESOLVED": "A person said what became of an order that no intent explains.",
    "GRANTED": "A login was granted an account.",
    "ILLEGAL_TRANSITION": (
        "An event arrived in a state that does not take it; nothing else changed."
    ),
    "INVARIANT_BREACH_HALT": (
        "A cap or a position was found broken; the market is suspended in the same commit."
    ),
    "LANE_RELEASED": "An operator let a lane go on behind its blocked head.",
    "MOVEMENT": "A movement of a balance with its cause: opening, deposit, redemption, correction and so on.",
    "REFUSED_COMPLETION": (
        "The outcome of an attempt that was no longer open for that worker; kept as evidence."
    ),
    "REPLACE_ASKED": "A replacement waits for the proven end of the old order.",
    "REPLACE_ENDED": "The replacement was made or refused, in the commit of the old order's end.",
    "RESERVE": "An intent was admitted: reservation, order, key and outbox row.",
    "REVOKED": "A login may act for the account no longer; why, and who asked.",
    "SETTLEMENT_CONTRADICTED": (
        "A trade was heard to be confirmed and failed, which are both final. It stays confirmed, "
        "the market is halted, and a row of `audit.drift` tells it."
    ),
    "SIGHTED": "The venue knows the order's id, and no event follows from that; it is never absent now.",
    "WITHDRAWAL_ASKED": "A withdrawal was asked for, with its amount, destination and key.",
    "WITHDRAWAL_CONTINUED": "A person let a withdrawal that waited go on, with its time anew.",
    "WITHDRAWAL_ESCALATED": "A withdrawal took too long, or cannot go on by itself: it waits for a person.",
    "WITHDRAWAL_MOVED": "A withdrawal changed its state; the detail says on what proof, where one is needed.",
    "SIGNS_AS": "The first worker wrote the addresses its key signs as.",
    "VENUE_MODE_BEGAN": "The venue, or our account there, went into a condition that gates placements.",
    "VENUE_MODE_ENDED": "That condition was seen to be over, or its time was.",
    **RISK_JOURNAL,
}
"""Event of a journal row that is no event of the state machine to what it means."""
