"""Apps and data."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import NotAllowed
from xwhep.common.wire import App, AppSpec, DatumSpec
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import check_app, check_datum
from xwhep.server.grid import Grid
from xwhep.server.http import answer, body_of, grid_of, no_content, user_of
from xwhep.server.logs import log_event
from xwhep.server.possession import check_held
from xwhep.server.rights import Right, account_for, find_app, find_datum, may_app, may_see_worker
from xwhep.server.signatures import check_signatures


def with_workers(grid: Grid, user: UserPrincipal, app: App) -> App:
    if not app.shared:
        return app
    names = grid.fleet.names_running(app, lambda service: may_see_worker(user, service))
    return msgspec.structs.replace(app, workers=names)


async def list_apps(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    apps = await grid.store.assets.apps()
    return answer([with_workers(grid, user, app) for app in apps if may_app(user, app, Right.READ)])


async def show_app(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    return answer(with_workers(grid, user, await find_app(grid, user, request.path_params["name"])))


async def save_app(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, AppSpec)
    check_app(spec)
    if any(binary.signature or binary.signer for binary in spec.binaries):
        await asyncio.to_thread(check_signatures, spec)
    known = await grid.store.assets.app(spec.name)
    if known is not None and not may_app(user, known, Right.READ):
        raise NotAllowed(f"the name {spec.name} is not to be had", "choose another name")
    if known is not None and not may_app(user, known, Right.WRITE):
        raise NotAllowed(f"the app {spec.name} belongs to {known.owner}", "choose another name")
    for binary in spec.binaries:
        await check_held(grid, user.holder, binary.sha256, binary.size)
    app = await grid.store.assets.save_app(user.login, spec)
    await account_for(grid, user, app.owner, ("app change", app.name))
    grid.catalogue.put(app)
    await grid.dispatcher.wake_for_pending(grid.store)  # a new binary may fit a job that waits
    log_event("app changed" if known else "app registered", app=app.name, user=user.login)
    return answer(with_workers(grid, user, app))


async def remove_app(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    app = await find_app(grid, user, request.path_params["name"], Right.REMOVE)
    await grid.store.assets.remove_app(app)
    await account_for(grid, user, app.owner, ("app remove", app.name))
    log_event("app removed", app=app.name, user=user.login)
    return no_content()


async def list_data(request: Request) -> Response:
    user = await user_of(request)
    everything = request.query_params.get("all", "") in ("1", "true")
    return answer(await grid_of(request).store.assets.data(user.sees, user.groups, for_jobs=everything))


async def add_datum(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, DatumSpec)
    check_datum(spec)
    await check_held(grid, user.holder, spec.sha256, spec.size)
    datum = await grid.store.assets.add_datum(user.login, spec)
    log_event("datum registered", datum=datum.name, user=user.login, size=datum.size)
    return answer(datum)


async def show_datum(request: Request) -> Response:
    user = await user_of(request)
    return answer(await find_datum(grid_of(request), user, request.path_params["name"]))


async def remove_datum(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    datum = await find_datum(grid, user, request.path_params["name"], Right.REMOVE)
    await grid.store.assets.remove_datum(datum)
    await account_for(grid, user, datum.owner, ("datum remove", datum.name))
    log_event("datum removed", datum=datum.name, id=datum.id, user=user.login)
    return no_content()


ROUTES = [
    Route("/v1/apps", list_apps),
    Route("/v1/apps", save_app, methods=["POST"]),
    Route("/v1/apps/{name}", show_app),
    Route("/v1/apps/{name}", remove_app, methods=["DELETE"]),
    Route("/v1/data", list_data),
    Route("/v1/data", add_datum, methods=["POST"]),
    Route("/v1/data/{name}", show_datum),
    Route("/v1/data/{name}", remove_datum, methods=["DELETE"]),
]
