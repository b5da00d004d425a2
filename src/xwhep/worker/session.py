"""Talking HTTP to the server: one pool of kept connections, TLS 1.3, errors as the classes the server raised."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import urllib3

from xwhep.common import errors, trust
from xwhep.common.version import VERSION
from xwhep.common.wire import ErrorBody, Model
from xwhep.worker.addresses import Addresses, KnownHostConnection

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
CHUNK_BYTES = 256 * 1024
# A kept connection whose other end is gone, or whose own address is, breaks when what was sent is not acknowledged,
# long before its time-out. While an answer is waited for nothing is sent, so the kernel asks now and then.
UNACKNOWLEDGED_MS = 10_000
ASKED_AFTER_S, ASKED_EVERY_S = 5, 2
_SOCKET_OPTIONS = (
    *urllib3.connection.HTTPSConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASKED_AFTER_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASKED_EVERY_S),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS),
)
_ERROR_LIMIT_BYTES = 64 * 1024
_BUSY = frozenset({408, 425, 429})

_addresses = Addresses()  # of the whole process: each session would else ask the name server for itself

Answer = TypeVar("Answer")


class Away(errors.ConnectionFailed):
    """The server cannot answer now: not there, restarting, overloaded, or garbled. Trying again makes sense."""

    def __init__(self, message: str, next_step: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, next_step)
        self.retry_after_s = retry_after_s


class Session:
    """Calls to one server as one identity. Threads may share it; `abort` ends every call under way."""

    def __init__(self, address: str, ca_file: Path, token: str = "") -> None:
        url = urlsplit(address)
        self._address = address
        self._headers = {"User-Agent": f"xwhep-worker/{VERSION}"}
        if token:
            self.use(token)
        self._connections: weakref.WeakSet[KnownHostConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._trusted_since = 0.0
        self._pool = urllib3.HTTPSConnectionPool(
            url.hostname or "",
            url.port,
            maxsize=4,
            retries=False,
            ssl_context=trust.client_context(ca_file),
            socket_options=_SOCKET_OPTIONS,
        )
        self._pool.ConnectionCls = self._tracked()

    def use(self, token: str) -> None:
        """Authenticate by this token from the next call on."""
        self._headers = self._headers | {"Authorization": f"Bearer {token}"}

    def _tracked(self) -> type[KnownHostConnection]:
        session = self

        class Tracked(KnownHostConnection):
            addresses = _addresses

            @property
            def is_connected(self) -> bool:
                return self.opened_at >= session._trusted_since and super().is_connected

            def connect(self) -> None:
                super().connect()
                self.opened_at = time.monotonic()
                with session._lock:
                    session._connections.add(self)

        return Tracked

    def post(self, path: str, body: Model, answer: type[Answer], timeout_s: float = ANSWER_TIMEOUT_S) -> Answer | None:
        """Send a message, read its answer; None for 204.

        Raises:
            Away: no answer, one that says to come back, or one that cannot be read.
            UntrustedCertificate: somebody else answers there.
            XwhepError: the error that the server raised.
        """
        headers = {"Content-Type": "application/json"}
        with self._exchange("POST", path, timeout_s, body=msgspec.json.encode(body), headers=headers) as response:
            self._raise_for(response)
            if response.status == 204:
                return None
            try:
                return msgspec.json.decode(response.read(), type=answer)
            except msgspec.DecodeError as exc:  # a proxy's page, or an answer cut short
                raise Away(f"{self._address} gave an answer to {path} that cannot be read: {exc}") from exc

    def blob_size(self, sha256: str) -> int | None:
        """Bytes of a blob that the server has; None when it has it not."""
        with self._exchange("HEAD", blob_path(sha256), ANSWER_TIMEOUT_S) as response:
            if response.status == 404:
                return None
            self._raise_for(response)
            return int(response.headers.get("Content-Length", 0))

    def put_blob(self, sha256: str, content: IO[bytes], size: int) -> None:
        """Upload `size` bytes under their name; the same again is no harm."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with self._exchange("PUT", blob_path(sha256), ANSWER_TIMEOUT_S, body=content, headers=headers) as response:
            self._raise_for(response)

    @contextlib.contextmanager
    def get_blob(self, sha256: str, offset: int = 0) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Where the content starts (0 when the server sends it from its beginning), and its pieces.

        Pieces raise Away when the connection breaks.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._exchange("GET", blob_path(sha256), ANSWER_TIMEOUT_S, headers=headers) as response:
            self._raise_for(response)
            resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {offset}-"
            )
            yield (offset if resumed else 0), self._pieces(response)

    def _pieces(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        with self._translated():
            yield from response.stream(CHUNK_BYTES, decode_content=False)

    @contextlib.contextmanager
    def _exchange(self, method: str, path: str, timeout_s: float, **more: Any) -> Iterator[urllib3.BaseHTTPResponse]:
        timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s)
        sent = self._headers
        headers = sent | more.pop("headers", {})
        with self._translated():
            response = self._pool.urlopen(
                method, path, headers=headers, timeout=timeout, preload_content=False, redirect=False, **more
            )
            if response.status == 401 and sent is not self._headers:
                response.close()
                raise Away("this worker's token was changed while the server was asked")
            try:
                yield response
                response.drain_conn()
            except BaseException:
                response.close()  # its rest was not read: the connection cannot serve another call
                raise
            finally:
                response.release_conn()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.SSLError as exc:
            if isinstance(exc.__cause__ or exc.args[0], ssl.SSLCertVerificationError):
                raise errors.UntrustedCertificate(
                    f"the certificate of {self._address} is not signed by the authority this worker joined: {exc}",
                    "if the server's authority was renewed, join again with a new join line",
                ) from exc
            raise Away(f"TLS with {self._address} failed: {exc}") from exc
        except (urllib3.exceptions.HTTPError, ConnectionError, ssl.SSLError, TimeoutError) as exc:
            raise Away(f"no answer from {self._address}: {_short(exc)}", "check that the server runs") from exc

    def _raise_for(self, response: urllib3.BaseHTTPResponse) -> None:
        if 200 <= response.status < 300:
            return
        error = _error_of(response)
        if response.status in _BUSY or response.status >= 500 or 300 <= response.status < 400:
            raise Away(f"{self._address} says {response.status}: {error}", error.next_step, _retry_after(response))
        raise error

    def distrust(self, opened_before: float) -> None:
        """Use no kept connection again that is older than that moment; calls under way go on."""
        self._trusted_since = opened_before

    def abort(self, opened_before: float = math.inf) -> None:
        """Break connections, all or those older than that moment: threads that wait for an answer get Away at once."""
        with self._lock:
            connections = [one for one in self._connections if one.opened_at < opened_before]
        for connection in connections:
            sock = connection.sock  # read once: the thread that uses it may be closing it
            if sock is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown: that would let the reading thread go on in clear text.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def blob_path(sha256: str) -> str:
    return f"/v1/blobs/{quote(sha256, safe='')}"


def _short(exc: BaseException) -> str:
    return str(exc.__cause__ or exc)


def _error_of(response: urllib3.BaseHTTPResponse) -> errors.XwhepError:
    content = response.read(_ERROR_LIMIT_BYTES)
    try:
        body = msgspec.json.decode(content, type=ErrorBody)
    except msgspec.DecodeError:
        by_status = {error.status: error for error in errors.ALL_ERRORS}
        cause = by_status.get(response.status, errors.InvalidRequest)
        return cause(f"the server answered {response.status} without a reason")
    return errors.from_wire(body.code, body.message, body.next_step)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds of a Retry-After header; its date form is not used by any server of ours, so it counts as none."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
