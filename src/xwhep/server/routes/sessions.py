"""What anyone may ask, and how strangers become users and workers."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from xwhep.common.version import VERSION
from xwhep.common.wire import Enrol, Enrolled, Health, Login, User
from xwhep.server.checks import LOGIN, check_machine, check_name, refuse
from xwhep.server.http import address_of, answer, body_of, grid_of, user_of
from xwhep.server.identity import MAX_PASSWORD, WORKER_TOKEN, new_token, token_hash
from xwhep.server.logs import log_event
from xwhep.server.store.records import NewWorker


async def health(request: Request) -> Response:
    return answer(Health(status="ok", version=VERSION))


async def authority(request: Request) -> Response:
    return PlainTextResponse(grid_of(request).secrets.ca_pem)


async def login(request: Request) -> Response:
    given = await body_of(request, Login)
    refuse(len(given.password) > MAX_PASSWORD or not LOGIN.fullmatch(given.login), "this cannot be a login")
    session = await grid_of(request).door.login(given.login, given.password, address_of(request))
    log_event("login", login=given.login, address=address_of(request))
    return answer(session)


async def enrol(request: Request) -> Response:
    grid, given = grid_of(request), await body_of(request, Enrol)
    join_id, service = await grid.door.join(given.join_token, address_of(request))
    check_name(given.name, "the worker name")
    check_machine(given.machine)
    worker_id, token = secrets.token_hex(8), new_token(WORKER_TOKEN)
    await grid.store.people.enrol(
        NewWorker(
            id=worker_id,
            name=given.name,
            token_hash=token_hash(token),
            machine=given.machine,
            service=service,
            join_id=join_id,
        )
    )
    log_event("worker enrolled", worker=given.name, id=worker_id, address=address_of(request))
    return answer(Enrolled(worker_id=worker_id, token=token, heartbeat_s=grid.pace.heartbeat_s))


async def me(request: Request) -> Response:
    user = await user_of(request)
    return answer(User(login=user.login, role=user.role, groups=sorted(user.groups)))


ROUTES = [
    Route("/healthz", health),
    Route("/v1/ca", authority),
    Route("/v1/login", login, methods=["POST"]),
    Route("/v1/enrol", enrol, methods=["POST"]),
    Route("/v1/me", me),
]
