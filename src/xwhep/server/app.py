"""The ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette

from xwhep.server.grid import Grid
from xwhep.server.http import EXCEPTION_HANDLERS
from xwhep.server.metrics import RequestCounter, RequestCounts
from xwhep.server.routes import (
    administration,
    assets,
    batches,
    blobs,
    jobs,
    logs,
    modes,
    monitoring,
    results,
    sessions,
    summaries,
    tokens,
    work,
)


def make_app(grid: Grid) -> Starlette:
    """Every route of the wire; the busiest first, since they are tried in order."""
    routes = [
        *work.ROUTES,
        *results.ROUTES,
        *batches.ROUTES,
        *summaries.ROUTES,
        *jobs.ROUTES,
        *logs.ROUTES,
        *blobs.ROUTES,
        *sessions.ROUTES,
        *assets.ROUTES,
        *modes.ROUTES,
        *administration.ROUTES,
        *tokens.ROUTES,
        *monitoring.ROUTES,
    ]
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    app.router.redirect_slashes = False
    app.state.grid = grid
    app.state.counts = RequestCounts()
    app.add_middleware(RequestCounter, counts=app.state.counts)
    return app
