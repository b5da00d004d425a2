"""The server as a process of its own, and callers that cost little: they share the cores with it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

SOURCE = Path(__file__).parents[2] / "src"
MACHINE = {
    "os": "linux",
    "arch": "x86_64",
    "cpu_count": 8,
    "cpu_model": "bench",
    "ram_bytes": 1 << 30,
    "disk_free_bytes": 1 << 30,
    "version": "bench",
}
EMPTY = {"path": "stderr", "sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
USER, PASSWORD = "bench-user", "bench password"


class Server:
    """The program as users run it. `source` is the code that it runs, to compare versions."""

    def __init__(self, state: Path, source: Path = SOURCE) -> None:
        self.state, self.source = state, source
        self.port = 0

    def start(self, *flags: str) -> float:
        """Returns the seconds until it was ready."""
        began = time.perf_counter()
        command = [sys.executable, "-m", "xwhep.server.main", "run"]
        self.log = (self.state.parent / "server.log").open("a+")
        position = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [*command, "--state", str(self.state), "--listen", "127.0.0.1:0", *flags],
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": str(self.source)},
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

    def join_line(self, role: str) -> str:
        """What `xwhep-server join-line` prints between its quotes."""
        command = [sys.executable, "-m", "xwhep.server.main", "join-line", role, "--state", str(self.state)]
        environment = {**os.environ, "PYTHONPATH": str(self.source)}
        words = [*command, "--address", f"localhost:{self.port}"]
        printed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
        return printed.split("'")[1]

    def cpu_s(self) -> float:
        """Processor time that it used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Caller(asyncio.Protocol):
    """One keep-alive connection, one call at a time."""

    def __init__(self, server: Server, token: str = "") -> None:
        self._server = server
        self._head = f"Host: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: "
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    async def open(self, source_address: str = "127.0.0.1") -> Caller:
        loop = asyncio.get_running_loop()
        await loop.create_connection(
            lambda: self,
            "127.0.0.1",
            self._server.port,
            ssl=_trusting(self._server.state),
            server_hostname="localhost",
            local_addr=(source_address, 0),
        )
        return self

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        _, _, rest = head.partition(b"content-length:")
        total = end + 4 + (int(rest.split(b"\r\n", 1)[0]) if rest else 0)
        if len(self._received) >= total and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(self._received[:total]))
            del self._received[:total]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(f"{method} {path} HTTP/1.1\r\n{self._head}{len(content)}\r\n\r\n".encode() + content)
        answer = await self._answer
        status, (_, _, text) = int(answer[9:12]), answer.partition(b"\r\n\r\n")
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {text[:300]!r}")
        return status, text

    async def post(self, path: str, body: Any) -> Any:
        _, text = await self.call("POST", path, body)
        return msgspec.json.decode(text) if text else None

    async def get(self, path: str) -> Any:
        return msgspec.json.decode((await self.call("GET", path))[1])

    async def upload(self, content: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        await self.call("PUT", f"/v1/blobs/{sha256}", content)
        return {"sha256": sha256, "size": len(content)}


_contexts: dict[Path, ssl.SSLContext] = {}


def _trusting(state: Path) -> ssl.SSLContext:
    if state not in _contexts:
        _contexts[state] = ssl.create_default_context(cafile=str(state / "ca.pem"))
    return _contexts[state]


async def admin(server: Server) -> Caller:
    login, password = (server.state / "admin.login").read_text().split()
    return await _logged_in(server, login, password)


async def user(server: Server) -> Caller:
    """An ordinary one: what it may is looked up."""
    return await _logged_in(server, USER, PASSWORD)


async def _logged_in(server: Server, login: str, password: str) -> Caller:
    session = await (await Caller(server).open()).post("/v1/login", {"login": login, "password": password})
    return await Caller(server, session["token"]).open()


async def worker(server: Server, name: str) -> Caller:
    return await Caller(server, await enrolled(await Caller(server).open(), server, name)).open()


async def enrolled(stranger: Caller, server: Server, name: str) -> str:
    """A new worker's token."""
    token = (server.state / "join.token").read_text().strip()
    made = await stranger.post("/v1/enrol", {"join_token": token, "name": name, "machine": MACHINE})
    return str(made["token"])


async def prepare(server: Server, program: bytes = b"#", name: str = "bench") -> None:
    """An ordinary user, and an app of the administrator that everyone may run."""
    owner = await admin(server)
    users = await owner.get("/v1/users")
    if USER not in [each["login"] for each in users]:
        await owner.post("/v1/users", {"login": USER, "password": PASSWORD})
    binary = {"os": "any", "arch": "any", **await owner.upload(program)}
    await owner.post("/v1/apps", {"name": name, "binaries": [binary]})


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[max(0, int(len(values) * part) - 1)]
