"""Leases in SQLite: who gets which job, for how long, and what happens when the time is up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from xwhep.common.wire import Job, JobState
from xwhep.server.store.records import Attempt, Expired, LeasedJob, LeaseWish, LossRule
from xwhep.server.store.sqlite_database import Tx
from xwhep.server.store.sqlite_endings import Ending, Lost, end, release, try_again, vote
from xwhep.server.store.sqlite_rows import (
    FOREVER,
    avoid,
    inputs_decoder,
    is_current,
    job_of,
    move,
    move_all,
    row_of,
    spec_decoder,
)
from xwhep.server.transitions import Event

AT_ONCE = 500  # jobs that one tick of the clock moves


def may_lease(tx: Tx, wish: LeaseWish) -> int:
    """How many jobs the worker may have now, as far as its own standing goes."""
    standing = tx.one("worker_standing", id=wish.worker_id, now=tx.now)
    if standing is None or not standing["may_run"]:
        return 0
    return 1 if standing["on_probation"] else wish.most


def _next_rows(tx: Tx, wish: LeaseWish) -> list[sqlite3.Row]:
    most = may_lease(tx, wish)
    if not most:
        return []
    user_party = f"user:{wish.user}" if wish.user else ""
    kinds = json.dumps(wish.kinds)
    return tx.all("job_next", kinds=kinds, worker_id=wish.worker_id, user_party=user_party, now=tx.now, most=most)


def lease(tx: Tx, wish: LeaseWish) -> list[LeasedJob]:
    rows = _one_of_each_family(_next_rows(tx, wish))
    leased = [_leased(row, wish) for row in rows]
    shared = {"worker_id": wish.worker_id, "worker_name": wish.worker_name, "until": wish.until, "now": tx.now}
    fields = [{**shared, "overrun_at": tx.now + one.wall_clock_s + wish.margin_s} for one in leased]
    move_all(tx, rows, Event.LEASE, fields)
    for row in rows:
        if row["family"]:
            _lease_family(tx, row, f"user:{wish.user}" if wish.user else wish.worker_id)
    return leased


def _one_of_each_family(rows: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """Whoever has one replica of a job gets no other."""
    families = set[str]()
    chosen = []
    for row in rows:
        if row["family"] not in families:
            chosen.append(row)
        if row["family"]:
            families.add(row["family"])
    return chosen


def _leased(row: sqlite3.Row, wish: LeaseWish) -> LeasedJob:
    spec = spec_decoder.decode(row["spec"])
    return LeasedJob(
        id=row["id"],
        attempt=row["attempt"] + 1,
        until=wish.until,
        app_id=row["app_id"],
        spec=spec,
        inputs=inputs_decoder.decode(row["inputs"]),
        wall_clock_s=spec.wall_clock_s or wish.wall_clock_s,
    )


def _lease_family(tx: Tx, row: sqlite3.Row, party: str) -> None:
    """The job runs with its first replica; `party` gets no other one of it."""
    for sibling in tx.all("job_family", family=row["family"]):
        if sibling["id"] != row["id"]:
            avoid(tx, sibling["id"], party, FOREVER)
    parent = row_of(tx, row["family"])
    if parent["state"] == JobState.PENDING:
        forever = {"until": FOREVER, "overrun_at": FOREVER}
        move(tx, parent, Event.LEASE, worker_id="", worker_name="", now=tx.now, **forever)


def renew(tx: Tx, attempts: Sequence[Attempt], until: float) -> list[Attempt]:
    return [
        attempt
        for attempt in attempts
        if not tx.run("job_renew", id=attempt.job_id, attempt=attempt.number, worker_id=attempt.worker_id, until=until)
    ]


def hand_back(tx: Tx, attempt: Attempt) -> bool:
    """The attempt ends without a result, and not as a loss; False when it is stale."""
    row = tx.one("job_get", id=attempt.job_id)
    if row is None or not is_current(row, attempt):
        return False
    move(tx, row, Event.HAND_BACK, reason=f"handed back by {row['worker_name']}")
    return True


def expired(tx: Tx, limit: int) -> list[Expired]:
    return [
        Expired(
            attempt=Attempt(job_id=row["id"], number=row["attempt"], worker_id=row["worker_id"]),
            kind=row["kind"],
            worker_name=row["worker_name"],
            losses=row["losses"],
        )
        for row in tx.all("job_expired", now=tx.now, limit=limit)
    ]


def lose(tx: Tx, gone: Expired, rule: LossRule) -> Job | None:
    row = tx.one("job_get", id=gone.attempt.job_id)
    if row is None or not is_current(row, gone.attempt) or row["lease_until"] > tx.now:
        return None
    try_again(tx, row, Lost(rule=rule, reason=f"worker {row['worker_name']} was lost", lost=1))
    return _after(tx, row, rule)


def _after(tx: Tx, row: sqlite3.Row, rule: LossRule) -> Job:
    ended = row_of(tx, row["id"])
    if ended["family"]:
        vote(tx, ended, rule)
    return job_of(ended)


def is_time(tx: Tx) -> bool:
    """Whether `time_passes` has anything to do."""
    return any(tx.one(query, now=tx.now, limit=1) for query in ("job_due", "job_too_late", "job_overrun"))


def time_passes(tx: Tx, rule: LossRule) -> list[Job]:
    """Ends back-offs, and gives up the jobs that were not started or not finished in time. Returns what it changed."""
    moved = []
    for row in tx.all("job_due", now=tx.now, limit=AT_ONCE):
        release(tx, row)
        moved.append(row)
    for query, reason in (
        ("job_too_late", "it was not started by its deadline"),
        ("job_overrun", "wall clock limit: its worker did not stop it"),
    ):
        for row in tx.all(query, now=tx.now, limit=AT_ONCE):
            if row_of(tx, row["id"])["state"] == row["state"]:  # one that came after another of them has ended with it
                end(tx, row, Ending(event=Event.GIVE_UP, reason=reason))
                moved.append(row)
    return [_after(tx, row, rule) for row in moved]
