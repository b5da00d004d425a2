"""How the jobs of a group or session stand: one request for thousands of them, which waits for news."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import InvalidRequest
from xwhep.common.wire import FINAL_STATES, JobState, JobSummary
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import seconds
from xwhep.server.grid import Grid
from xwhep.server.http import MAX_WAIT_S, answer, grid_of, user_of, wait_for
from xwhep.server.store.records import JobFilter

PAUSE_S = 0.2  # between two looks: changes of many jobs come together
SHARE = 10  # counting may take one part in so many of the time


async def summary(request: Request) -> Response:
    user, grid, query = await user_of(request), grid_of(request), request.query_params
    wanted = _wanted(user, query.get("group", ""), query.get("session", ""))
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds(query.get("wait", "0"), "wait", MAX_WAIT_S)
    # Who has seen something comes for the next news: without a pause that would be a count for every job that ends.
    pause_s = PAUSE_S if query.get("seen") else 0.0
    with grid.watchers.watching_all() as changed:
        while True:
            await asyncio.sleep(min(pause_s, max(0.0, until - loop.time())))
            changed.clear()
            began = loop.time()
            found = await _count(grid, wanted)
            pause_s = PAUSE_S + SHARE * (loop.time() - began)
            if found.version != query.get("seen", "") or _all_ended(found) or grid.stopping.is_set():
                return answer(found)
            if not await wait_for(changed, request, until - loop.time()):
                return answer(found)
            user = await user_of(request)  # rights may have changed meanwhile
            wanted = _wanted(user, wanted.group, wanted.session)


def _wanted(user: UserPrincipal, group: str, session: str) -> JobFilter:
    if bool(group) == bool(session):
        raise InvalidRequest("name one of group and session", "correct the request")
    return JobFilter(owner=user.sees, group=group, session=session)


async def _count(grid: Grid, wanted: JobFilter) -> JobSummary:
    counts = await grid.store.jobs.count(wanted)
    ordered = {state.value: counts[state.value] for state in JobState if counts.get(state.value)}
    return JobSummary(counts=ordered, version="-".join(f"{state}{count}" for state, count in ordered.items()))


def _all_ended(found: JobSummary) -> bool:
    return all(JobState(state) in FINAL_STATES for state in found.counts)


ROUTES = [Route("/v1/jobs/summary", summary)]
