"""Fixtures: a store on a fast disk, and the real server as a process of its own, spoken to over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from xwhep.common.wire import AppSpec, Binary, JobSpec, JobState, Machine
from xwhep.server.store.protocol import Store
from xwhep.server.store.records import (
    Account,
    Attempt,
    Change,
    Expired,
    Inputs,
    LeasedJob,
    LeaseWish,
    NewJob,
    NewWorker,
)
from xwhep.server.store.sqlite import SqliteStore

SOURCE = Path(__file__).parents[3] / "src"
READY_TIMEOUT_S = 20
SHM = Path("/dev/shm")

MACHINE = {
    "os": "linux",
    "arch": "x86_64",
    "cpu_count": 2,
    "cpu_model": "test",
    "ram_bytes": 1 << 30,
    "disk_free_bytes": 1 << 30,
    "version": "11.0.0",
    "shared": ["python3"],
    "isolation": "process",
}
EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass
class Reply:
    status: int
    body: Any
    headers: dict[str, str]
    raw: bytes

    @property
    def code(self) -> str:
        return self.body["code"]


@dataclass
class Api:
    """One caller with a token, on a connection of its own."""

    port: int
    ca: Path
    token: str = ""
    _connection: http.client.HTTPSConnection | None = field(default=None, repr=False)

    def connection(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            context = ssl.create_default_context(cafile=str(self.ca))
            self._connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            names["Authorization"] = f"Bearer {self.token}"
        self.connection().request(method, path, content, names)
        response = self.connection().getresponse()
        raw = response.read()
        is_json = response.headers.get("content-type", "").startswith("application/json")
        parsed = json.loads(raw) if is_json and raw else None
        return Reply(response.status, parsed, {k.lower(): v for k, v in response.headers.items()}, raw)

    def get(self, path: str, **headers: str) -> Reply:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None) -> Reply:
        return self.call("POST", path, {} if body is None else body)

    def upload(self, content: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        assert self.call("PUT", f"/v1/blobs/{sha256}", content).status in (200, 201)
        return {"sha256": sha256, "size": len(content)}

    def register_app(self, name: str = "tool", content: bytes = b"#!/bin/sh\n", **machine: str) -> Reply:
        binary = {"os": "any", "arch": "any", **machine, **self.upload(content)}
        return self.post("/v1/apps", {"name": name, "binaries": [binary]})

    def submit(self, app: str = "tool", **spec: Any) -> dict[str, Any]:
        reply = self.post("/v1/jobs", {"app": app, **spec})
        assert reply.status == 200, reply
        return reply.body

    def ask(self, wait_s: float = 0, **machine: Any) -> Reply:
        return self.post("/v1/work/request", {"machine": {**MACHINE, **machine}, "wait_s": wait_s})

    def result(self, lease: dict[str, Any], stdout: bytes = b"out", **fields: Any) -> dict[str, Any]:
        files = {
            "stdout": {"path": "stdout", **self.upload(stdout)},
            "stderr": {"path": "stderr", "sha256": EMPTY, "size": 0},
        }
        return {
            "job_id": lease["job_id"],
            "attempt": lease["attempt"],
            "result": {"exit_code": 0, **files, "wall_s": 0.5, **fields},
        }

    def deliver(self, lease: dict[str, Any], **fields: Any) -> Reply:
        return self.post("/v1/work/result", self.result(lease, **fields))


class LiveServer:
    """The program as users run it; `start` returns when it says that it is ready."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log_path = state.parent / f"{state.name}.log"
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self._apis: list[Api] = []

    def start(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [*self.command("run"), "--listen", f"127.0.0.1:{self.port}", "--disk-reserve-mb", "1", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        watchdog = threading.Timer(READY_TIMEOUT_S, self.process.kill)
        watchdog.start()
        self._await_ready()
        watchdog.cancel()
        threading.Thread(target=self._drain, daemon=True).start()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "xwhep.server.main", *words, "--state", str(self.state)]

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
        return {**clean, "PYTHONPATH": str(SOURCE)}

    def _await_ready(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if " ready " in line:
                self.port = int(line.rsplit(":", 1)[1])
                self.log_path.write_text("".join(seen))
                return
        pytest.fail("the server did not start:\n" + "".join(seen))

    def _drain(self) -> None:
        process = self.process
        assert process is not None
        assert process.stderr is not None
        with self.log_path.open("a") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()

    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self) -> int:
        assert self.process is not None
        self._disconnect()
        self.process.terminate()
        return self.process.wait(10)

    def kill(self) -> None:
        """As a power cut for the program."""
        assert self.process is not None
        self._disconnect()
        self.process.kill()
        self.process.wait(10)

    def _disconnect(self) -> None:
        for api in self._apis:
            api.close()

    def api(self, token: str = "") -> Api:
        api = Api(self.port, self.state / "ca.pem", token)
        self._apis.append(api)
        return api

    def run_command(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment(),
            check=False,
            timeout=30,
        )

    def login(self, login: str, password: str) -> Api:
        reply = self.api().post("/v1/login", {"login": login, "password": password})
        assert reply.status == 200, reply
        return self.api(reply.body["token"])

    def admin(self) -> Api:
        login, password = (self.state / "admin.login").read_text().split()
        return self.login(login, password)

    def user(self, name: str) -> Api:
        made = self.run_command("user", "add", name, stdin=f"secret of {name}\n")
        assert made.returncode == 0, made
        return self.login(name, f"secret of {name}")

    def worker(self, name: str = "node1", **machine: Any) -> Api:
        token = (self.state / "join.token").read_text().strip()
        reply = self.api().post("/v1/enrol", {"join_token": token, "name": name, "machine": {**MACHINE, **machine}})
        assert reply.status == 200, reply
        return self.api(reply.body["token"])


@pytest.fixture
def fast_folder() -> Iterator[Path]:
    """In memory where there is such a disk: the tests are about behaviour, not about the disk."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def live(fast_folder: Path) -> Iterator[LiveServer]:
    """A running server with an empty state folder of its own."""
    server = LiveServer(fast_folder / "state")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def stopped(fast_folder: Path) -> Iterator[LiveServer]:
    """The same, not started: for tests that choose flags."""
    server = LiveServer(fast_folder / "state")
    yield server
    if server.process is not None:
        server.kill()


@pytest.fixture(scope="session")
def live_server_class() -> type[LiveServer]:
    """For modules that share one server among their tests."""
    return LiveServer


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], Any]], Callable[[], Any]]]:
    """Start a call in a thread; what comes back waits for its value."""
    threads: list[threading.Thread] = []

    def start(call: Callable[[], Any]) -> Callable[[], Any]:
        values: list[Any] = []
        thread = threading.Thread(target=lambda: values.append(call()))
        thread.start()
        threads.append(thread)

        def value() -> Any:
            thread.join(30)
            assert values, "the call in the background failed or did not end"
            return values[0]

        return value

    yield start
    for thread in threads:
        thread.join(30)


@pytest.fixture
def run() -> Callable[[Any], Any]:
    """Run a coroutine function to its end."""
    return lambda function: asyncio.run(function())


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kit:
    """A store with a user, an app and two workers in it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock, self.app_id = store, clock, ""
        self.changes: list[Change] = []

    async def fill(self) -> None:
        self.store.on_change(self.changes.extend)
        for login in ("ann", "bob"):
            await self.store.people.add_user(Account(login=login, role="user", password_hash="hash"))
        for number in (1, 2):
            worker = NewWorker(
                id=f"w{number}",
                name=f"node{number}",
                token_hash=f"t{number}",
                machine=msgspec.convert(MACHINE, Machine),
            )
            await self.store.people.enrol(worker)
        binary = Binary(os="any", arch="any", sha256="a" * 64, size=1)
        self.app_id = (await self.store.assets.save_app("ann", AppSpec(name="tool", binaries=[binary]))).id

    async def submit(self, owner: str = "ann", *, inputs: Inputs | None = None, **spec: object) -> str:
        new = NewJob(owner=owner, app_id=self.app_id, spec=JobSpec(app="tool", **spec), inputs=inputs or Inputs())
        return (await self.store.jobs.submit(new)).id

    async def lease(self, worker: str = "w1", *, apps: tuple[str, ...] | None = None) -> LeasedJob | None:
        until = self.clock.now + 15
        wish = LeaseWish(worker_id=worker, worker_name=worker, app_ids=apps or (self.app_id,), until=until)
        return await self.store.jobs.lease(wish)

    async def leased(self, worker: str = "w1") -> Attempt:
        job = await self.lease(worker)
        assert job is not None
        return Attempt(job_id=job.id, number=job.attempt, worker_id=worker)

    async def state(self, job_id: str) -> JobState:
        job = await self.store.jobs.job(job_id)
        assert job is not None
        return job.state

    async def expire(self) -> Expired:
        self.clock.now += 16
        (expired,) = await self.store.jobs.expired(10)
        return expired


def open_sqlite(folder: Path, clock: Clock) -> Store:
    return SqliteStore(folder / "xwhep.db", synchronous="OFF", clock=clock)


@pytest.fixture(params=[open_sqlite], ids=["sqlite"])
def kit(request: pytest.FixtureRequest, fast_folder: Path) -> Callable[[], AsyncIterator[Kit]]:
    """`async with kit() as kit` opens the store of the folder; again opens it again."""
    opener, clock = request.param, Clock()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Kit]:
        store = opener(fast_folder, clock)
        fresh = not (fast_folder / "xwhep.db").exists()
        await store.open()
        made = Kit(store, clock)
        if fresh:
            await made.fill()
        else:
            made.app_id = (await store.assets.apps())[0].id
        try:
            yield made
        finally:
            await store.close()

    return opened
