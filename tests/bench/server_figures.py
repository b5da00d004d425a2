"""Measures the server alone, over loopback TLS with durable commits, and prints one flat JSON object.

    python tests/bench/server_figures.py [--lives 2000] [--callers 16]

server_ready_s            process start to "ready", median of 5, state folder made before
server_first_start_s      the same with no state folder: authority, certificate, admin made
server_rest_mb            resident memory after the start
submit_lease_p50_ms, p99  a submission sent, to its lease in the hands of a worker that waited for it
lives_per_s               submit, lease, upload of stdout, result: whole lives, by so many callers at once
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

SOURCE = Path(__file__).parents[2] / "src"
MACHINE = {
    "os": "linux",
    "arch": "x86_64",
    "cpu_count": 2,
    "cpu_model": "bench",
    "ram_bytes": 1 << 30,
    "disk_free_bytes": 1 << 30,
    "version": "bench",
}
EMPTY = hashlib.sha256(b"").hexdigest()


class Server:
    """The program as a process of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = 0

    def start(self) -> float:
        """Returns the seconds until it was ready."""
        began = time.perf_counter()
        command = [sys.executable, "-m", "xwhep.server.main", "run"]
        self.log = (self.state.parent / "server.log").open("a+")
        position = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [*command, "--state", str(self.state), "--listen", "127.0.0.1:0"],
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        while True:
            self.log.seek(position)
            for line in self.log:
                if " ready " in line and line.endswith("\n"):
                    self.port = int(line.rsplit(":", 1)[1])
                    return time.perf_counter() - began
            if self.process.poll() is not None:
                raise SystemExit("the server did not start, see " + self.log.name)
            time.sleep(0.002)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.log.close()

    def rest_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Caller:
    """One keep-alive connection; as little client as possible, since it shares the cores with the server."""

    def __init__(self, server: Server, token: str = "") -> None:
        self._server = server
        self._token = token

    async def open(self) -> Caller:
        context = ssl.create_default_context(cafile=str(self._server.state / "ca.pem"))
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._server.port, ssl=context, server_hostname="localhost"
        )
        return self

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\n"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status = int(answer[9:12])
        length = 0
        for line in answer.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        text = await self._reader.readexactly(length) if length else b""
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {text[:300]!r}")
        return status, json.loads(text) if text else None

    async def post(self, path: str, body: Any) -> Any:
        return (await self.call("POST", path, body))[1]

    async def upload(self, content: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        await self.call("PUT", f"/v1/blobs/{sha256}", content)
        return {"sha256": sha256, "size": len(content)}


async def user(server: Server) -> Caller:
    login, password = (server.state / "admin.login").read_text().split()
    session = await (await Caller(server).open()).post("/v1/login", {"login": login, "password": password})
    return await Caller(server, session["token"]).open()


async def worker(server: Server, name: str) -> Caller:
    token = (server.state / "join.token").read_text().strip()
    stranger = await Caller(server).open()
    enrolled = await stranger.post("/v1/enrol", {"join_token": token, "name": name, "machine": MACHINE})
    return await Caller(server, enrolled["token"]).open()


async def finish(caller: Caller, lease: dict[str, Any]) -> None:
    stdout = {"path": "stdout", **await caller.upload(f"output of {lease['job_id']}\n".encode())}
    result = {"exit_code": 0, "stdout": stdout, "stderr": {"path": "stderr", "sha256": EMPTY, "size": 0}}
    await caller.post("/v1/worker/result", {"job_id": lease["job_id"], "attempt": lease["attempt"], "result": result})


async def submit_to_lease_ms(server: Server, count: int) -> list[float]:
    submitter, taker = await user(server), await worker(server, "waiting")
    times = []
    for _ in range(count):
        waiting = asyncio.create_task(taker.post("/v1/worker/request", {"machine": MACHINE, "wait_s": 30}))
        await asyncio.sleep(0.01)  # so that it is parked: the figure is about a worker that waits
        began = time.perf_counter()
        submission = asyncio.create_task(submitter.post("/v1/jobs", {"app": "bench"}))
        lease = await waiting
        times.append((time.perf_counter() - began) * 1000)
        await submission
        await finish(taker, lease)
    return times


async def lives_per_s(server: Server, lives: int, callers: int) -> float:
    users = [await user(server) for _ in range(callers)]
    workers = [await worker(server, f"node{number}") for number in range(callers)]
    left = [lives]

    async def submitting(caller: Caller) -> None:
        while left[0] > 0:
            left[0] -= 1
            await caller.post("/v1/jobs", {"app": "bench"})

    done = [0]

    async def working(caller: Caller) -> None:
        while done[0] < lives:
            lease = await caller.post("/v1/worker/request", {"machine": MACHINE, "wait_s": 0.2})
            if lease is not None:
                await finish(caller, lease)
                done[0] += 1

    began = time.perf_counter()
    await asyncio.gather(*map(submitting, users), *map(working, workers))
    return lives / (time.perf_counter() - began)


async def measure_calls(server: Server, arguments: argparse.Namespace) -> dict[str, float]:
    admin = await user(server)
    await admin.post(
        "/v1/apps", {"name": "bench", "binaries": [{"os": "any", "arch": "any", **await admin.upload(b"#")}]}
    )
    times = sorted(await submit_to_lease_ms(server, arguments.samples))
    return {
        "submit_lease_p50_ms": round(statistics.median(times), 2),
        "submit_lease_p99_ms": round(times[int(len(times) * 0.99) - 1], 2),
        "lives_per_s": round(await lives_per_s(server, arguments.lives, arguments.callers), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=2000)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--samples", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "state")
        figures = {"server_first_start_s": round(server.start(), 3)}
        ready = []
        for _ in range(5):
            server.stop()
            ready.append(server.start())
        figures["server_ready_s"] = round(statistics.median(ready), 3)
        figures["server_rest_mb"] = round(server.rest_mb(), 1)
        try:
            figures.update(uvloop.run(measure_calls(server, arguments)))
        finally:
            server.stop()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
