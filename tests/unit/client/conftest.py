"""A grid server that speaks the wire contract over TLS 1.3, in memory; tests play the worker and the villain."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest

from pki import Pki, new_pki
from xwhep.common import errors, trust, wire
from xwhep.common.join import JoinLine

TOKEN, LOGIN, PASSWORD = "t0ken-of-alice", "alice", "s3cret"


class Grid:
    """What the server knows. Tests change jobs by `change` and `finish`, as a worker's messages would."""

    new_pki = staticmethod(new_pki)

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.apps: dict[str, wire.App] = {}
        self.data: dict[str, wire.Datum] = {}
        self.jobs: dict[str, wire.Job] = {}
        self.blobs: dict[str, bytes] = {}
        self.workers: list[wire.Worker] = []
        self.requests: list[str] = []
        self.changed = threading.Condition(threading.RLock())
        self.on_submit: Callable[[wire.Job], None] = lambda job: None
        self.lose_answers = 0  # to so many new submissions, which are acted on
        self.cut_downloads_after: int | None = None  # bytes of one blob answer, then the connection breaks
        self.stall_downloads_after: int | None = None  # then nothing comes, and nothing breaks
        self.sent_bytes = 0  # of blobs
        self.connections = 0
        self.must_prove = False  # only who has uploaded a blob may name it
        self.proved: set[str] = set()
        self.overrides: dict[str, tuple[int, bytes]] = {}  # "METHOD /path" -> status and body
        self.tokens = {TOKEN}
        self.port = 0
        self.current: http.server.ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def join_line(self) -> str:
        return str(JoinLine(address=self.address, fingerprint=trust.fingerprint(self.pki.authority), token=TOKEN))

    def start(self, host: str = "127.0.0.1") -> None:
        self.current = http.server.ThreadingHTTPServer((host, self.port), Handler)
        self.current.daemon_threads = True
        self.current.grid = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.pki.server_file)
        self.current.socket = context.wrap_socket(self.current.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.current.server_address[1]
        threading.Thread(target=self.current.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        http_server, self.current = self.current, None
        if http_server:
            http_server.shutdown()
            http_server.server_close()
        with self.changed:
            self.changed.notify_all()

    def add_blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def file(self, path: str, content: bytes, mode: int = 0o644) -> wire.ResultFile:
        return wire.ResultFile(path=path, sha256=self.add_blob(content), size=len(content), mode=mode)

    def add_app(self, name: str) -> None:
        self.apps[name] = wire.App(id=f"a{len(self.apps)}", name=name, owner=LOGIN, created_at=1.7e9)

    def change(self, job_id: str, **fields: object) -> wire.Job:
        with self.changed:
            job = self.jobs[job_id]
            self.jobs[job_id] = msgspec.structs.replace(job, revision=job.revision + 1, **fields)
            self.changed.notify_all()
            return self.jobs[job_id]

    def finish(self, job_id: str, exit_code: int = 0, stdout: bytes = b"", **more: object) -> None:
        result = wire.JobResult(
            exit_code=exit_code,
            stdout=self.file("stdout", stdout),
            stderr=self.file("stderr", more.pop("stderr", b"")),
            files=more.pop("files", []),
            **more,
        )
        state = wire.JobState.FAILED if exit_code else wire.JobState.COMPLETED
        self.change(job_id, state=state, result=result, ended_at=1.7e9 + 9)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 20

    def setup(self) -> None:
        self.grid = self.server.grid
        self.grid.connections += 1
        super().setup()

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        if self.grid.current is not self.server:  # a kept-alive connection of a server that has "died"
            self.close_connection = True
            return
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.grid.requests.append(f"{self.command} {url.path}")
        try:
            override = self.grid.overrides.get(f"{self.command} {url.path}")
            if override:
                self.close_connection = True
                self.answer(*override)
            elif url.path.startswith("/v1/blobs/"):
                self.blob(url.path.rpartition("/")[2])
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.route([unquote(part) for part in url.path.strip("/").split("/")], body)
        except errors.XwhepError as error:
            body = wire.ErrorBody(code=error.code, message=str(error), next_step=error.next_step)
            self.answer(error.status, msgspec.json.encode(body))

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = serve

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def authorize(self) -> None:
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.grid.tokens:
            raise errors.AuthenticationFailed("this token is not known")

    def route(self, parts: list[str], body: bytes) -> None:
        if parts == ["v1", "ca"]:
            self.answer(200, self.grid.pki.authority.encode())
            return
        if parts not in (["healthz"], ["v1", "login"]):
            self.authorize()
        match [self.command, *parts]:
            case ["GET", "healthz"]:
                reply = wire.Health(status="ok", version="11.0.0+test")
            case ["POST", "v1", "login"]:
                reply = self.login(msgspec.json.decode(body, type=wire.Login))
            case ["GET", "v1", "me"]:
                reply = wire.User(login=LOGIN, role="admin")
            case ["GET", "v1", ("apps" | "data") as kind]:
                reply = list(getattr(self.grid, kind).values())
            case ["GET", "v1", ("apps" | "data") as kind, name]:
                table = {key: one for one in getattr(self.grid, kind).values() for key in (one.name, one.id)}
                if name not in table:
                    raise errors.NotFound(f"no {name}")
                reply = table[name]
            case ["POST", "v1", ("apps" | "data") as kind]:
                reply = self.register(kind, body)
            case ["GET", "v1", "workers"]:
                reply = self.grid.workers
            case ["GET" | "POST" | "DELETE", "v1", "jobs", *rest]:
                reply = self.jobs(rest, body)
            case _:
                raise errors.NotFound("no such path")
        self.answer(200, msgspec.json.encode(reply)) if reply is not None else self.answer(204, b"")

    def login(self, message: wire.Login) -> wire.Session:
        if (message.login, message.password) != (LOGIN, PASSWORD):
            raise errors.AuthenticationFailed("login or password is wrong")
        return wire.Session(token=TOKEN, login=LOGIN, expires_at=4e9)

    def register(self, kind: str, body: bytes) -> msgspec.Struct:
        spec_type, full = {"apps": (wire.AppSpec, wire.App), "data": (wire.DatumSpec, wire.Datum)}[kind]
        spec = msgspec.json.decode(body, type=spec_type)
        table = getattr(self.grid, kind)
        for part in getattr(spec, "binaries", [spec] if kind == "data" else []):
            if part.sha256 not in (self.grid.proved if self.grid.must_prove else self.grid.blobs):
                raise errors.NotFound("the blob is not uploaded yet")
        if spec.name in table:
            raise errors.Conflict(f"the name {spec.name} is taken")
        one = full(id=f"{kind[0]}{len(table):031x}", owner=LOGIN, created_at=1.7e9, **msgspec.structs.asdict(spec))
        table[spec.name] = one
        return one

    def jobs(self, rest: list[str], body: bytes) -> object:
        grid = self.grid
        with grid.changed:
            if not rest:
                return self.submit(body) if self.command == "POST" else self.job_list()
            if rest[0] not in grid.jobs:
                raise errors.NotFound(f"no job {rest[0]}")
            if rest[1:] == ["cancel"]:
                return grid.change(rest[0], state=wire.JobState.CANCELLED)
            if self.command == "DELETE":
                del grid.jobs[rest[0]]
                return None
            seen, until = int(self.query.get("seen", -1)), time.monotonic() + float(self.query.get("wait", 0))
            while grid.jobs[rest[0]].revision <= seen and time.monotonic() < until and grid.current:
                grid.changed.wait(until - time.monotonic())
            if not grid.current:
                raise errors.ConnectionFailed("the server is stopping")
            return grid.jobs[rest[0]]

    def job_list(self) -> list[wire.Job]:
        found = [job for job in self.grid.jobs.values() if self.query.get("state", job.state) == job.state]
        return found[::-1][: int(self.query.get("limit", 100))]

    def submit(self, body: bytes) -> wire.Job:
        spec = msgspec.json.decode(body, type=wire.JobSpec)
        if spec.app not in self.grid.apps:
            raise errors.NotFound(f"no app {spec.app}")
        known = {key for one in self.grid.data.values() for key in (one.name, one.id)}
        if unknown := [name for name in [spec.stdin, *spec.data] if name and name not in known]:
            raise errors.NotFound(f"no datum {unknown[0]}")
        if known := [job for job in self.grid.jobs.values() if spec.key and job.key == spec.key]:
            return known[0]
        job_id = hashlib.sha256(str(len(self.grid.jobs)).encode()).hexdigest()[:32]
        more = msgspec.structs.asdict(spec)
        job = wire.Job(id=job_id, owner=LOGIN, state=wire.JobState.PENDING, revision=1, created_at=1.7e9, **more)
        self.grid.jobs[job_id] = job
        threading.Timer(0.05, self.grid.on_submit, (job,)).start()
        if self.grid.lose_answers:
            self.grid.lose_answers -= 1
            self.connection.shutdown(socket.SHUT_RDWR)
        return job

    def blob(self, digest: str) -> None:
        self.authorize()
        if self.command == "PUT":
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if hashlib.sha256(content).hexdigest() != digest:
                raise errors.InvalidRequest("the bytes are not of that hash")
            status = 200 if digest in self.grid.blobs else 201
            self.grid.blobs[digest] = content
            self.grid.proved.add(digest)
            self.answer(status, b"")
            return
        if digest not in self.grid.blobs:
            raise errors.NotFound("no such blob")
        content = self.grid.blobs[digest]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if self.command == "HEAD":
            self.answer(200, content)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.send_part(content[start:])

    def send_part(self, content: bytes) -> None:
        grid, limits = self.grid, (self.grid.cut_downloads_after, self.grid.stall_downloads_after)
        limit = min([len(content), *(limit for limit in limits if limit is not None)])
        self.wfile.write(content[:limit])
        self.wfile.flush()
        grid.sent_bytes += limit
        if limit < len(content):
            self.close_connection = True
            while grid.stall_downloads_after and grid.current:
                time.sleep(0.02)


@dataclasses.dataclass(frozen=True)
class Xw:
    """Runs client commands as processes of their own, in a folder of their own, with nothing of ours but PATH."""

    folder: Path
    environment: dict[str, str]

    def start(self, *words: str, call: str = "main.main", **extra: str) -> subprocess.Popen[bytes]:
        module, function = call.split(".")
        program = f"import sys; from xwhep.client.{module} import {function} as run; sys.exit(run())"
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            cwd=self.folder,
            env={**self.environment, **extra},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *words: str, stdin: bytes = b"", call: str = "main.main", **extra: str) -> Done:
        process = self.start(*words, call=call, **extra)
        out, err = process.communicate(stdin, timeout=60)
        return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"), out)


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    raw: bytes


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return new_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def make_pki() -> Callable[[Path], Pki]:
    return new_pki


@pytest.fixture
def grid(pki: Pki) -> Iterator[Grid]:
    server = Grid(pki)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stranger(tmp_path: Path) -> Xw:
    """`xw` without a login."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    source = Path(__file__).parents[3] / "src"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(source),
        "XWHEP_CLIENT_CONFIG": str(tmp_path / "client.toml"),
    }
    return Xw(folder, environment)


@pytest.fixture
def xw(stranger: Xw, grid: Grid) -> Xw:
    """`xw` logged in to the grid."""
    done = stranger("login", stdin=grid.join_line.encode())
    assert done.code == 0, done.err
    return stranger
