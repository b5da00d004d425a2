"""For those who watch the server: is it ready, what does it do, what does it speak."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import ServerFailed, XwhepError
from xwhep.common.wire import Ready
from xwhep.server.http import address_of, answer, error_answer, grid_of
from xwhep.server.metrics import MEDIA_TYPE, RequestCounts, exposition
from xwhep.server.openapi import document, routes_of
from xwhep.server.routes.administration import admin_of


async def ready(request: Request) -> Response:
    """Whether it makes sense to send requests here: the database answers, there is room, and it is not stopping."""
    grid = grid_of(request)
    try:
        await grid.store.identity.groups("")
        grid.blobs.check_room(0)
    except (XwhepError, OSError) as error:
        return error_answer(ServerFailed(f"not ready: {error}", "see the server's log"), 503)
    if grid.stopping.is_set():
        return error_answer(ServerFailed("not ready: stopping", "try again soon"), 503)
    return answer(Ready(status="ready"))


async def metrics(request: Request) -> Response:
    grid = grid_of(request)
    if grid.settings.metrics == "token" or not _is_loopback(address_of(request)):
        await admin_of(request)
    counts: RequestCounts = request.app.state.counts
    return Response(await exposition(grid, counts), media_type=MEDIA_TYPE)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def openapi(request: Request) -> Response:
    return Response(document(routes_of(request.app)), media_type="application/json")


ROUTES = [
    Route("/readyz", ready),
    Route("/metrics", metrics),
    Route("/openapi.json", openapi),
]
