"""Many jobs at once: submitted in one transaction, cancelled and deleted by what they share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import InvalidRequest, XwhepError
from xwhep.common.wire import MAX_BATCH, MAX_BATCH_BYTES, App, CancelSpec, DeleteSpec, JobBatch, JobIds, JobSpec
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import check_job, check_key, refuse
from xwhep.server.grid import Grid
from xwhep.server.http import answer, body_of, bytes_of, grid_of, parsed, user_of
from xwhep.server.logs import log_event
from xwhep.server.rights import Right, find_app, find_job
from xwhep.server.routes.jobs import check_owner_group, resolve
from xwhep.server.store.identity_records import Act
from xwhep.server.store.records import Inputs, JobFilter, NewJob

MAX_NAMED = 10_000
TURN = 500  # jobs looked up between two looks at other requests


async def submit_batch(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    body = await bytes_of(request, MAX_BATCH_BYTES)
    batch = await asyncio.to_thread(_checked, bytes(body))
    del body
    looked_up = _LookUps(grid=grid, user=user, key=batch.key)
    jobs = []
    for number, spec in enumerate(batch.jobs):
        try:
            jobs.append(await looked_up.new_job(spec))
        except XwhepError as error:
            raise _numbered(error, number) from error
        if number % TURN == TURN - 1:
            await asyncio.sleep(0)
    ids = await grid.store.jobs.submit_many(jobs)
    log_event("jobs submitted", jobs=len(ids), user=user.login)
    return answer(JobIds(ids=ids))


def _checked(body: bytes) -> JobBatch:
    """In a thread: a hundred thousand jobs take a second."""
    batch = parsed(body, JobBatch)
    refuse(not 1 <= len(batch.jobs) <= MAX_BATCH, f"a batch has 1 to {MAX_BATCH} jobs")
    check_key(batch.key)
    for number, spec in enumerate(batch.jobs):
        try:
            check_job(spec)
            refuse(bool(spec.key), "a job of a batch has no key of its own")
        except XwhepError as error:
            raise _numbered(error, number) from error
    replicas = sum(spec.replicas for spec in batch.jobs if spec.replicas > 1)
    refuse(replicas > MAX_BATCH, f"a batch has at most {MAX_BATCH} replicas")
    return batch


def _numbered(error: XwhepError, number: int) -> XwhepError:
    """The same error, saying which job it is about."""
    return type(error)(f"job {number} of the batch: {error}", error.next_step)


@dataclass(kw_only=True)
class _LookUps:
    """What the jobs of a batch name, looked up once for all of them."""

    grid: Grid
    user: UserPrincipal
    key: str
    apps: dict[str, App] = field(default_factory=dict)
    inputs: dict[tuple[str, ...], Inputs] = field(default_factory=dict)

    async def new_job(self, spec: JobSpec) -> NewJob:
        check_owner_group(self.user, spec)
        if spec.app not in self.apps:
            self.apps[spec.app] = await find_app(self.grid, self.user, spec.app, Right.EXECUTE)
        names = (spec.stdin, *spec.data, "", *(word for pair in spec.files.items() for word in pair))
        if names not in self.inputs:
            self.inputs[names] = await resolve(self.grid, self.user, spec)
        app_id, inputs = self.apps[spec.app].id, self.inputs[names]
        return NewJob(owner=self.user.login, app_id=app_id, spec=spec, inputs=inputs, key=self.key)


async def cancel_batch(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, CancelSpec)
    _check_selection(spec)
    ids = await grid.store.jobs.cancel_many(await _meant(grid, user, spec))
    await _account_for(grid, user, spec, ("job cancel", ids))
    log_event("jobs cancelled", jobs=len(ids), user=user.login)
    return answer(JobIds(ids=ids))


async def delete_batch(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, DeleteSpec)
    _check_selection(spec)
    if spec.ids:
        ids = await grid.store.jobs.delete_many(await _meant(grid, user, spec))
    else:
        wanted = JobFilter(owner=user.sees, group=spec.group, session=spec.session)
        ids = await grid.store.jobs.delete_together(wanted)
    await _account_for(grid, user, spec, ("job delete", ids))
    log_event("jobs deleted", jobs=len(ids), user=user.login)
    return answer(JobIds(ids=ids))


def _check_selection(spec: CancelSpec) -> None:
    if sum(map(bool, (spec.group, spec.session, spec.ids))) != 1:
        raise InvalidRequest("name one of group, session and ids", "correct the request")
    refuse(len(spec.ids) > MAX_NAMED, f"at most {MAX_NAMED} jobs are named at once by their ids")


async def _account_for(grid: Grid, user: UserPrincipal, spec: CancelSpec, done: tuple[str, list[str]]) -> None:
    """`done` is (act, ids of the jobs): whose they were is not looked up, so an administrator's own are noted too."""
    act, ids = done
    if user.is_admin and ids:
        named = f"group {spec.group}" if spec.group else f"session {spec.session}" if spec.session else ids[0]
        await grid.store.identity.note(Act(who=user.login, act=act, subject=named, detail=f"{len(ids)} jobs"))


async def _meant(grid: Grid, user: UserPrincipal, spec: CancelSpec) -> list[str]:
    """Raises: NotFound, NotAllowed: one of the ids is no job that the user may stop or delete; then none is."""
    if not spec.ids:
        return await grid.store.jobs.open_ids(JobFilter(owner=user.sees, group=spec.group, session=spec.session))
    for job_id in spec.ids:
        await find_job(grid, user, job_id, Right.WRITE)
    return spec.ids


ROUTES = [
    Route("/v1/jobs/bulk", submit_batch, methods=["POST"]),
    Route("/v1/jobs/cancel", cancel_batch, methods=["POST"]),
    Route("/v1/jobs/delete", delete_batch, methods=["POST"]),
]
