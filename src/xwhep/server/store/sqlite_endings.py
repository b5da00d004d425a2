"""How jobs end in SQLite, and what follows from it: for those that come after, for replicas, for the worker.

one job ends ─► the jobs after it are released or fail ─► and the jobs after those ...
a replica ends ─► the votes are counted ─► the job has its result, or gets another replica, or fails
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from xwhep.common.errors import Conflict
from xwhep.common.wire import FINAL_STATES, Job, JobResult, JobState
from xwhep.server.blobs import EMPTY_SHA256
from xwhep.server.store.records import REFUSED, Change, Delivery, Finished, LossRule
from xwhep.server.store.sqlite_database import Tx
from xwhep.server.store.sqlite_rows import (
    avoid,
    encode,
    is_current,
    job_of,
    move,
    own_row,
    result_decoder,
    row_of,
    spec_decoder,
)
from xwhep.server.store.sqlite_submit import spawn
from xwhep.server.transitions import Event

MAX_REPLICA_FACTOR = 2  # replicas are added while there is no quorum, up to so many times the number wished


class Ending(Struct, frozen=True, kw_only=True):
    """`result` is its JSON, '' when there is none."""

    event: Event
    reason: str = ""
    result: str = ""


def end(tx: Tx, row: sqlite3.Row, ending: Ending) -> None:
    """Bring a job to a final state, and with it all that depends on it. Iterative: chains may be long."""
    todo, ended = deque([(row["id"], ending)]), set[str]()
    while todo:
        job_id, ending = todo.popleft()
        if job_id in ended:
            continue  # it came after two of the others
        row = row_of(tx, job_id) if ended else row
        ended.add(job_id)
        state = _end_one(tx, row, ending)
        if not row["kind"]:  # it runs as replicas
            for replica in tx.all("job_family", family=job_id):
                if JobState(replica["state"]) not in FINAL_STATES:
                    move(tx, replica, Event.CANCEL, now=tx.now, result="", reason="no longer needed")
        todo.extend(_dependents(tx, job_id, state))


def _end_one(tx: Tx, row: sqlite3.Row, ending: Ending) -> JobState:
    return move(tx, row, ending.event, now=tx.now, result=ending.result, reason=ending.reason)


def _dependents(tx: Tx, job_id: str, state: JobState) -> list[tuple[str, Ending]]:
    """Release the jobs that waited only for this one; those that can never run are returned with their ending."""
    found = tx.all("job_dependents", before_id=job_id)
    if state is not JobState.COMPLETED:
        reason = f"the job {job_id}, which it comes after, is {state.value}"
        return [(row["id"], Ending(event=Event.GIVE_UP, reason=reason)) for row in found]
    for row in found:
        tx.run("job_after_met", id=row["id"])
        if row["open_after"] <= 1:
            release(tx, row)
    return []


def release(tx: Tx, row: sqlite3.Row) -> None:
    """A waiting job may run."""
    move(tx, row, Event.RELEASE, reason="")
    spec = spec_decoder.decode(row["spec"])
    if spec.replicas > 1:
        spawn(tx, row, range(1, spec.replicas + 1))


def cancel(tx: Tx, job_id: str) -> Job:
    row = own_row(tx, job_id)
    if row["state"] != JobState.CANCELLED:
        end(tx, row, Ending(event=Event.CANCEL, reason="cancelled"))
    return job_of(row_of(tx, job_id))


def delete(tx: Tx, job_id: str) -> None:
    row = own_row(tx, job_id)
    if JobState(row["state"]) not in FINAL_STATES:
        raise Conflict(f"job {job_id} is {row['state']}", f"stop it first with: xw job cancel {job_id}")
    tx.run("job_delete", id=job_id)
    tx.changes.append(Change(job_id=job_id))


def finish_many(tx: Tx, deliveries: Sequence[Delivery], contents: Mapping[str, bytes]) -> list[Finished | Conflict]:
    praised = set[tuple[str, str]]()
    outcomes = [_finish(tx, delivery, praised) for delivery in deliveries]
    ended = zip(outcomes, deliveries, strict=True)
    taken = [(outcome.id, delivery.result) for outcome, delivery in ended if isinstance(outcome, Finished)]
    _note_files(tx, taken)
    named = {file.sha256 for _, result in taken for file in (result.stdout, result.stderr, *result.files)}
    kept = named & contents.keys() - {EMPTY_SHA256}
    tx.many("blob_small_put", [{"sha256": sha256, "content": contents[sha256]} for sha256 in kept])
    return outcomes


def _finish(tx: Tx, delivery: Delivery, praised: set[tuple[str, str]]) -> Finished | Conflict:
    """The worker's result ends the attempt, unless that is stale: then nothing changes.

    `praised`: the (app, worker) that a result of the same message has already spoken for.
    """
    attempt, result = delivery.attempt, delivery.result
    row = tx.one("job_for_result", id=attempt.job_id)
    if row is not None and _is_delivered(row, delivery):
        return Finished(id=row["id"], attempt=row["attempt"], state=JobState(row["state"]))
    if row is None or not is_current(row, attempt):
        return Conflict(f"attempt {attempt.number} of job {attempt.job_id} is no longer yours", "drop its result")
    if result.reason.startswith(REFUSED):
        kept = encode(result).decode()
        state = try_again(tx, row, Lost(rule=delivery.rule, reason=result.reason, lost=0, result=kept))
    else:
        state = _end_with_result(tx, row, delivery)
    if state is not JobState.COMPLETED:
        praised.clear()
    elif (pair := (row["app_id"], row["worker_id"])) not in praised:
        praised.add(pair)
        tx.run("app_worked", app_id=pair[0], worker_id=pair[1])
        tx.run("worker_succeeded", id=pair[1])
    if row["family"]:
        _note_files(tx, [(row["id"], result)])  # now: should it win, its job names them too
        vote(tx, row_of(tx, row["id"]), delivery.rule)
        praised.clear()  # it may have been outvoted
    return Finished(id=row["id"], attempt=row["attempt"], state=state)


def _note_files(tx: Tx, ended: Sequence[tuple[str, JobResult]]) -> None:
    named = {
        (job_id, file.sha256): None
        for job_id, result in ended
        for file in (result.stdout, result.stderr, *result.files)
        if file.sha256 != EMPTY_SHA256
    }
    rows = [{"sha256": sha256, "job_id": job_id, "direction": "out"} for job_id, sha256 in named]
    tx.many("job_blob_note", rows)


def _is_delivered(row: sqlite3.Row, delivery: Delivery) -> bool:
    """Whether this very result is the stored one: a worker that did not hear our answer delivers again."""
    return (
        row["state"] in (JobState.COMPLETED, JobState.FAILED)
        and (row["worker_id"], row["attempt"]) == (delivery.attempt.worker_id, delivery.attempt.number)
        and bool(row["result"])
        and result_decoder.decode(row["result"]) == delivery.result
    )


def _end_with_result(tx: Tx, row: sqlite3.Row, delivery: Delivery) -> JobState:
    result = delivery.result
    good = result.exit_code == 0 and not result.reason
    reason = "" if good else result.reason or f"exit code {result.exit_code}"
    event = Event.COMPLETE if good else Event.FAIL
    ending = Ending(event=event, reason=reason, result=encode(result).decode())
    if row["awaited"]:
        end(tx, row, ending)
    else:  # as most: nothing depends on it
        _end_one(tx, row, ending)
    if not good and tx.one("app_works_elsewhere", app_id=row["app_id"], worker_id=row["worker_id"]):
        # Else the program may be at fault, and its user could have every worker put away.
        blame(tx, row["worker_id"], delivery.rule)
    return JobState.COMPLETED if good else JobState.FAILED


def blame(tx: Tx, worker_id: str, rule: LossRule, query: str = "worker_failed") -> None:
    """A job went wrong through a worker's fault."""
    tx.run(query, id=worker_id)
    tx.run("worker_quarantine", id=worker_id, now=tx.now, first_s=rule.quarantine_s, limit=rule.quarantine_after)


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An attempt that ended without the program's result: its lease ran out (lost=1), or its worker could not (0)."""

    rule: LossRule
    reason: str
    lost: int
    result: str = ""  # kept when the job fails by it


def try_again(tx: Tx, row: sqlite3.Row, lost: Lost) -> JobState:
    """The job goes back to where another worker finds it, or fails when that was too often."""
    rule, spec = lost.rule, spec_decoder.decode(row["spec"])
    blame(tx, row["worker_id"], rule)
    move(tx, row, Event.LOSE, reason=lost.reason, lost=lost.lost)
    row = row_of(tx, row["id"])
    tries = row["losses"] + row["refusals"]
    if row["losses"] >= rule.limit or tries >= spec.max_attempts:
        words = lost.reason if not lost.lost else f"lost {row['losses']} times, last with {lost.reason}"
        end(tx, row, Ending(event=Event.GIVE_UP, reason=words, result=lost.result))
        return JobState.FAILED
    delay_s = rule.back_off_s * 2 ** (tries - 2) if tries > 1 else 0.0
    if rule.avoid_until > tx.now:
        avoid(tx, row["id"], row["worker_id"], rule.avoid_until + delay_s)
        row = row_of(tx, row["id"])
    if delay_s:
        return move(tx, row, Event.POSTPONE, reason=lost.reason, not_before=tx.now + delay_s)
    return move(tx, row, Event.RETURN, reason=lost.reason)


def digest_of(result: JobResult) -> str:
    """What two equal results have in common; '' for one without a regular exit, which agrees with nothing."""
    if result.reason:
        return ""
    files = sorted((file.path, file.sha256) for file in [result.stdout, *result.files])
    return hashlib.sha256(encode([result.exit_code, files])).hexdigest()


def vote(tx: Tx, replica: sqlite3.Row, rule: LossRule) -> None:
    """A replica ended, or came back: see what that means for its job."""
    parent = row_of(tx, replica["family"])
    if JobState(parent["state"]) in FINAL_STATES or JobState(replica["state"]) not in FINAL_STATES:
        return
    if replica["result"]:
        tx.run("job_digest", id=replica["id"], digest=digest_of(result_decoder.decode(replica["result"])))
    tx.changes.append(Change(job_id=parent["id"]))
    rows, spec = tx.all("job_family", family=parent["id"]), spec_decoder.decode(parent["spec"])
    votes = Counter(row["digest"] for row in rows if row["digest"])
    winner, count = votes.most_common(1)[0] if votes else ("", 0)
    quorum = spec.quorum or spec.replicas // 2 + 1
    missing = quorum - count - sum(JobState(row["state"]) not in FINAL_STATES for row in rows)
    if count >= quorum:
        _settle(tx, (parent, rows), winner, rule)
    elif missing > 0 and len(rows) + missing <= MAX_REPLICA_FACTOR * spec.replicas:
        spawn(tx, parent, range(len(rows) + 1, len(rows) + missing + 1))
    elif missing > 0:
        words = f"no {quorum} of its {len(rows)} replicas agree: {len(votes)} different results"
        end(tx, parent, Ending(event=Event.GIVE_UP, reason=words))


def _settle(tx: Tx, family: tuple[sqlite3.Row, list[sqlite3.Row]], digest: str, rule: LossRule) -> None:
    parent, rows = family
    for row in rows:
        if row["digest"]:
            tx.run("job_agreed", id=row["id"], agreed=int(row["digest"] == digest))
        if row["digest"] not in ("", digest):
            blame(tx, row["worker_id"], rule, "worker_outvoted")
    winner = next(row for row in rows if row["digest"] == digest)
    tx.run("job_credit", id=parent["id"], worker_name=winner["worker_name"], digest=digest)
    tx.run("job_blob_copy", from_id=winner["id"], to_id=parent["id"], direction="out")
    event = Event.COMPLETE if winner["state"] == JobState.COMPLETED else Event.FAIL
    end(tx, row_of(tx, parent["id"]), Ending(event=event, reason=winner["reason"], result=winner["result"]))
