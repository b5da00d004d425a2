"""A small grid server that speaks the wire contract over TLS, with faults on demand, for tests of the worker."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from authority import Authority
from xwhep.common import trust
from xwhep.common.errors import AuthenticationFailed, Conflict, InvalidRequest, NotFound, XwhepError
from xwhep.common.join import JoinLine
from xwhep.common.wire import (
    Ack,
    Binary,
    Enrol,
    Enrolled,
    ErrorBody,
    Heartbeat,
    HeartbeatReply,
    Lease,
    LeasedDatum,
    Leave,
    Machine,
    Output,
    Running,
    WorkRequest,
    WorkResult,
)
from xwhep.common.wire_bulk import Leases, Outcome, Outcomes, WorkResults
from xwhep.worker.sandbox import Limits

JOIN_TOKEN, TOKEN = "join-secret", "worker-secret"
LIMITS = Limits(processes=512, files=256)
MACHINE = Machine(
    os="linux", arch="x86_64", cpu_count=1, cpu_model="test", ram_bytes=1, disk_free_bytes=1, version="11.0.0"
)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection; `self.server.grid` is the grid."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def _serve(self) -> None:
        grid: Grid = self.server.grid
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        grid.calls.append((self.command, self.path, dict(self.headers)))
        try:
            if fault := grid.take_fault(self.command, self.path):
                fault(self)
            else:
                grid.serve(self, body)
        except XwhepError as exc:
            self.answer(
                exc.status, msgspec.json.encode(ErrorBody(code=exc.code, message=str(exc), next_step=exc.next_step))
            )

    do_GET = do_POST = do_PUT = do_HEAD = _serve

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    grid: Grid
    connections: list[socket.socket]

    def handle_error(self, *_: object) -> None:
        pass  # connections that the worker breaks are part of the tests


Fault = Callable[[Handler], None]


class Grid:
    """Jobs are leased once each; a result is taken when (job, attempt) is leased and every blob is there."""

    machine = MACHINE
    sha = staticmethod(sha)

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.port = 0
        self.blobs: dict[str, bytes] = {}
        self.pending: list[Lease] = []
        self.leased: dict[tuple[str, int], Lease] = {}
        self.results: dict[tuple[str, int], WorkResult] = {}
        self.to_stop: list[Running] = []
        self.watched: list[Running] = []
        self.outputs: list[tuple[float, Output]] = []
        self.new_token = ""
        self.heartbeats: list[tuple[float, list[Running]]] = []
        self.requests: list[WorkRequest] = []
        self.messages: list[WorkResults] = []
        self.enrolled: list[Enrol] = []
        self.left: list[Leave] = []
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.heartbeat_s = 0.2
        self.tokens = {TOKEN}
        self.changed = threading.Condition()
        self._faults: list[tuple[str, str, Fault]] = []
        self._server: Server | None = None

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def join_line(self) -> JoinLine:
        return JoinLine(address=self.address, fingerprint=trust.fingerprint(self.authority.pem), token=JOIN_TOKEN)

    def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.authority.chain)
        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.grid, self._server.connections = self, []
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Go away as a killed server does: every connection ends."""
        if self._server:
            for connection in self._server.connections:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            with self.changed:
                self.changed.notify_all()

    def fault(self, method: str, path: str, *faults: Fault) -> None:
        """The next calls of `method` whose path begins so are answered by `faults`, one each."""
        self._faults += [(method, path, fault) for fault in faults]

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.changed:
            for entry in self._faults:
                if entry[0] == method and path.startswith(entry[1]):
                    self._faults.remove(entry)
                    return entry[2]
        return None

    def blob(self, content: bytes) -> str:
        self.blobs[sha(content)] = content
        return sha(content)

    def submit(self, program: bytes, job_id: str = "", attempt: int = 1, **more: Any) -> tuple[str, int]:
        """A job that runs `program`; `data` and `stdin` are contents."""
        data = [
            LeasedDatum(name=name, sha256=self.blob(text), size=len(text))
            for name, text in more.pop("data", {}).items()
        ]
        stdin = more.pop("stdin", None)
        lease = Lease(
            job_id=job_id or os.urandom(6).hex(),
            attempt=attempt,
            until=time.time() + 60,
            heartbeat_s=self.heartbeat_s,
            app="an-app",
            binary=Binary(os="linux", arch="any", sha256=self.blob(program), size=len(program)) if program else None,
            data=data,
            stdin=LeasedDatum(name="stdin", sha256=self.blob(stdin), size=len(stdin)) if stdin is not None else None,
            **more,
        )
        with self.changed:
            self.pending.append(lease)
            self.changed.notify_all()
        return lease.job_id, attempt

    def until(self, holds: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Wait for an event at this server."""
        with self.changed:
            assert self.changed.wait_for(holds, seconds), f"not within {seconds} s"
            return holds()

    def result(self, key: tuple[str, int], seconds: float = 15.0) -> WorkResult:
        self.until(lambda: key in self.results, seconds)
        return self.results[key]

    def text(self, file: Any) -> str:
        return self.blobs[file.sha256].decode()

    @staticmethod
    def says(status: int, **headers: str) -> Fault:
        """A fault: this status, with an error body."""
        body = json.dumps({"code": "server_failed", "message": "broken"}).encode()
        return lambda call: call.answer(status, body, **headers)

    @staticmethod
    def hangs_up(call: Handler) -> None:
        """A fault: the connection ends without an answer."""
        call.hang_up()

    # The contract.

    def serve(self, call: Handler, body: bytes) -> None:
        if call.path == "/v1/ca":
            return call.answer(200, self.authority.pem.encode())
        if call.path == "/v1/enrol":
            return self._reply(call, self._enrol(msgspec.json.decode(body, type=Enrol)))
        if call.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise AuthenticationFailed("this token is not known", "join again")
        if call.path.startswith("/v1/blobs/"):
            return self._blob(call, body)
        handlers: dict[str, Callable[[bytes], Any]] = {
            "/v1/worker/leases": lambda body: self._leases(body, call.connection),
            "/v1/worker/heartbeat": self._heartbeat,
            "/v1/worker/results": self._results,
            "/v1/worker/leave": self._leave,
            "/v1/worker/output": self._output,
        }
        return self._reply(call, handlers[call.path](body))

    def _reply(self, call: Handler, message: Any) -> None:
        if message is None:
            return call.answer(204)
        return call.answer(200, msgspec.json.encode(message), Content_Type="application/json")

    def _enrol(self, message: Enrol) -> Enrolled:
        if message.join_token != JOIN_TOKEN:
            raise AuthenticationFailed("the join token is not valid", "ask for a new join line")
        self.enrolled.append(message)
        return Enrolled(worker_id="w1", token=TOKEN, heartbeat_s=self.heartbeat_s)

    def _leases(self, body: bytes, connection: socket.socket) -> Leases | None:
        message = msgspec.json.decode(body, type=WorkRequest)
        server = self._server
        with self.changed:
            self.requests.append(message)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.pending or self._server is not server, min(message.wait_s, 5))
            gone = bool(select.select([connection], [], [], 0)[0])  # only its end can be read from a waiting worker
            if not self.pending or self._server is not server or gone:
                return None
            leases, self.pending = self.pending[: message.slots], self.pending[message.slots :]
            self.leased |= {(lease.job_id, lease.attempt): lease for lease in leases}
            self.changed.notify_all()
            return Leases(leases=leases)

    def _heartbeat(self, body: bytes) -> HeartbeatReply:
        message = msgspec.json.decode(body, type=Heartbeat)
        with self.changed:
            self.heartbeats.append((time.monotonic(), message.running))
            self.changed.notify_all()
            return HeartbeatReply(
                heartbeat_s=self.heartbeat_s,
                stop=[one for one in self.to_stop if one in message.running],
                watched=[one for one in self.watched if one in message.running],
                token=self.new_token,
            )

    def _output(self, body: bytes) -> Ack:
        message = msgspec.json.decode(body, type=Output)
        with self.changed:
            if (message.job_id, message.attempt) not in self.leased:
                raise Conflict("not yours any more")
            self.outputs.append((time.monotonic(), message))
            self.changed.notify_all()
        return Ack()

    def _results(self, body: bytes) -> Outcomes:
        message = msgspec.json.decode(body, type=WorkResults)
        self.messages.append(message)
        contents = {sha(content): content for content in message.contents}
        outcomes = []
        for result in message.results:
            try:
                self._take(result, contents)
                outcomes.append(Outcome())
            except XwhepError as exc:
                outcomes.append(Outcome(code=exc.code, message=str(exc)))
        return Outcomes(outcomes=outcomes)

    def _take(self, message: WorkResult, contents: dict[str, bytes]) -> None:
        key = message.job_id, message.attempt
        with self.changed:
            if key in self.results and self.results[key] == message:
                return
            if key not in self.leased:
                raise Conflict(f"attempt {message.attempt} of {message.job_id} is not yours any more")
            known = {**self.blobs, **contents, sha(b""): b""}
            for file in (message.result.stdout, message.result.stderr, *message.result.files):
                if file.sha256 not in known:
                    raise NotFound(f"the blob {file.sha256} is not uploaded yet")
                if len(known[file.sha256]) != file.size:
                    raise InvalidRequest("the size is another")
            self.blobs = known
            del self.leased[key]
            self.results[key] = message
            self.changed.notify_all()

    def _leave(self, body: bytes) -> Ack:
        with self.changed:
            self.left.append(msgspec.json.decode(body, type=Leave))
            self.changed.notify_all()
        return Ack()

    def _blob(self, call: Handler, body: bytes) -> None:
        name = call.path.rpartition("/")[2]
        if call.command == "PUT":
            if sha(body) != name:
                raise InvalidRequest("the content's sha256 is not the one in the address")
            new = name not in self.blobs
            self.blobs[name] = body
            return call.answer(201 if new else 200)
        if name not in self.blobs:
            raise NotFound(f"there is no blob {name}")
        content, given = self.blobs[name], call.headers.get("Range", "")
        if not given:
            return call.answer(200, content)
        start = int(given.removeprefix("bytes=").rstrip("-"))
        return call.answer(206, content[start:], Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
