"""Work, for those who do it; and the list of them."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.wire import (
    Ack,
    Heartbeat,
    HeartbeatReply,
    JobResult,
    Lease,
    Leave,
    Running,
    WorkRequest,
    WorkResult,
)
from xwhep.server.auth import WorkerPrincipal
from xwhep.server.checks import check_attempt, check_machine, check_result, refuse, seconds
from xwhep.server.grid import Grid
from xwhep.server.http import MAX_WAIT_S, answer, body_of, grid_of, no_content, user_of, wait_for, worker_of
from xwhep.server.logs import log_event
from xwhep.server.matching import Candidate, binary_for
from xwhep.server.possession import check_held
from xwhep.server.rotation import offer_token
from xwhep.server.scheduler import Waiting
from xwhep.server.store.records import REFUSED, Attempt, Delivery, LeasedJob, LeaseWish, LossRule

MAX_RUNNING = 4096


async def request_work(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    wish = await body_of(request, WorkRequest)
    check_machine(wish.machine)
    until = asyncio.get_running_loop().time() + seconds(str(wish.wait_s), "wait_s", MAX_WAIT_S)
    grid.fleet.announce(worker.id, worker.name, wish.machine, worker.service)
    if wish.slots < 1:
        return no_content()
    service = worker.service
    candidate = Candidate(
        id=worker.id, name=worker.name, machine=wish.machine, group=service.group, serves=service.serves
    )
    with grid.fleet.parked(worker.id), grid.dispatcher.waiting(candidate) as waiting:
        while not grid.stopping.is_set():
            woken_for = waiting.sleep()
            if (leased := await _try_lease(grid, worker, waiting)) is not None:
                return answer(_lease(grid, leased, wish))
            if woken_for and await grid.store.jobs.kind_waits(woken_for):
                grid.dispatcher.pass_on(waiting, woken_for)
            if not await wait_for(waiting.woken, request, until - asyncio.get_running_loop().time()):
                break
            if (await worker_of(request)).service != worker.service:
                break  # others' jobs from now on: it asks again
    return no_content()


async def _try_lease(grid: Grid, worker: WorkerPrincipal, waiting: Waiting) -> LeasedJob | None:
    kinds = grid.kinds.fitting(waiting.candidate)
    if not kinds:
        return None
    leased = await grid.store.jobs.lease(
        LeaseWish(
            worker_id=worker.id,
            worker_name=worker.name,
            kinds=kinds,
            user=worker.service.owner,
            until=grid.clock() + grid.pace.lease_s,
            wall_clock_s=grid.settings.wall_clock_hours * 3600,
            margin_s=grid.settings.overrun_seconds,
        )
    )
    if leased is not None:
        log_event("job leased", job=leased.id, attempt=leased.attempt, worker=worker.name)
    return leased


def _lease(grid: Grid, leased: LeasedJob, wish: WorkRequest) -> Lease:
    app = grid.catalogue.get(leased.app_id)
    return Lease(
        job_id=leased.id,
        attempt=leased.attempt,
        until=leased.until,
        heartbeat_s=grid.pace.heartbeat_s,
        app=app.name,
        args=leased.spec.args,
        env=leased.spec.env,
        binary=binary_for(app, wish.machine),
        shared=app.shared,
        stdin=leased.inputs.stdin,
        data=leased.inputs.data,
        wall_clock_s=leased.wall_clock_s,
    )


def _attempts(worker: WorkerPrincipal, running: list[Running]) -> list[Attempt]:
    refuse(len(running) > MAX_RUNNING, f"a worker runs at most {MAX_RUNNING} jobs")
    for one in running:
        check_attempt(one.attempt)
    return [Attempt(job_id=one.job_id, number=one.attempt, worker_id=worker.id) for one in running]


async def heartbeat(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    attempts = _attempts(worker, (await body_of(request, Heartbeat)).running)
    grid.fleet.seen(worker.id)
    stale: list[Attempt] = []
    if attempts:
        stale = await grid.store.jobs.renew(attempts, grid.clock() + grid.pace.lease_s)
    stop = [Running(job_id=attempt.job_id, attempt=attempt.number) for attempt in stale]
    watched = [
        Running(job_id=attempt.job_id, attempt=attempt.number)
        for attempt in attempts
        if grid.outputs.is_watched(attempt.job_id) and attempt not in stale
    ]
    token = await offer_token(grid, worker)
    return answer(HeartbeatReply(heartbeat_s=grid.pace.heartbeat_s, stop=stop, watched=watched, token=token))


async def deliver(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    given = await body_of(request, WorkResult)
    check_attempt(given.attempt)
    check_result(given.result)
    for file in (given.result.stdout, given.result.stderr, *given.result.files):
        await check_held(grid, worker.holder, file.sha256, file.size)
    grid.fleet.seen(worker.id)
    attempt = Attempt(job_id=given.job_id, number=given.attempt, worker_id=worker.id)
    rule = await _rule(grid, attempt, given.result)
    job = await grid.store.jobs.finish(Delivery(attempt=attempt, result=given.result, rule=rule))
    log_event("job ended", job=job.id, attempt=job.attempt, state=job.state.value, worker=worker.name)
    return answer(Ack())


async def _rule(grid: Grid, attempt: Attempt, result: JobResult) -> LossRule:
    """What becomes of the job should the worker not have been able to run it."""
    kinds = await grid.store.jobs.kind_of_job(attempt.job_id) if result.reason.startswith(REFUSED) else []
    return grid.retries.rule(kinds[0].id, attempt.worker_id) if kinds else grid.retries.plain_rule()


async def leave(request: Request) -> Response:
    worker, grid = await worker_of(request), grid_of(request)
    attempts = _attempts(worker, (await body_of(request, Leave)).running)
    returned = await grid.store.people.worker_left(worker.id, attempts)
    grid.fleet.forget(worker.id)
    for attempt in returned:
        log_event("job handed back", job=attempt.job_id, attempt=attempt.number, worker=worker.name)
    log_event("worker left", worker=worker.name)
    return answer(Ack())


async def list_workers(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    return answer(
        [
            grid.fleet.view(record, [job_id for job_id, owner in record.running if user.sees in ("", owner)])
            for record in await grid.store.people.workers()
        ]
    )


ROUTES = [
    Route("/v1/worker/request", request_work, methods=["POST"]),
    Route("/v1/worker/heartbeat", heartbeat, methods=["POST"]),
    Route("/v1/worker/result", deliver, methods=["POST"]),
    Route("/v1/worker/leave", leave, methods=["POST"]),
    Route("/v1/workers", list_workers),
]
