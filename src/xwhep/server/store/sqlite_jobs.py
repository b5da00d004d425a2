"""Jobs in SQLite. Every change of state goes through transitions.after."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import FINAL_STATES, Job, JobResult, JobSpec, JobState
from xwhep.server.store.records import (
    Attempt,
    Change,
    Delivery,
    Expired,
    Inputs,
    LeasedJob,
    LeaseWish,
    LossRule,
    NewJob,
)
from xwhep.server.store.sqlite_database import Database, Tx
from xwhep.server.transitions import Event, after

_encode = msgspec.json.encode
_spec_decoder = msgspec.json.Decoder(JobSpec)
_inputs_decoder = msgspec.json.Decoder(Inputs)
_result_decoder = msgspec.json.Decoder(JobResult)


def _job(row: sqlite3.Row) -> Job:
    spec = _spec_decoder.decode(row["spec"])
    return Job(
        **msgspec.structs.asdict(spec),
        id=row["id"],
        owner=row["owner"],
        state=JobState(row["state"]),
        revision=row["revision"],
        attempt=row["attempt"],
        worker=row["worker_name"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        result=_result_decoder.decode(row["result"]) if row["result"] else None,
        reason=row["reason"],
        mode=row["mode"],
        owner_group=row["owner_group"],
    )


def _row(tx: Tx, job_id: str) -> sqlite3.Row:
    row = tx.one("job_get", id=job_id)
    if row is None:
        raise NotFound(f"there is no job {job_id}", "list yours with: xw job list")
    return row


def _move(tx: Tx, row: sqlite3.Row, event: Event, **fields: Any) -> JobState:
    """Take one step of the transition table and write it with `fields`; the query is the one for the new state."""
    state = after(JobState(row["state"]), event)
    query = {
        JobState.PENDING: "job_return",
        JobState.RUNNING: "job_lease",
        JobState.LOST: "job_lose",
    }.get(state, "job_end")
    tx.run(query, id=row["id"], state=state.value, **fields)
    pending = state is JobState.PENDING
    avoid = row["avoid_worker"] if pending and row["avoid_until"] > tx.now else ""
    tx.changes.append(Change(job_id=row["id"], pending_app_id=row["app_id"] if pending else "", avoid_worker=avoid))
    return state


def _is_current(row: sqlite3.Row, attempt: Attempt) -> bool:
    return row["state"] == JobState.RUNNING and (row["worker_id"], row["attempt"]) == (
        attempt.worker_id,
        attempt.number,
    )


def _submit(tx: Tx, new: NewJob) -> Job:
    job_id = secrets.token_hex(8)
    tx.run(
        "job_add",
        id=job_id,
        owner=new.owner,
        app_id=new.app_id,
        spec=_encode(new.spec).decode(),
        inputs=_encode(new.inputs).decode(),
        state=JobState.PENDING.value,
        now=tx.now,
    )
    for datum in [*([new.inputs.stdin] if new.inputs.stdin else []), *new.inputs.data]:
        tx.run("job_blob_note", sha256=datum.sha256, job_id=job_id, direction="in")
    tx.changes.append(Change(job_id=job_id, pending_app_id=new.app_id))
    return _job(_row(tx, job_id))


def _cancel(tx: Tx, job_id: str) -> Job:
    row = _row(tx, job_id)
    if row["state"] == JobState.CANCELLED:
        return _job(row)
    _move(tx, row, Event.CANCEL, now=tx.now, result="", reason="cancelled")
    return _job(_row(tx, job_id))


def _delete(tx: Tx, job_id: str) -> None:
    row = _row(tx, job_id)
    if JobState(row["state"]) not in FINAL_STATES:
        raise Conflict(f"job {job_id} is {row['state']}", f"stop it first with: xw job cancel {job_id}")
    tx.run("job_delete", id=job_id)
    tx.changes.append(Change(job_id=job_id))


def _next(tx: Tx, wish: LeaseWish) -> str:
    """Id of the job that the worker would get; empty when there is none."""
    serves = "" if wish.serves is None else json.dumps(sorted(wish.serves))
    params = {"app_ids": json.dumps(wish.app_ids), "worker_id": wish.worker_id, "serves": serves}
    found = tx.one("job_next", **params, now=tx.now)
    return found["id"] if found else ""


def _lease(tx: Tx, wish: LeaseWish) -> LeasedJob | None:
    job_id = _next(tx, wish)
    if not job_id:
        return None
    row = _row(tx, job_id)
    _move(tx, row, Event.LEASE, worker_id=wish.worker_id, worker_name=wish.worker_name, until=wish.until, now=tx.now)
    return LeasedJob(
        id=row["id"],
        attempt=row["attempt"] + 1,
        until=wish.until,
        app_id=row["app_id"],
        spec=_spec_decoder.decode(row["spec"]),
        inputs=_inputs_decoder.decode(row["inputs"]),
    )


def _renew(tx: Tx, attempts: Sequence[Attempt], until: float) -> list[Attempt]:
    return [
        attempt
        for attempt in attempts
        if not tx.run("job_renew", id=attempt.job_id, attempt=attempt.number, worker_id=attempt.worker_id, until=until)
    ]


def _finish(tx: Tx, delivery: Delivery) -> Job:
    attempt, result = delivery.attempt, delivery.result
    row = tx.one("job_get", id=attempt.job_id)
    if row is not None and _is_delivered(row, delivery):
        return _job(row)
    if row is None or not _is_current(row, attempt):
        raise Conflict(f"attempt {attempt.number} of job {attempt.job_id} is no longer yours", "drop its result")
    good = result.exit_code == 0 and not result.reason
    _move(
        tx,
        row,
        Event.COMPLETE if good else Event.FAIL,
        now=tx.now,
        result=_encode(result).decode(),
        reason="" if good else result.reason or f"exit code {result.exit_code}",
    )
    for file in [result.stdout, result.stderr, *result.files]:
        tx.run("job_blob_note", sha256=file.sha256, job_id=row["id"], direction="out")
    return _job(_row(tx, row["id"]))


def _is_delivered(row: sqlite3.Row, delivery: Delivery) -> bool:
    """Whether this very result is the stored one: a worker that did not hear our answer delivers again."""
    return (
        row["state"] in (JobState.COMPLETED, JobState.FAILED)
        and (row["worker_id"], row["attempt"]) == (delivery.attempt.worker_id, delivery.attempt.number)
        and bool(row["result"])
        and _result_decoder.decode(row["result"]) == delivery.result
    )


def hand_back(tx: Tx, attempt: Attempt) -> bool:
    """The attempt ends without a result, and not as a loss; False when it is stale."""
    row = tx.one("job_get", id=attempt.job_id)
    if row is None or not _is_current(row, attempt):
        return False
    _move(tx, row, Event.HAND_BACK, reason=f"handed back by {row['worker_name']}")
    return True


def _expired(tx: Tx, limit: int) -> list[Expired]:
    return [
        Expired(
            attempt=Attempt(job_id=row["id"], number=row["attempt"], worker_id=row["worker_id"]),
            app_id=row["app_id"],
            worker_name=row["worker_name"],
            losses=row["losses"],
        )
        for row in tx.all("job_expired", now=tx.now, limit=limit)
    ]


def _lose(tx: Tx, expired: Expired, rule: LossRule) -> Job | None:
    row = tx.one("job_get", id=expired.attempt.job_id)
    if row is None or not _is_current(row, expired.attempt) or row["lease_until"] > tx.now:
        return None
    reason = f"worker {row['worker_name']} was lost"
    _move(tx, row, Event.LOSE, reason=reason, avoid_until=rule.avoid_until)
    lost = _row(tx, row["id"])
    if lost["losses"] >= rule.limit:
        _move(tx, lost, Event.GIVE_UP, now=tx.now, result="", reason=f"lost {lost['losses']} times, last with {reason}")
    else:
        _move(tx, lost, Event.RETURN, reason=reason)
    return _job(_row(tx, row["id"]))


class SqliteJobs:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def submit(self, new: NewJob) -> Job:
        return await self._db.write(lambda tx: _submit(tx, new))

    async def job(self, job_id: str) -> Job | None:
        row = self._db.read(lambda tx: tx.one("job_get", id=job_id))
        return _job(row) if row else None

    async def jobs(self, owner: str, state: JobState | None, limit: int, groups: Collection[str] = ()) -> list[Job]:
        params = {"owner": owner, "state": state.value if state else "", "limit": limit}
        params["groups"] = json.dumps(list(groups))
        return await self._db.scan(lambda tx: [_job(row) for row in tx.all("job_list", **params)])

    async def cancel(self, job_id: str) -> Job:
        return await self._db.write(lambda tx: _cancel(tx, job_id))

    async def delete(self, job_id: str) -> None:
        await self._db.write(lambda tx: _delete(tx, job_id))

    async def lease(self, wish: LeaseWish) -> LeasedJob | None:
        # Most who ask ask in vain: they cost no transaction.
        if not self._db.read(lambda tx: _next(tx, wish)):
            return None
        return await self._db.write(lambda tx: _lease(tx, wish))

    async def renew(self, attempts: Sequence[Attempt], until: float) -> list[Attempt]:
        return await self._db.write(lambda tx: _renew(tx, attempts, until))

    async def finish(self, delivery: Delivery) -> Job:
        return await self._db.write(lambda tx: _finish(tx, delivery))

    async def extend_leases(self, until: float) -> int:
        return await self._db.write(lambda tx: tx.run("job_extend_all", until=until))

    async def expired(self, limit: int) -> list[Expired]:
        return self._db.read(lambda tx: _expired(tx, limit))

    async def lose(self, expired: Expired, rule: LossRule) -> Job | None:
        return await self._db.write(lambda tx: _lose(tx, expired, rule))

    async def app_waits(self, app_id: str) -> bool:
        row = self._db.read(lambda tx: tx.one("job_app_waits", app_id=app_id))
        return row is not None and bool(row["waits"])
