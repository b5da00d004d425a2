"""Apps and data."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import NotAllowed, NotFound
from xwhep.common.wire import App, AppSpec, Datum, DatumSpec
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import check_app, check_datum
from xwhep.server.grid import Grid
from xwhep.server.http import answer, body_of, grid_of, user_of
from xwhep.server.logs import log_event
from xwhep.server.matching import misfit
from xwhep.server.possession import check_held


def _with_workers(grid: Grid, app: App) -> App:
    if not app.shared:
        return app
    names = sorted({worker.name for worker in grid.fleet.live() if not misfit(app, worker.machine)})
    return msgspec.structs.replace(app, workers=names)


async def list_apps(request: Request) -> Response:
    await user_of(request)
    grid = grid_of(request)
    return answer([_with_workers(grid, app) for app in await grid.store.assets.apps()])


async def show_app(request: Request) -> Response:
    await user_of(request)
    grid = grid_of(request)
    return answer(_with_workers(grid, await find_app(grid, request.path_params["name"])))


async def save_app(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    spec = await body_of(request, AppSpec)
    check_app(spec)
    known = await grid.store.assets.app(spec.name)
    if known is not None and not (user.is_admin or known.owner == user.login):
        raise NotAllowed(f"the app {spec.name} belongs to {known.owner}", "choose another name")
    for binary in spec.binaries:
        await check_held(grid, user.holder, binary.sha256, binary.size)
    app = await grid.store.assets.save_app(user.login, spec)
    grid.catalogue.put(app)
    await grid.dispatcher.wake_for_pending(grid.store)  # a new binary may fit a job that waits
    log_event("app changed" if known else "app registered", app=app.name, user=user.login)
    return answer(_with_workers(grid, app))


async def list_data(request: Request) -> Response:
    user = await user_of(request)
    return answer(await grid_of(request).store.assets.data(user.sees))


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


async def find_datum(grid: Grid, user: UserPrincipal, name_or_id: str) -> Datum:
    """Raises: NotFound: also for what is another user's, so that nobody learns that it exists."""
    datum = await grid.store.assets.datum(user.login, name_or_id)
    if datum is None or not (user.is_admin or datum.owner == user.login):
        raise NotFound(f"you have no datum {name_or_id}", "list yours with: xw data list")
    return datum


async def find_app(grid: Grid, name: str) -> App:
    """Raises: NotFound."""
    app = await grid.store.assets.app(name)
    if app is None:
        raise NotFound(f"there is no app {name}", "list them with: xw app list")
    return app


ROUTES = [
    Route("/v1/apps", list_apps),
    Route("/v1/apps", save_app, methods=["POST"]),
    Route("/v1/apps/{name}", show_app),
    Route("/v1/data", list_data),
    Route("/v1/data", add_datum, methods=["POST"]),
    Route("/v1/data/{name}", show_datum),
]
