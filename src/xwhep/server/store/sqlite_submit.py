"""New jobs in SQLite, one or a hundred thousand: the same code, so that a batch means what its jobs mean alone."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from xwhep.common.errors import Conflict, InvalidRequest, NotFound
from xwhep.common.wire import JobState
from xwhep.server.store.records import Change, Kind, NewJob, kind_of
from xwhep.server.store.sqlite_database import Tx
from xwhep.server.store.sqlite_rows import avoid, encode, inputs_decoder, spec_decoder


@dataclass
class _Rows:
    """What a submission writes, collected for executemany."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    blobs: list[dict[str, Any]] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, Kind] = field(default_factory=dict)
    pending: Counter[str] = field(default_factory=Counter)

    def write(self, tx: Tx) -> None:
        for kind in self.kinds.values():
            note_kind(tx, kind)
        tx.many("job_add", self.jobs)
        tx.many("job_blob_note", self.blobs)
        tx.many("job_after_add", self.after)
        for kind_id, count in self.pending.items():
            tx.changes.append(Change(pending_kind=kind_id, count=count, new_kind=self.kinds[kind_id]))


def submit(tx: Tx, jobs: Sequence[NewJob]) -> list[str]:
    """Ids, in the order of `jobs`: new ones, or those that the first submission with their key made.

    Raises:
        Conflict: the key came with other jobs.
        NotFound: an app was removed.
        NotFound, InvalidRequest: what a job comes after; then none is made.
    """
    digest = _digest(jobs) if jobs and jobs[0].key else ""
    if digest and (known := _submitted(tx, jobs[0], digest)):
        return known
    for app_id, name in {new.app_id: new.spec.app for new in jobs}.items():
        if tx.one("app_is_there", id=app_id) is None:  # removed since it was looked up
            raise NotFound(f"there is no app {name}", "list them with: xw app list")
    rows, ids = _Rows(), [secrets.token_hex(8) for _ in jobs]
    replicated = []
    for number, new in enumerate(jobs):
        before = _before(tx, new, ids[:number] if new.spec.after else [])
        _add(rows, tx.now, (ids[number], new, before))
        if new.spec.replicas > 1 and not before:
            replicated.append(ids[number])
    if digest:
        rows.jobs[0]["submit_digest"] = digest
    rows.write(tx)
    for job_id in replicated:
        row = tx.one("job_get", id=job_id)
        assert row is not None  # noqa: S101 - written above
        spawn(tx, row, range(1, row_replicas(row) + 1))
    return ids


def _submitted(tx: Tx, first: NewJob, digest: str) -> list[str]:
    """The jobs that the key made already. Raises: Conflict: another submission had it."""
    rows = tx.all("job_ids_of_key", owner=first.owner, key=first.key)
    if any(row["submit_digest"] not in ("", digest) for row in rows):
        raise Conflict(
            f"the key {first.key} was that of another submission", "send the same jobs again, or take a new key"
        )
    return [row["id"] for row in rows]


def _digest(jobs: Sequence[NewJob]) -> str:
    found = hashlib.sha256()
    for new in jobs:
        found.update(encode(new.spec) + b"\n")
    return found.hexdigest()[:32]


def row_replicas(row: sqlite3.Row) -> int:
    return spec_decoder.decode(row["spec"]).replicas


def note_kind(tx: Tx, kind: Kind) -> None:
    needs = encode(kind.needs).decode()
    tx.run("kind_note", id=kind.id, app_id=kind.app_id, owner=kind.owner, replica=kind.replica, needs=needs)


def _before(tx: Tx, new: NewJob, ids: list[str]) -> list[str]:
    """Ids of the jobs that `new` waits for; of those before it in the batch, `ids`, "#N" names one."""
    waits = []
    for name in dict.fromkeys(new.spec.after):
        if name.startswith("#"):
            waits.append(_in_batch(name, ids))
            continue
        row = tx.one("job_get", id=name)
        if row is None or row["family"] or row["owner"] != new.owner:
            raise NotFound(f"you have no job {name[:64]} to come after", "list yours with: xw job list")
        if row["state"] in (JobState.FAILED, JobState.CANCELLED):
            raise InvalidRequest(f"the job {name} to come after is {row['state']}", "submit it again first")
        if row["state"] != JobState.COMPLETED:
            waits.append(name)
    return waits


def _in_batch(name: str, ids: list[str]) -> str:
    if not (name[1:].isdecimal() and len(name) < 10 and int(name[1:]) < len(ids)):
        raise InvalidRequest(f"{name[:64]} is no earlier job of the batch", "a job comes after those before it")
    return ids[int(name[1:])]


def _add(rows: _Rows, now: float, job: tuple[str, NewJob, list[str]]) -> None:
    job_id, new, before = job
    spec = new.spec
    kind_id = "" if spec.replicas > 1 else _kind(rows, kind_of(new.app_id, new.owner, spec.needs))
    rows.jobs.append(
        {
            "id": job_id,
            "owner": new.owner,
            "app_id": new.app_id,
            "spec": encode(spec).decode(),
            "inputs": encode(new.inputs).decode(),
            "state": (JobState.WAITING if before else JobState.PENDING).value,
            "now": now,
            "kind": kind_id,
            "priority": spec.priority,
            "deadline_at": spec.deadline_at,
            "open_after": len(before),
            "label": spec.label,
            "job_group": spec.group,
            "session": spec.session,
            "family": "",
            "replica": 0,
            "mode": spec.mode,
            "owner_group": spec.owner_group,
            "submit_key": new.key,
            "submit_digest": "",
        }
    )
    for datum in [*([new.inputs.stdin] if new.inputs.stdin else []), *new.inputs.data]:
        rows.blobs.append({"sha256": datum.sha256, "job_id": job_id, "direction": "in"})
    rows.after += [{"before_id": before_id, "job_id": job_id} for before_id in before]
    if kind_id and not before:
        rows.pending[kind_id] += 1


def _kind(rows: _Rows, kind: Kind) -> str:
    rows.kinds.setdefault(kind.id, kind)
    return kind.id


def spawn(tx: Tx, parent: sqlite3.Row, numbers: range) -> None:
    """Make the replicas of a job that may run now. None goes to whoever runs another."""
    spec, inputs = spec_decoder.decode(parent["spec"]), inputs_decoder.decode(parent["inputs"])
    single = msgspec.structs.replace(
        spec, replicas=1, quorum=0, after=[], deadline_at=0.0, group="", session="", key=""
    )
    new = NewJob(owner=parent["owner"], app_id=parent["app_id"], spec=single, inputs=inputs)
    parties = [row["party"] for row in tx.all("job_family_parties", family=parent["id"])]
    for number in numbers:
        rows, replica_id = _Rows(), secrets.token_hex(8)
        _add(rows, tx.now, (replica_id, new, []))
        kind = kind_of(new.app_id, new.owner, spec.needs, number)
        rows.jobs[0].update(family=parent["id"], replica=number, kind=kind.id)
        rows.kinds, rows.pending = {kind.id: kind}, Counter({kind.id: 1})
        rows.write(tx)
        for party in parties:
            avoid(tx, replica_id, party, 1e15)
