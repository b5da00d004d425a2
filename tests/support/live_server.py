"""The real server as a process of its own, spoken to over TLS: for tests of the server, and of roles together."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"
READY_TIMEOUT_S = 20

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
        return self.post("/v1/worker/request", {"machine": {**MACHINE, **machine}, "wait_s": wait_s})

    def ask_many(self, slots: int, wait_s: float = 0) -> list[dict[str, Any]]:
        reply = self.post("/v1/worker/leases", {"machine": MACHINE, "slots": slots, "wait_s": wait_s})
        assert reply.status in (200, 204), reply
        return reply.body["leases"] if reply.status == 200 else []

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
        return self.post("/v1/worker/result", self.result(lease, **fields))


class LiveServer:
    """The program as users run it; `start` returns when it says that it is ready."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log_path = state.parent / f"{state.name}.log"
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self._apis: list[Api] = []

    def launch(self, *flags: str) -> subprocess.Popen[str]:
        """Without waiting until it is ready."""
        self.process = subprocess.Popen(
            [*self.command("run"), "--listen", f"127.0.0.1:{self.port}", "--disk-reserve-mb", "1", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        return self.process

    def start(self, *flags: str) -> None:
        self.process = self.launch(*flags)
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
        """Made by the administrator: the command `user add` is one more process, and has tests of its own."""
        made = self.admin().post("/v1/users", {"login": name, "password": f"secret of {name}", "role": "user"})
        assert made.status == 200, made
        return self.login(name, f"secret of {name}")

    def worker(self, name: str = "node1", **machine: Any) -> Api:
        token = (self.state / "join.token").read_text().strip()
        reply = self.api().post("/v1/enrol", {"join_token": token, "name": name, "machine": {**MACHINE, **machine}})
        assert reply.status == 200, reply
        return self.api(reply.body["token"])
