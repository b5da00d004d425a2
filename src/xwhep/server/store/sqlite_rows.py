"""Rows of jobs: how they are read, and the one way to change a job's state."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from xwhep.common.errors import NotFound
from xwhep.common.wire import Job, JobResult, JobSpec, JobState, Needs, Replica
from xwhep.server.store.records import Attempt, Change, Inputs, Kind
from xwhep.server.store.sqlite_database import Tx
from xwhep.server.transitions import Event, after

encode = msgspec.json.encode
spec_decoder = msgspec.json.Decoder(JobSpec)
inputs_decoder = msgspec.json.Decoder(Inputs)
result_decoder = msgspec.json.Decoder(JobResult)
_needs_decoder = msgspec.json.Decoder(Needs)
FOREVER = 1e15  # seconds; for leases of jobs that run as replicas, and for what is never allowed

_QUERY_TO = {
    JobState.PENDING: "job_return",
    JobState.WAITING: "job_postpone",
    JobState.RUNNING: "job_lease",
    JobState.LOST: "job_lose",
}


def job_of(row: sqlite3.Row) -> Job:
    spec = msgspec.structs.asdict(spec_decoder.decode(row["spec"]))
    spec.update(mode=row["mode"], owner_group=row["owner_group"], key=row["submit_key"])  # these may change
    return Job(
        **spec,
        id=row["id"],
        owner=row["owner"],
        state=JobState(row["state"]),
        revision=row["revision"],
        attempt=row["attempt"],
        worker=row["worker_name"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        result=result_decoder.decode(row["result"]) if row["result"] else None,
        reason=row["reason"],
        waits=_waits(row),
        not_before=row["not_before"],
    )


def _waits(row: sqlite3.Row) -> str:
    if row["state"] != JobState.WAITING:
        return ""
    if row["open_after"]:
        count = row["open_after"]
        return f"for {count} job{'s' * (count > 1)} that must be completed first"
    return f"until {datetime.fromtimestamp(row['not_before'], UTC):%Y-%m-%d %H:%M:%S} UTC, after an attempt was lost"


def replica_of(row: sqlite3.Row) -> Replica:
    return Replica(
        number=row["replica"],
        worker=row["worker_name"],
        state=row["state"],
        digest=row["digest"],
        agreed=None if row["agreed"] is None else bool(row["agreed"]),
    )


def kind_from(row: sqlite3.Row) -> Kind:
    return Kind(
        id=row["id"],
        app_id=row["app_id"],
        owner=row["owner"],
        replica=row["replica"],
        needs=_needs_decoder.decode(row["needs"]),
    )


def row_of(tx: Tx, job_id: str) -> sqlite3.Row:
    """Raises: NotFound."""
    row = tx.one("job_get", id=job_id)
    if row is None:
        raise _unknown(job_id)
    return row


def own_row(tx: Tx, job_id: str) -> sqlite3.Row:
    """A job as its owner knows it: the replicas of one are no jobs of their own. Raises: NotFound."""
    row = row_of(tx, job_id)
    if row["family"]:
        raise _unknown(job_id)
    return row


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id}", "list yours with: xw job list")


def move(tx: Tx, row: sqlite3.Row, event: Event, **fields: Any) -> JobState:
    """Take one step of the transition table and write it with `fields`; the query is the one for the new state."""
    state = after(JobState(row["state"]), event)
    tx.run(_QUERY_TO.get(state, "job_end"), seq=row["seq"], state=state.value, **fields)
    _tell(tx, row, state)
    return state


def move_all(tx: Tx, rows: Sequence[sqlite3.Row], event: Event, fields: Sequence[Mapping[str, Any]]) -> None:
    """The same step of many jobs of one state, each with its fields, written at once."""
    if not rows:
        return
    (state,) = {after(JobState(row["state"]), event) for row in rows}
    pairs = zip(rows, fields, strict=True)
    written = [{"seq": row["seq"], "state": state.value, **more} for row, more in pairs]
    tx.many(_QUERY_TO.get(state, "job_end"), written)
    for row in rows:
        _tell(tx, row, state)


def _tell(tx: Tx, row: sqlite3.Row, state: JobState) -> None:
    if state is not JobState.PENDING:
        tx.changes.append(Change(job_id=row["id"]))
        return
    avoided = tx.all("job_avoided", id=row["id"], now=tx.now) if row["avoids"] else []
    parties = frozenset(found["party"] for found in avoided)
    tx.changes.append(Change(job_id=row["id"], pending_kind=row["kind"], avoid=parties))


def avoid(tx: Tx, job_id: str, party: str, until: float) -> None:
    tx.run("job_avoid", job_id=job_id, party=party, until=until)
    tx.run("job_avoids_note", id=job_id)


def is_current(row: sqlite3.Row, attempt: Attempt) -> bool:
    return row["state"] == JobState.RUNNING and (row["worker_id"], row["attempt"]) == (
        attempt.worker_id,
        attempt.number,
    )
