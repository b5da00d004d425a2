"""What a job tells those whom its owner lets read it: all but the names of workers that they may not know of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from xwhep.common.wire import Job
from xwhep.server.auth import UserPrincipal
from xwhep.server.grid import Grid
from xwhep.server.rights import may_see_worker

_IN_REASON = re.compile(r"worker (\S+)(?= was lost)|(?<=handed back by )(\S+)")


async def told(grid: Grid, user: UserPrincipal, jobs: Sequence[Job]) -> list[Job]:
    """`jobs` as `user` may see them. A worker that is gone is named to the owners of its jobs alone."""
    if user.is_admin or all(job.owner == user.login for job in jobs):
        return list(jobs)
    workers = await grid.store.people.workers()
    seen = {known for one in workers if may_see_worker(user, one.service) for known in (one.name, one.id)}
    return [job if job.owner == user.login else _without_others(job, seen) for job in jobs]


def _without_others(job: Job, seen: set[str]) -> Job:
    def shown(name: str) -> str:
        return name if name in seen else ""

    return replace(
        job,
        worker=shown(job.worker),
        reason=_IN_REASON.sub(lambda found: found[0] if shown(found[1] or found[2]) else "a worker", job.reason),
        needs=replace(job.needs, worker=shown(job.needs.worker)),
        runs=[replace(run, worker=shown(run.worker)) for run in job.runs],
    )
