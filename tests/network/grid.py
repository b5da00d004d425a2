"""A grid under test: asked by HTTP from a container beside it, its workers known by name.

desk: caller.py <── one exec that stays open ── Line ── Caller (a user's or worker's token) ── tests
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from containers import Box, Lab, Wanted, together
from docker.utils.socket import frames_iter

HERE = Path(__file__).parent
PORT = 4321
FINAL = ("completed", "failed", "cancelled")
WAIT_S = 20.0
PASSWORD = "correct horse battery"
# Runs until jobs_process.py lets it go; its child is called by its first argument.
HELD = """#!/bin/bash
trap 'kill $!; echo "released $1"; exit 0' USR1
(exec -a "$1" sleep infinity) &
wait
"""
SAY = '#!/bin/bash\necho "number $1"\n'
Job = dict[str, Any]


class Line:
    """caller.py in a container: one exec for the whole session, since each new one costs 0.1 s."""

    def __init__(self, desk: Box) -> None:
        api = desk.raw.client.api
        argv = ["python3", "-c", (HERE / "caller.py").read_text()]
        self._socket = api.exec_start(api.exec_create(desk.raw.id, argv, stdin=True)["Id"], socket=True)
        self._frames = frames_iter(self._socket, tty=False)

    def say(self, message: Any) -> None:
        # The SDK hands out a socket's reading side; the socket itself is in it, but for TLS.
        getattr(self._socket, "_sock", self._socket).sendall(json.dumps(message).encode() + b"\n")

    def ask(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.say(calls)
        answer = b""
        while not answer.endswith(b"\n"):
            stream, chunk = next(self._frames)
            assert stream == 1, chunk.decode()
            answer += chunk
        answers: list[dict[str, Any]] = json.loads(answer)
        return answers

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks."""

    line: Line
    token: str = ""

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """{"status", "body"} of one call; `json` or `text` is sent."""
        return self.line.ask([{"method": method, "path": path, "token": self.token, **body}])[0]

    def status(self, method: str, path: str, **body: Any) -> int:
        return int(self.call(method, path, **body)["status"])

    def get(self, path: str) -> Any:
        return self._good(self.call("GET", path), path)

    def post(self, path: str, **fields: Any) -> Any:
        return self._good(self.call("POST", path, json=fields), path)

    def get_all(self, paths: Sequence[str]) -> list[Any]:
        """Many at once, on one connection."""
        calls = [{"method": "GET", "path": path, "token": self.token} for path in paths]
        return [self._good(answer, path) for path, answer in zip(paths, self.line.ask(calls), strict=True)]

    @staticmethod
    def _good(answer: dict[str, Any], path: str) -> Any:
        assert answer["status"] in (200, 201, 204), f"{path}: {answer}"
        return answer["body"]

    def upload(self, text: str) -> dict[str, Any]:
        """Store a text; its hash and size, as apps, data and results name it."""
        sha256 = sha256_of(text)
        assert self.status("PUT", f"/v1/blobs/{sha256}", text=text) in (200, 201)
        return {"sha256": sha256, "size": len(text.encode())}

    def add_app(self, name: str, script: str) -> None:
        self.post("/v1/apps", name=name, binaries=[{"os": "linux", "arch": "any", **self.upload(script)}])

    def submit(self, app: str, *args: str, **more: Any) -> Job:
        job: Job = self.post("/v1/jobs", app=app, args=list(args), **more)
        return job

    def stdout(self, job: Job) -> str:
        return str(self.get(f"/v1/blobs/{job['result']['stdout']['sha256']}"))

    def when(self, job: Job, wanted: Callable[[Job], bool], limit_s: float = WAIT_S) -> Job:
        """The job as soon as it is as wanted, by long poll."""
        deadline, seen = time.monotonic() + limit_s, 0
        while True:
            wait = max(0.0, min(WAIT_S, deadline - time.monotonic()))
            job = self.get(f"/v1/jobs/{job['id']}?seen={seen}&wait={wait:.3f}")
            if wanted(job):
                return job
            assert job["state"] not in FINAL, job
            assert time.monotonic() < deadline, job
            seen = job["revision"]

    def running(self, job: Job, attempt: int = 1) -> Job:
        return self.when(job, lambda now: now["state"] == "running" and now.get("attempt") == attempt)

    def completed(self, job: Job) -> Job:
        return self.when(job, lambda now: now["state"] == "completed")


@dataclass(frozen=True, kw_only=True)
class FleetWorker:
    """A worker in a container."""

    name: str
    box: Box

    def job_is(self, wish: str, mark: str) -> None:
        """Wait until a held job's process is `seen` or `gone` here, or `release` it."""
        self.box.call("python3", "-c", (HERE / "jobs_process.py").read_text(), mark, wish)


@dataclass(kw_only=True)
class Grid:
    """The server's container, who asks it, its workers."""

    server: Box
    line: Line
    lab: Lab
    network: Any
    admin: Caller
    workers: dict[str, FleetWorker] = field(default_factory=dict)

    @classmethod
    def beside(cls, server: Box, line: Line, lab: Lab, network: Any) -> Grid:
        """Log in as its administrator, and register the apps that tests use."""
        login, password, authority = server.read("cat admin.login ca.pem").split("\n", 2)
        server.raw.reload()
        # Its address, not its name: podman's name server is deaf for seconds while containers come and go.
        address = server.raw.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]
        line.say({"host": address, "port": PORT, "authority": authority})
        session = Caller(line=line).post("/v1/login", login=login, password=password)
        admin = Caller(line=line, token=session["token"])
        admin.add_app("held", HELD)
        admin.add_app("say", SAY)
        return cls(server=server, line=line, lab=lab, network=network, admin=admin)

    def add_workers(self, labels: dict[str, str], join_line: str) -> None:
        """Workers of two slots each, by name, with their labels; there when this returns."""

        def start(name: str) -> Box:
            environment = {
                "XWHEP_JOIN": join_line,
                "XWHEP_WORKER_NAME": name,
                "XWHEP_WORKER_SLOTS": "2",
                "XWHEP_WORKER_LABELS": labels[name],
            }
            wanted = Wanted(role="worker", name=name, network=self.network.name, environment=environment)
            return self.lab.start(wanted)

        for box in together(*(partial(start, name) for name in labels)):
            self.workers[box.name] = FleetWorker(name=box.name, box=box)
        for name in labels:
            self.wait_for_worker(name)

    def view(self, name: str) -> dict[str, Any]:
        """A worker as the server shows it."""
        found = [worker for worker in self.admin.get("/v1/workers") if worker["name"] == name]
        return found[0] if found else {}

    def wait_for_worker(self, name: str, state: str = "idle") -> None:
        until(lambda: self.view(name).get("state") == state, f"{name} is {state}")

    def pair(self, job: Job) -> tuple[FleetWorker, FleetWorker]:
        """The worker that runs a job, and another."""
        others = [worker for name, worker in self.workers.items() if name != job["worker"]]
        return self.workers[job["worker"]], others[0]

    def complete(self) -> None:
        """Start again whichever workers a test before ended."""
        states = {view["name"]: view["state"] for view in self.admin.get("/v1/workers")}
        away = [worker for name, worker in self.workers.items() if states.get(name) in ("lost", "left")]
        for worker in away:
            worker.box.start_again()
        for worker in away:
            self.wait_for_worker(worker.name)

    def wait_for_server(self) -> None:
        until(lambda: self.admin.status("GET", "/readyz") == 200, "the server is ready")

    def add_user(self, login: str) -> Caller:
        self.admin.post("/v1/users", login=login, password=PASSWORD)
        session = Caller(line=self.line).post("/v1/login", login=login, password=PASSWORD)
        return Caller(line=self.line, token=session["token"])


@dataclass(frozen=True, kw_only=True)
class HandMadeWorker:
    """A worker that is only calls, so that it can do what no honest one does."""

    caller: Caller
    id: str
    machine: dict[str, Any]

    @classmethod
    def enrol(cls, grid: Grid, name: str, join_token: str, labels: Sequence[str] = ()) -> HandMadeWorker:
        machine = {
            "os": "linux",
            "arch": os.uname().machine,
            "cpu_count": 1,
            "cpu_model": "by hand",
            "ram_bytes": 2**30,
            "disk_free_bytes": 2**30,
            "version": "11",
            "labels": list(labels),
        }
        nobody = Caller(line=grid.line)
        enrolled = nobody.post("/v1/enrol", join_token=join_token, name=name, machine=machine)
        return cls(caller=Caller(line=grid.line, token=enrolled["token"]), id=enrolled["worker_id"], machine=machine)

    def take(self, wait_s: float = 10.0) -> dict[str, Any]:
        """A lease; empty when there is no job for it."""
        answer = self.caller.call("POST", "/v1/worker/request", json={"machine": self.machine, "wait_s": wait_s})
        assert answer["status"] in (200, 204), answer
        return answer["body"] or {}

    def deliver(self, lease: dict[str, Any], stdout: str) -> None:
        result = {
            "exit_code": 0,
            "stdout": {"path": "stdout", **self.caller.upload(stdout)},
            "stderr": {"path": "stderr", **self.caller.upload("")},
        }
        self.caller.post("/v1/worker/result", job_id=lease["job_id"], attempt=lease["attempt"], result=result)

    def leave(self) -> None:
        self.caller.post("/v1/worker/leave")


def join_token(grid: Grid) -> str:
    return str(grid.admin.post("/v1/tokens/join")["token"])


def until(holds: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    """Ask again and again, for what the grid announces to nobody."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"not after {limit_s} s: {what}"
        time.sleep(0.02)


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
