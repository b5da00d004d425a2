"""Jobs in SQLite, as protocol.Jobs. Every change of state goes through transitions.after, in sqlite_rows.move."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from xwhep.common.errors import Conflict
from xwhep.common.wire import FINAL_STATES, Job, JobState
from xwhep.server.store.records import (
    NO_CONTENTS,
    Attempt,
    Delivery,
    Expired,
    Finished,
    JobFilter,
    Kind,
    LeasedJob,
    LeaseWish,
    LossRule,
    NewJob,
)
from xwhep.server.store.sqlite_database import Database, Tx
from xwhep.server.store.sqlite_endings import cancel, delete, finish_many
from xwhep.server.store.sqlite_leases import expired, is_time, lease, lose, may_lease, renew, time_passes
from xwhep.server.store.sqlite_rows import job_of, kind_from, replica_of, row_of
from xwhep.server.store.sqlite_submit import submit

LONG_BATCH = 100  # a batch of more jobs is written in a thread


def _submit_one(tx: Tx, new: NewJob) -> Job:
    return job_of(row_of(tx, submit(tx, [new])[0]))


def _job(tx: Tx, job_id: str) -> Job | None:
    row = tx.one("job_get", id=job_id)
    if row is None or row["family"]:
        return None
    job = job_of(row)
    if job.replicas < 2:
        return job
    runs = [replica_of(replica) for replica in tx.all("job_family", family=job_id)]
    return msgspec.structs.replace(job, runs=runs)


def _cancel_many(tx: Tx, ids: Sequence[str]) -> list[str]:
    stopped = []
    for job_id in ids:
        row = tx.one("job_get", id=job_id)
        if row is not None and not row["family"] and JobState(row["state"]) not in FINAL_STATES:
            cancel(tx, job_id)
            stopped.append(job_id)
    return stopped


def _delete_many(tx: Tx, ids: Sequence[str]) -> list[str]:
    rows = [row for job_id in ids if (row := tx.one("job_get", id=job_id)) is not None and not row["family"]]
    going = sum(JobState(row["state"]) not in FINAL_STATES for row in rows)
    if going:
        raise Conflict(f"{going} of {len(rows)} jobs have not ended", "stop them first with: xw job cancel")
    for row in rows:
        delete(tx, row["id"])
    return [row["id"] for row in rows]


def _delete_together(tx: Tx, wanted: JobFilter) -> list[str]:
    query = "job_all_of_group" if wanted.group else "job_all_of_session"
    rows = tx.all(query, name=wanted.group or wanted.session, owner=wanted.owner)
    return _delete_many(tx, [row["id"] for row in rows])


def _delete_old(tx: Tx, before: float, limit: int) -> list[str]:
    ids = [row["id"] for row in tx.all("job_old", before=before, limit=limit)]
    for job_id in ids:
        delete(tx, job_id)
    return ids


def _finish_one(tx: Tx, delivery: Delivery) -> Job:
    (outcome,) = finish_many(tx, [delivery], NO_CONTENTS)
    if isinstance(outcome, Conflict):
        raise outcome
    return job_of(row_of(tx, outcome.id))


class SqliteJobs:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def submit(self, new: NewJob) -> Job:
        return await self._db.write(lambda tx: _submit_one(tx, new))

    async def submit_many(self, jobs: Sequence[NewJob]) -> list[str]:
        write = self._db.write_long if len(jobs) > LONG_BATCH else self._db.write
        return await write(lambda tx: submit(tx, jobs))

    async def job(self, job_id: str) -> Job | None:
        return self._db.read(lambda tx: _job(tx, job_id))

    async def replica(self, job_id: str, number: int) -> Job | None:
        row = self._db.read(lambda tx: tx.one("job_replica", family=job_id, number=number))
        return job_of(row) if row else None

    async def jobs(self, wanted: JobFilter) -> list[Job]:
        params = {
            "owner": wanted.owner,
            "groups": json.dumps(sorted(wanted.owner_groups)),
            "state": wanted.state,
            "job_group": wanted.group,
            "session": wanted.session,
            "label": wanted.label,
            "before": wanted.before,
            "limit": wanted.limit,
        }
        return await self._db.scan(lambda tx: [job_of(row) for row in tx.all("job_list", **params)])

    async def open_ids(self, wanted: JobFilter) -> list[str]:
        query = "job_ids_of_group" if wanted.group else "job_ids_of_session"
        name = wanted.group or wanted.session
        return await self._db.scan(lambda tx: [row["id"] for row in tx.all(query, name=name, owner=wanted.owner)])

    async def count(self, wanted: JobFilter) -> dict[str, int]:
        query = "job_count_group" if wanted.group else "job_count_session"
        name = wanted.group or wanted.session
        rows = await self._db.scan(lambda tx: tx.all(query, name=name, owner=wanted.owner))
        return {row["state"]: row["jobs"] for row in rows}

    async def cancel(self, job_id: str) -> Job:
        return await self._db.write(lambda tx: cancel(tx, job_id))

    async def cancel_many(self, ids: Sequence[str]) -> list[str]:
        write = self._db.write_long if len(ids) > LONG_BATCH else self._db.write
        return await write(lambda tx: _cancel_many(tx, ids))

    async def delete(self, job_id: str) -> None:
        await self._db.write(lambda tx: delete(tx, job_id))

    async def delete_together(self, wanted: JobFilter) -> list[str]:
        return await self._db.write_long(lambda tx: _delete_together(tx, wanted))

    async def delete_many(self, ids: Sequence[str]) -> list[str]:
        write = self._db.write_long if len(ids) > LONG_BATCH else self._db.write
        return await write(lambda tx: _delete_many(tx, ids))

    async def delete_old(self, before: float, limit: int) -> list[str]:
        if not self._db.read(lambda tx: tx.all("job_old", before=before, limit=1)):
            return []
        return await self._db.write(lambda tx: _delete_old(tx, before, limit))

    async def lease(self, wish: LeaseWish) -> list[LeasedJob]:
        if not self._db.read(lambda tx: may_lease(tx, wish)):
            return []
        return await self._db.write(lambda tx: lease(tx, wish))

    async def renew(self, attempts: Sequence[Attempt], until: float) -> list[Attempt]:
        return await self._db.write(lambda tx: renew(tx, attempts, until))

    async def is_current(self, attempt: Attempt) -> bool:
        params = {"id": attempt.job_id, "worker_id": attempt.worker_id, "attempt": attempt.number}
        return self._db.read(lambda tx: tx.one("job_is_current", **params)) is not None

    async def finish(self, delivery: Delivery) -> Job:
        return await self._db.write(lambda tx: _finish_one(tx, delivery))

    async def finish_many(
        self, deliveries: Sequence[Delivery], contents: Mapping[str, bytes] = NO_CONTENTS
    ) -> list[Finished | Conflict]:
        return await self._db.write(lambda tx: finish_many(tx, deliveries, contents))

    async def extend_leases(self, until: float) -> int:
        return await self._db.write(lambda tx: tx.run("job_extend_all", until=until))

    async def expired(self, limit: int) -> list[Expired]:
        return self._db.read(lambda tx: expired(tx, limit))

    async def lose(self, gone: Expired, rule: LossRule) -> Job | None:
        return await self._db.write(lambda tx: lose(tx, gone, rule))

    async def time_passes(self, rule: LossRule) -> list[Job]:
        if not self._db.read(is_time):
            return []
        return await self._db.write(lambda tx: time_passes(tx, rule))

    async def kinds(self) -> list[Kind]:
        return await self._db.scan(lambda tx: [kind_from(row) for row in tx.all("kind_list_alive")])

    async def kind_of_job(self, job_id: str) -> list[Kind]:
        return self._db.read(lambda tx: [kind_from(row) for row in tx.all("job_kinds", id=job_id)])

    async def count_waiting(self, kinds: Sequence[str], limit: int) -> int:
        found = self._db.read(lambda tx: tx.one("kinds_waiting", kinds=json.dumps(kinds), limit=limit))
        return int(found["count"]) if found else 0

    async def kind_waits(self, kind_id: str) -> bool:
        row = self._db.read(lambda tx: tx.one("kind_waits", kind=kind_id))
        return row is not None and bool(row["waits"])
