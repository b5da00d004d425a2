"""Jobs, for those who submit them."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import InvalidRequest, NotAllowed
from xwhep.common.wire import FINAL_STATES, Datum, Job, JobSpec, JobState, LeasedDatum
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import check_job, refuse, seconds, whole_number
from xwhep.server.discretion import told
from xwhep.server.explain import Standing, explain, known_lacks, obstacles
from xwhep.server.grid import Grid
from xwhep.server.http import MAX_WAIT_S, answer, body_of, grid_of, no_content, user_of, wait_for
from xwhep.server.logs import log_event
from xwhep.server.rights import Right, account_for, find_app, find_datum, find_job
from xwhep.server.store.records import Inputs, JobFilter, NewJob

DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000


async def submit(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, JobSpec)
    check_job(spec)
    app = await find_app(grid, user, spec.app, Right.EXECUTE)
    check_owner_group(user, spec)
    inputs = await resolve(grid, user, spec)
    new = NewJob(owner=user.login, app_id=app.id, spec=spec, inputs=inputs, key=spec.key)
    job = await grid.store.jobs.submit(new)
    log_event("job submitted", job=job.id, app=app.name, user=user.login)
    return answer(job)


def check_owner_group(user: UserPrincipal, spec: JobSpec) -> None:
    """Raises: NotAllowed: the job is to belong to a group that its owner is not in."""
    if spec.owner_group and not user.is_admin and spec.owner_group not in user.groups:
        raise NotAllowed(f"you are not in a group {spec.owner_group}", "choose a group of yours")


async def resolve(grid: Grid, user: UserPrincipal, spec: JobSpec) -> Inputs:
    stdin = _leased(await find_datum(grid, user, spec.stdin)) if spec.stdin else None
    data = [_leased(await find_datum(grid, user, name)) for name in spec.data]
    data += [_leased(await find_datum(grid, user, name), path) for path, name in spec.files.items()]
    for datum in (*data, *([stdin] if stdin else [])):
        grid.blobs.note_use(datum.sha256)  # the datum may be removed before the job is made
    names = [datum.name for datum in data]
    refuse(len(set(names)) < len(names), "two data of the job have the same name")
    return Inputs(stdin=stdin, data=data)


def _leased(datum: Datum, path: str = "") -> LeasedDatum:
    return LeasedDatum(name=path or datum.name, sha256=datum.sha256, size=datum.size)


async def list_jobs(request: Request) -> Response:
    user = await user_of(request)
    query = request.query_params
    wanted = JobFilter(
        owner=user.sees,
        owner_groups=user.groups,
        state=_state(query.get("state", "")),
        group=query.get("group", ""),
        session=query.get("session", ""),
        label=query.get("label", ""),
        before=query.get("before", ""),
        limit=whole_number(query.get("limit", str(DEFAULT_LIMIT)), "limit", MAX_LIMIT),
    )
    grid = grid_of(request)
    return answer(await told(grid, user, await grid.store.jobs.jobs(wanted)))


def _state(text: str) -> str:
    try:
        return JobState(text).value if text else ""
    except ValueError:
        known = ", ".join(state.value for state in JobState)
        raise InvalidRequest(f"{text[:50]!r} is no state of a job", f"states are: {known}") from None


async def show(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    job_id, query = request.path_params["id"], request.query_params
    seen = whole_number(query.get("seen", "0"), "seen", 2**62)
    until = asyncio.get_running_loop().time() + seconds(query.get("wait", "0"), "wait", MAX_WAIT_S)
    with grid.watchers.watching(job_id) as changed:
        job = await find_job(grid, user, job_id)
        while job.revision <= seen and job.state not in FINAL_STATES:
            if not await wait_for(changed, request, until - asyncio.get_running_loop().time()):
                break
            changed.clear()
            user = await user_of(request)  # rights may have changed meanwhile
            job = await find_job(grid, user, job_id)
            if grid.stopping.is_set():
                break
    return answer((await told(grid, user, [job]))[0])


async def cancel(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    await find_job(grid, user, request.path_params["id"], Right.WRITE)
    job = await grid.store.jobs.cancel(request.path_params["id"])
    await account_for(grid, user, job.owner, ("job cancel", job.id))
    log_event("job cancelled", job=job.id, attempt=job.attempt, user=user.login)
    return answer((await told(grid, user, [job]))[0])


async def explain_job(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    job = await find_job(grid, user, request.path_params["id"])
    standings = await _standings(grid, job) if job.state is JobState.PENDING else []
    return answer(explain((await told(grid, user, [job]))[0], standings))


async def _standings(grid: Grid, job: Job) -> list[Standing]:
    kinds = await grid.store.jobs.kind_of_job(job.id)
    records = {record.id: record for record in await grid.store.people.workers()}
    return [
        Standing(
            lacks=known_lacks(
                *obstacles(records.get(worker.id), grid.clock()), *grid.kinds.shortfalls(kinds[0], worker)
            ),
            free=grid.fleet.has_free_slot(worker.id),
        )
        for worker in grid.fleet.live()
        if kinds
    ]


async def delete(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    job = await find_job(grid, user, request.path_params["id"], Right.WRITE)
    await grid.store.jobs.delete(job.id)
    await account_for(grid, user, job.owner, ("job delete", job.id))
    log_event("job deleted", job=job.id, user=user.login)
    return no_content()


ROUTES = [
    Route("/v1/jobs", submit, methods=["POST"]),
    Route("/v1/jobs/{id}", show),
    Route("/v1/jobs", list_jobs),
    Route("/v1/jobs/{id}/explain", explain_job),
    Route("/v1/jobs/{id}/cancel", cancel, methods=["POST"]),
    Route("/v1/jobs/{id}", delete, methods=["DELETE"]),
]
