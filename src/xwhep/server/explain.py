"""Why a job has no worker yet, in words with numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from xwhep.common.wire import FINAL_STATES, Explanation, Failing, Job, JobState
from xwhep.server.matching import Shortfall
from xwhep.server.store.records import WorkerRecord

QUARANTINE = Shortfall(need="quarantine", wanted="", text="are in quarantine, having failed too often")
DRAINING = Shortfall(need="draining", wanted="", text="are being drained")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A worker that is there: what keeps it from the job, and whether it waits for one."""

    lacks: tuple[Shortfall, ...]
    free: bool


def obstacles(record: WorkerRecord | None, now: float) -> list[Shortfall]:
    """What keeps a worker from every job."""
    if record is None:
        return []
    return [*([QUARANTINE] if record.quarantined_until > now else []), *([DRAINING] if record.draining else [])]


def known_lacks(*lacks: Shortfall) -> tuple[Shortfall, ...]:
    """Of a worker that does not run the owner's jobs that alone: its name, machine and standing are not his to know."""
    return tuple(lack for lack in lacks if lack.need == "visibility") or lacks


def explain(job: Job, standings: Sequence[Standing]) -> Explanation:
    """`standings` are the workers that are there; they are looked at for a pending job only."""
    if job.state is not JobState.PENDING:
        return Explanation(job_id=job.id, state=job.state, text=_state_text(job))
    counts = Counter(lack for standing in standings for lack in dict.fromkeys(standing.lacks))
    fitting = [standing for standing in standings if not standing.lacks]
    busy = sum(not standing.free for standing in fitting)
    return Explanation(
        job_id=job.id,
        state=job.state,
        text=_pending_text(len(standings), (len(fitting), busy), counts),
        workers=len(standings),
        fitting=len(fitting),
        busy=busy,
        failing=[Failing(need=lack.need, wanted=lack.wanted, workers=count) for lack, count in counts.most_common()],
    )


def _state_text(job: Job) -> str:
    if job.state is JobState.WAITING:
        return f"it waits {job.waits}"
    if job.state in FINAL_STATES:
        return f"it is {job.state.value}" + (f": {job.reason}" if job.reason else "")
    return f"it runs on {job.worker}" if job.worker else f"it is {job.state.value}"


def _pending_text(workers: int, fitting_and_busy: tuple[int, int], counts: Counter[Shortfall]) -> str:
    fitting, busy = fitting_and_busy
    if not workers:
        return "no worker is there: start one, or see xw worker list"
    there = f"{workers} worker{'s are' if workers > 1 else ' is'} there"
    why = "; ".join(f"{count} {lack.text}" for lack, count in counts.most_common())
    if not fitting:
        return f"no worker fits; {there}: {why}"
    can = f"{fitting} can run it"
    if busy == fitting:
        can += ", and all of these are busy" if fitting > 1 else ", and it is busy"
    else:
        can += f", of which {fitting - busy} {'is' if fitting - busy == 1 else 'are'} free: it starts soon"
    return f"{there}, {can}" + (f"; of the others: {why}" if why else "")
