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
    Lease,
    Leave,
    Running,
    WorkRequest,
)
from xwhep.common.wire_bulk import MAX_LEASES, Leases
from xwhep.server.auth import WorkerPrincipal
from xwhep.server.checks import check_attempt, check_machine, refuse, seconds
from xwhep.server.grid import Grid
from xwhep.server.http import MAX_WAIT_S, answer, body_of, grid_of, no_content, user_of, wait_for, worker_of
from xwhep.server.logs import log_event, log_events
from xwhep.server.matching import Candidate, binary_for
from xwhep.server.rights import may_see_worker
from xwhep.server.rotation import offer_token
from xwhep.server.routes.fixed import FixedPost
from xwhep.server.scheduler import Waiting
from xwhep.server.store.records import Attempt, LeasedJob, LeaseWish

MAX_RUNNING = 4096


async def request_work(request: Request) -> Response:
    leases = await _leases(request, 1)
    return answer(leases[0]) if leases else no_content()


async def lease_many(request: Request) -> Response:
    leases = await _leases(request, MAX_LEASES)
    return answer(Leases(leases=leases)) if leases else no_content()


async def _leases(request: Request, most: int) -> list[Lease]:
    """Jobs for the worker's free slots, at most `most`; waits for the first as long as the worker allows."""
    worker, grid = await worker_of(request), grid_of(request)
    wish = await body_of(request, WorkRequest)
    check_machine(wish.machine)
    until = asyncio.get_running_loop().time() + seconds(str(wish.wait_s), "wait_s", MAX_WAIT_S)
    grid.fleet.announce(worker.id, worker.name, wish.machine, worker.service)
    if wish.slots < 1:
        return []
    service = worker.service
    candidate = Candidate(
        id=worker.id, name=worker.name, machine=wish.machine, group=service.group, serves=service.serves
    )
    with grid.fleet.parked(worker.id), grid.dispatcher.waiting(candidate) as waiting:
        while not grid.stopping.is_set():
            woken_for = waiting.sleep()
            if leased := await _try_lease(grid, worker, (waiting, min(wish.slots, most))):
                return [_lease(grid, each, wish) for each in leased]
            if woken_for and await grid.store.jobs.kind_waits(woken_for):
                grid.dispatcher.pass_on(waiting, woken_for)
            if not await wait_for(waiting.woken, request, until - asyncio.get_running_loop().time()):
                break
            if not grid.fleet.hears(worker.id):
                break  # a job would be lent into a cut line; whoever is there asks again
            if (await worker_of(request)).service != worker.service:
                break  # others' jobs from now on: it asks again
    return []


async def _try_lease(grid: Grid, worker: WorkerPrincipal, asks: tuple[Waiting, int]) -> list[LeasedJob]:
    waiting, slots = asks
    kinds = grid.kinds.fitting(waiting.candidate)
    pending = await grid.store.jobs.count_waiting(kinds, grid.dispatcher.enough_for(slots)) if kinds else 0
    if not pending:
        return []
    leased = await grid.store.jobs.lease(
        LeaseWish(
            worker_id=worker.id,
            worker_name=worker.name,
            kinds=kinds,
            user=worker.service.owner,
            until=grid.clock() + grid.pace.lease_s,
            most=grid.dispatcher.share(pending, slots),
            wall_clock_s=grid.settings.wall_clock_hours * 3600,
            margin_s=grid.settings.overrun_seconds,
        )
    )
    log_events("job leased", ({"job": each.id, "attempt": each.attempt, "worker": worker.name} for each in leased))
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
            if may_see_worker(user, record.service)
        ]
    )


ROUTES = [
    FixedPost("/v1/worker/request", request_work),
    FixedPost("/v1/worker/leases", lease_many),
    FixedPost("/v1/worker/heartbeat", heartbeat),
    FixedPost("/v1/worker/leave", leave),
    Route("/v1/workers", list_workers),
]
