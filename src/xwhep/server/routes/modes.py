"""Modes: who may do what with an app, a datum or a job. Only its owner and administrators change them."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import NotAllowed
from xwhep.common.wire import Mode
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import check_name, refuse
from xwhep.server.grid import Grid
from xwhep.server.http import answer, body_of, grid_of, user_of
from xwhep.server.logs import log_event
from xwhep.server.rights import Owned, Right, find_app, find_datum, find_job
from xwhep.server.routes.assets import with_workers
from xwhep.server.store.identity_records import Act, ModeChange


async def _mode_of(request: Request) -> Mode:
    mode = await body_of(request, Mode)
    refuse(not 0 <= mode.mode <= 0o777, "a mode is between 0 and 0777")
    if mode.group:
        check_name(mode.group, "the group")
    return mode


def _change(user: UserPrincipal, thing: Owned, mode: Mode) -> tuple[int, str]:
    """The mode and group to be. Raises: NotAllowed: a group that the owner is not in."""
    group = thing.group if mode.group is None else mode.group
    if mode.group and not user.is_admin and group not in user.groups:
        raise NotAllowed(f"you are not in a group {group}", "choose a group of yours, see: xw admin group list")
    return mode.mode, group


async def _save(grid: Grid, user: UserPrincipal, thing: Owned, change: ModeChange) -> None:
    detail = f"{change.kind} of {thing.owner}: {thing.mode:04o} {thing.group} -> {change.mode:04o} {change.group}"
    act = Act(who=user.login, act="mode", subject=change.id, detail=detail)
    await grid.store.identity.set_mode(change, None if thing.owner == user.login else act)
    log_event("mode changed", kind=change.kind, id=change.id, mode=f"{change.mode:04o}", user=user.login)


async def app_mode(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    app = await find_app(grid, user, request.path_params["name"], Right.CHANGE_MODE)
    thing = Owned(owner=app.owner, group=app.group, mode=app.mode)
    mode, group = _change(user, thing, await _mode_of(request))
    await _save(grid, user, thing, ModeChange(kind="app", id=app.id, mode=mode, group=group))
    app = msgspec.structs.replace(app, mode=mode, group=group)
    grid.catalogue.put(app)
    return answer(with_workers(grid, user, app))


async def datum_mode(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    datum = await find_datum(grid, user, request.path_params["name"], Right.CHANGE_MODE)
    thing = Owned(owner=datum.owner, group=datum.group, mode=datum.mode)
    mode, group = _change(user, thing, await _mode_of(request))
    await _save(grid, user, thing, ModeChange(kind="datum", id=datum.id, mode=mode, group=group))
    return answer(msgspec.structs.replace(datum, mode=mode, group=group))


async def job_mode(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    job = await find_job(grid, user, request.path_params["id"], Right.CHANGE_MODE)
    thing = Owned(owner=job.owner, group=job.owner_group, mode=job.mode)
    mode, group = _change(user, thing, await _mode_of(request))
    await _save(grid, user, thing, ModeChange(kind="job", id=job.id, mode=mode, group=group))
    return answer(await grid.store.jobs.job(job.id))


ROUTES = [
    Route("/v1/apps/{name}/mode", app_mode, methods=["POST"]),
    Route("/v1/data/{name}/mode", datum_mode, methods=["POST"]),
    Route("/v1/jobs/{id}/mode", job_mode, methods=["POST"]),
]
