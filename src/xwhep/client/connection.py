"""One kept-alive HTTPS connection to the server. Network failures leave it as errors of ours, never as OSError."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from xwhep.client.credentials import Credentials
from xwhep.client.exchange import Answer, Exchange
from xwhep.common.errors import (
    ALL_ERRORS,
    ConnectionFailed,
    ServerFailed,
    UntrustedCertificate,
    XwhepError,
    from_wire,
)
from xwhep.common.trust import CONNECT_TIMEOUT_S, context_trusting
from xwhep.common.version import VERSION
from xwhep.common.wire import ErrorBody

REPLY_TIMEOUT_S = 60.0
MANY_TIMEOUT_S = 600.0  # for what is about a hundred thousand jobs
JSON_LIMIT_BYTES = 256 * 1024 * 1024
ERROR_LIMIT_BYTES = 64 * 1024
# Servers close quiet connections (uvicorn after 5 s). A request that must not be sent twice never meets such a close.
IDLE_LIMIT_S = 2.0
ATTEMPTS = 5  # of a submission; the pauses between them are 3 s together
FIRST_PAUSE_S = 0.2
_REPEATABLE = frozenset({"GET", "HEAD"})
_AWAY = frozenset({502, 503, 504})  # what a proxy says while the server restarts

T = TypeVar("T")


class Request(NamedTuple):
    """`body` as bytes, or as chunks whose total the Content-Length header gives. `timeout_s` bounds each silence."""

    method: str
    path: str
    body: bytes | Iterable[bytes] | None = None
    headers: dict[str, str] = {}
    timeout_s: float = REPLY_TIMEOUT_S


class Server:
    """The grid server as this user may use it. Every method raises XwhepError subclasses only."""

    def __init__(self, credentials: Credentials) -> None:
        self.address = credentials.address
        try:
            context = context_trusting(credentials.authority)
        except ssl.SSLError as exc:
            raise UntrustedCertificate(
                f"the authority kept for {self.address} is damaged: {exc}", "log in again: xw login"
            ) from exc
        self._http = Exchange(self.address, context)
        self._headers = {"User-Agent": f"xw/{VERSION}"}
        if credentials.token:
            self._headers["Authorization"] = f"Bearer {credentials.token}"
        self._used_at = 0.0

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, kind: type[T], timeout_s: float = REPLY_TIMEOUT_S) -> T:
        """GET a JSON answer and read it as `kind` (`list[App]` too)."""
        return self._read_json(self.send(Request("GET", path, timeout_s=timeout_s)), kind)

    def post(self, path: str, body: msgspec.Struct | None, kind: type[T], timeout_s: float = REPLY_TIMEOUT_S) -> T:
        """POST a message. It is never sent twice, since the server may have acted on the first."""
        content = b"" if body is None else msgspec.json.encode(body)
        return self._read_json(
            self.send(Request("POST", path, content, {"Content-Type": "application/json"}, timeout_s)),
            kind,
        )

    def post_again(self, path: str, body: msgspec.Struct, kind: type[T], timeout_s: float = REPLY_TIMEOUT_S) -> T:
        """`post` of a message with a key, by which the server knows it again: a lost connection is tried anew."""
        pause = FIRST_PAUSE_S
        for _ in range(ATTEMPTS - 1):
            try:
                return self.post(path, body, kind, timeout_s)
            except ConnectionFailed:
                time.sleep(pause)
                pause *= 2
        return self.post(path, body, kind, timeout_s)

    def delete(self, path: str) -> None:
        self.discard(self.send(Request("DELETE", path)))

    def send(self, request: Request) -> Answer:
        """Send and return a response whose status is 2xx; its body is the caller's to read to the end.

        Raises:
            ConnectionFailed: no connection, or it broke before an answer came.
            UntrustedCertificate: the other side is not signed by the known authority.
            XwhepError: the server refused; the class is the one it named.
        """
        reused = self._http.ready()
        if reused and time.monotonic() - self._used_at > IDLE_LIMIT_S and request.method not in _REPEATABLE:
            self.close()
            reused = False
        try:
            response = self._exchange(request)
        except ConnectionFailed:
            self.close()
            if not reused or request.method not in _REPEATABLE:
                raise
            response = self._exchange(request)
        self._used_at = time.monotonic()
        if 200 <= response.status < 300:
            return response
        failure = self._failure(response, request)
        self.close()  # the rest of a refused body must not be taken for the next request
        raise failure

    def read(self, response: Answer, limit: int) -> bytes:
        """At most `limit` bytes of the body; empty at its end.

        Raises:
            ConnectionFailed: the connection broke.
        """
        try:
            data = response.read(limit)
        except OSError as exc:
            self.close()
            raise self._network_failure(exc) from exc
        self._used_at = time.monotonic()
        return data

    def discard(self, response: Answer) -> None:
        """Read a short body that tells nothing more, so that the connection serves the next request."""
        self.read(response, ERROR_LIMIT_BYTES)

    def _exchange(self, request: Request) -> Answer:
        try:
            if not self._http.ready():
                self._http.connect(CONNECT_TIMEOUT_S)
            # A server that refuses a body answers before it has read all of it: the answer tells more than the EPIPE.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                headers = {**self._headers, **request.headers}
                self._http.send(f"{request.method} {request.path}", headers, request.body or b"", request.timeout_s)
            return self._http.answer(request.method)
        except ssl.SSLCertVerificationError as exc:
            self.close()
            raise UntrustedCertificate(
                f"the server at {self.address} is not the one you trust: {exc.verify_message}",
                "ask the administrator for a new join line, then: xw login",
            ) from exc
        except OSError as exc:
            self.close()
            raise self._network_failure(exc) from exc

    def _network_failure(self, exc: Exception) -> ConnectionFailed:
        match exc:
            case ConnectionRefusedError():
                what = "nothing listens there (connection refused)"
            case socket.gaierror():
                what = "no such host name"
            case TimeoutError():
                what = "no answer in time"
            case ssl.SSLError():
                what = f"no TLS 1.3 with it ({exc.reason or 'handshake failed'})"
            case ConnectionError():
                what = "the connection broke"
            case _:
                what = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        return ConnectionFailed(
            f"cannot reach the server at {self.address}: {what}", "check that the server runs and the network is up"
        )

    def _failure(self, response: Answer, request: Request) -> XwhepError:
        body = b"" if request.method == "HEAD" else self.read(response, ERROR_LIMIT_BYTES)
        with contextlib.suppress(msgspec.DecodeError):
            error = msgspec.json.decode(body, type=ErrorBody)
            return from_wire(error.code, error.message, error.next_step or _usual_next_step(error.code))
        status = response.status
        if status in _AWAY:
            return ConnectionFailed(f"the server at {self.address} is away (status {status})", "try again in a moment")
        kind = next((error for error in ALL_ERRORS if error.status == status), ServerFailed)
        return kind(
            f"the server at {self.address} answered {status} to {request.method} {request.path}",
            _usual_next_step(kind.code) or "is it an xwhep server? try: xw version",
        )

    def _read_json(self, response: Answer, kind: type[T]) -> T:
        body = self.read(response, JSON_LIMIT_BYTES)  # one longer than any answer of ours does not decode either
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ServerFailed(
                f"the answer of {self.address} cannot be understood: {exc}", "compare the two versions: xw version"
            ) from exc


def in_path(text: str) -> str:
    """A name or id as one part of a URL path."""
    return quote(text, safe="")


def _usual_next_step(code: str) -> str:
    return {
        "authentication": "xw login",
        "disk_full": "ask the administrator to make room on the server",
        "server_failed": "tell the administrator; the server's log has more",
    }.get(code, "")
