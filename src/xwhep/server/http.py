"""Reading requests and writing answers: JSON by msgspec, errors as ErrorBody, bodies of a bounded size."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from xwhep.common.errors import InvalidRequest, NotFound, ServerFailed, XwhepError
from xwhep.common.wire import ErrorBody
from xwhep.server.auth import UserPrincipal, WorkerPrincipal
from xwhep.server.failures import TooManyTries
from xwhep.server.grid import Grid
from xwhep.server.logs import log_problem

T = TypeVar("T")
MAX_JSON_BYTES = 1024 * 1024
MAX_WAIT_S = 60.0
_encode = msgspec.json.Encoder().encode


def grid_of(request: Request) -> Grid:
    grid: Grid = request.app.state.grid
    return grid


async def user_of(request: Request) -> UserPrincipal:
    return await grid_of(request).auth.user(request.headers.get("authorization"))


async def worker_of(request: Request) -> WorkerPrincipal:
    return await grid_of(request).auth.worker(request.headers.get("authorization"))


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


async def body_of(request: Request, model: type[T]) -> T:
    """The request's JSON as `model`, at most MAX_JSON_BYTES of it. Raises: InvalidRequest."""
    return parsed(await bytes_of(request, MAX_JSON_BYTES), model)


async def bytes_of(request: Request, limit: int) -> bytearray:
    """The request's body. Raises: InvalidRequest: it is larger than `limit`."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise InvalidRequest(f"the request is larger than {limit} bytes", "send less at once")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise InvalidRequest(f"the request is larger than {limit} bytes", "send less at once")
    return body


def parsed(body: bytes | bytearray, model: type[T]) -> T:
    """`body` as `model`.

    Raises:
        InvalidRequest: not JSON, or another shape; names the field.
    """
    try:
        return msgspec.json.decode(body, type=model)
    except msgspec.DecodeError as exc:  # ValidationError, which names the field, is one
        raise InvalidRequest(f"the request is no {model.__name__}: {exc}", "do client and server match?") from exc
    except (UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest("the request is no proper JSON", "do client and server match?") from exc


def answer(content: Any, status: int = 200) -> Response:
    """`content`, a wire model or a list of them, as JSON."""
    return Response(_encode(content), status, media_type="application/json")


def no_content() -> Response:
    return Response(status_code=204)


def error_answer(error: XwhepError, status: int | None = None) -> Response:
    body = ErrorBody(code=error.code, message=str(error), next_step=error.next_step)
    response = answer(body, status or error.status)
    if isinstance(error, TooManyTries):
        response.headers["retry-after"] = "10"
    return response


async def on_xwhep_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, XwhepError)  # noqa: S101 - registered for that class
    if exc.status >= 500:
        log_problem("request failed", path=request.url.path, code=exc.code, cause=exc)
    return error_answer(exc)


async def on_http_error(request: Request, exc: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    assert isinstance(exc, HTTPException)  # noqa: S101 - registered for that class
    if exc.status_code == 404:
        return error_answer(NotFound("there is nothing at this address", "do client and server match?"))
    wrong = InvalidRequest(f"this address does not answer that: {exc.detail}", "do client and server match?")
    response = error_answer(wrong, exc.status_code)
    response.headers.update(exc.headers or {})
    return response


async def on_disconnect(request: Request, exc: Exception) -> Response:
    """The client went away in the middle; nobody reads this, but the log stays free of tracebacks."""
    return error_answer(InvalidRequest("the request ended early", "try again"), 400)


async def on_failure(request: Request, exc: Exception) -> Response:
    """A fault of ours. The traceback goes to the log (by uvicorn), never to the client."""
    return error_answer(ServerFailed("the server failed", "its administrator finds the cause in the server's log"))


EXCEPTION_HANDLERS: dict[Any, Any] = {
    XwhepError: on_xwhep_error,
    HTTPException: on_http_error,
    ClientDisconnect: on_disconnect,
    Exception: on_failure,
}


async def wait_for(event: asyncio.Event, request: Request, timeout_s: float) -> bool:
    """Wait for `event`, at most `timeout_s`; False when the time is up or the client went away. Also True when the
    caller's rights have changed: who waits looks again.

    Raises:
        AuthenticationFailed: the caller's token was revoked meanwhile.
    """
    if timeout_s <= 0:
        return event.is_set()
    auth, authorization = grid_of(request).auth, request.headers.get("authorization")
    holder = (await auth.principal(authorization)).holder
    with auth.watching(holder) as changed:
        await auth.principal(authorization)  # again: it may have been revoked just before
        woken = asyncio.ensure_future(event.wait())
        gone = asyncio.ensure_future(_gone(request))
        try:
            ends: set[asyncio.Future[Any]] = {woken, gone, changed}
            await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if changed.done():
                await auth.principal(authorization)
            return (woken.done() or changed.done()) and not gone.done()
        finally:
            woken.cancel()
            gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
