"""Tokens: seen, revoked, rotated; and whose jobs a worker runs."""

from __future__ import annotations

import math
import secrets

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.durable import write_private
from xwhep.common.errors import NotAllowed, NotFound
from xwhep.common.wire import Ack, JoinSpec, JoinToken, Worker, WorkerChange
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import check_name, refuse
from xwhep.server.grid import Grid
from xwhep.server.http import answer, body_of, grid_of, no_content, user_of
from xwhep.server.identity import JOIN_TOKEN, new_token, token_hash
from xwhep.server.logs import log_event
from xwhep.server.rights import may_see_worker
from xwhep.server.routes.administration import admin_of, check_login
from xwhep.server.state import StateFolder
from xwhep.server.store.identity_records import DEPLOYMENT, PUBLIC, Act, JoinRecord, Service

VISIBILITIES = ("public", "group", "private")
MAX_VALID_S = 10 * 365 * 86400.0


async def list_tokens(request: Request) -> Response:
    user = await user_of(request)
    everyone = request.query_params.get("all", "") in ("1", "true")
    if everyone and not user.is_admin:
        raise NotAllowed("only administrators see everyone's tokens", "leave the all away")
    current = token_hash(request.headers["authorization"].partition(" ")[2])
    return answer(await grid_of(request).store.tokens.tokens("" if everyone else user.login, current))


async def revoke_token(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    token_id = request.path_params["id"]
    if token_id == DEPLOYMENT and user.is_admin:
        await _replace_deployment(grid, user)  # there is always one, so that join-line has something to print
        return no_content()
    revoked = await grid.store.tokens.revoke(token_id, user.sees, user.login)
    if revoked.kind == "session":
        grid.auth.forget_user(revoked.subject)
    elif revoked.kind == "worker":
        grid.fleet.forget(revoked.id)
        grid.auth.forget_worker(revoked.id)
    log_event("token revoked", kind=revoked.kind, id=revoked.id, subject=revoked.subject, user=user.login)
    return no_content()


async def add_join_token(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, JoinSpec)
    _check_join(user, spec)
    if spec.replace:
        return answer(await _replace_deployment(grid, user))
    token = JoinToken(
        id=secrets.token_hex(8),
        token=new_token(JOIN_TOKEN),
        expires_at=grid.clock() + spec.valid_s if spec.valid_s else 0.0,
    )
    service = Service(visibility=spec.visibility, owner=spec.owner, group=spec.group)
    record = JoinRecord(id=token.id, token_hash=token_hash(token.token), service=service, expires_at=token.expires_at)
    detail = f"{spec.visibility} {spec.owner} {spec.group}".strip()
    await grid.store.tokens.add_join(record, Act(who=user.login, act="join token", subject=token.id, detail=detail))
    return answer(token)


def _check_join(user: UserPrincipal, spec: JoinSpec) -> None:
    _check_service(spec.visibility, spec.group)
    refuse(not 0 <= spec.valid_s <= MAX_VALID_S or not math.isfinite(spec.valid_s), "valid_s is out of range")
    refuse(spec.visibility == "private" and not spec.owner, "a private worker needs an owner")
    refuse(
        spec.replace and (spec.visibility, spec.owner, spec.valid_s) != ("public", "", 0.0),
        "the deployment's own join token is public, has no owner and does not expire",
    )
    if spec.owner:
        check_login(spec.owner)
    if not user.is_admin and (spec.replace or (spec.visibility, spec.owner) != ("private", user.login)):
        raise NotAllowed("you may add private workers of your own only", f"ask for private and owner {user.login}")


def _check_service(visibility: str, group: str) -> None:
    refuse(visibility not in VISIBILITIES, f"visibility is one of {', '.join(VISIBILITIES)}")
    refuse(visibility == "group" and not group, "a group worker needs a group")
    if group:
        check_name(group, "the group")


async def _replace_deployment(grid: Grid, user: UserPrincipal) -> JoinToken:
    token = JoinToken(id=DEPLOYMENT, token=new_token(JOIN_TOKEN))
    # The file first: after a crash in between, the start takes the file's for the right one.
    write_private(StateFolder(path=grid.settings.state).join_token, f"{token.token}\n".encode())
    record = JoinRecord(id=DEPLOYMENT, token_hash=token_hash(token.token), service=PUBLIC)
    await grid.store.tokens.add_join(record, Act(who=user.login, act="join token rotate", subject=DEPLOYMENT))
    log_event("join token replaced", user=user.login)
    return token


async def change_worker(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    worker_id, change = request.path_params["id"], await body_of(request, WorkerChange)
    old = await _controlled(grid, user, worker_id)
    service = Service(
        visibility=change.visibility or old.visibility,
        group=old.group if change.group is None else change.group,
        owner=old.owner,
        draining=old.draining if change.draining is None else change.draining,
    )
    _check_service(service.visibility, service.group)
    refuse(service.visibility == "private" and not service.owner, "it has no owner whose it could be")
    if not user.is_admin and service.visibility == "group" and service.group not in user.groups:
        raise NotAllowed(f"you are not in a group {service.group}", "choose a group of yours")
    detail = f"{old.visibility} {old.group} -> {service.visibility} {service.group}".rstrip()
    detail += ", draining" if service.draining else ""
    act = Act(who=user.login, act="worker change", subject=worker_id, detail=detail)
    await grid.store.tokens.change_worker(worker_id, service, act)
    grid.auth.forget_worker(worker_id)
    return answer(await _view(grid, user, worker_id))


async def _controlled(grid: Grid, user: UserPrincipal, worker_id: str) -> Service:
    """Raises: NotFound: none, or none to be seen; NotAllowed: neither its owner nor an administrator."""
    service = await grid.store.tokens.service(worker_id)
    if not may_see_worker(user, service):
        raise _unknown_worker(worker_id)
    if not (user.is_admin or (service.owner and service.owner == user.login)):
        raise NotAllowed("this is for the worker's owner and administrators", "ask one of them")
    return service


def _unknown_worker(worker_id: str) -> NotFound:
    return NotFound(f"there is no worker {worker_id}", "list them with: xw worker list")


async def _view(grid: Grid, user: UserPrincipal, worker_id: str) -> Worker:
    for record in await grid.store.people.workers():
        if record.id == worker_id:
            return grid.fleet.view(record, [job for job, owner in record.running if user.sees in ("", owner)])
    raise _unknown_worker(worker_id)


async def rotate_worker(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    worker_id = request.path_params["id"]
    await _controlled(grid, user, worker_id)
    await grid.store.tokens.rotate(worker_id, Act(who=user.login, act="worker rotate", subject=worker_id))
    return answer(Ack())


async def unquarantine_worker(request: Request) -> Response:
    """Not for its owner: who lends a broken machine does not decide that it is mended."""
    admin, grid = await admin_of(request), grid_of(request)
    worker_id = request.path_params["id"]
    act = Act(who=admin.login, act="worker unquarantine", subject=worker_id)
    await grid.store.tokens.unquarantine(worker_id, act)
    grid.auth.forget_worker(worker_id)  # it may be waiting for a job right now
    return answer(await _view(grid, admin, worker_id))


ROUTES = [
    Route("/v1/tokens", list_tokens),
    Route("/v1/tokens/join", add_join_token, methods=["POST"]),
    Route("/v1/tokens/{id}", revoke_token, methods=["DELETE"]),
    Route("/v1/workers/{id}", change_worker, methods=["POST"]),
    Route("/v1/workers/{id}/rotate", rotate_worker, methods=["POST"]),
    Route("/v1/workers/{id}/unquarantine", unquarantine_worker, methods=["POST"]),
]
