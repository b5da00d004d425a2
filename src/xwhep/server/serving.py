"""Running the application: TLS, the socket, uvicorn, and a stop in good order."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from xwhep.server.app import make_app
from xwhep.server.deployment import read_deployment
from xwhep.server.discovery import open_responder
from xwhep.server.grid import Grid, Secrets, make_grid
from xwhep.server.keeper import Keeper
from xwhep.server.listening import listening_sockets, shown_addresses
from xwhep.server.logs import configure_logging, log_event
from xwhep.server.machine_names import names_of_this_machine
from xwhep.server.settings import Settings
from xwhep.server.state import StateFolder, explained, opened_state
from xwhep.server.store.sqlite import SqliteStore
from xwhep.server.supervisor import READY, STOPPING, tell_supervisor

GRACE_S = 1  # for requests under way at the stop; long-polls answer at once
KEEP_ALIVE_S = 75  # longer than workers and clients pause between two requests
BACKLOG = 2048
MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 30.0  # for TLS done to the end of the request's head
# Threads that sync blobs and commits share the interpreter with the loop; with the default of 5 ms they wait for it.
SWITCH_INTERVAL_S = 0.0005


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP over httptools, which takes request heads of any size and age; this one does not."""

    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
            return
        self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class GridServer(uvicorn.Server):
    """uvicorn with the grid's life around it."""

    def __init__(self, config: uvicorn.Config, grid: Grid) -> None:
        super().__init__(config)
        self._grid = grid

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again at the end, which would cut the closing of the store short."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log_event("ready", listen=shown_addresses(sockets or ()))
        tell_supervisor(READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log_event("stopping")
        tell_supervisor(STOPPING)
        self._grid.release_waiting()
        await super().shutdown(sockets)


def tls_context(server_pem: Path) -> ssl.SSLContext:
    """TLS 1.3 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(server_pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


def uvicorn_config(app: Any, context: ssl.SSLContext, *, access_log: bool) -> uvicorn.Config:
    """uvicorn's settings; the TLS context is ours because uvicorn's cannot be told a lowest version."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        proxy_headers=False,  # the address that is throttled and logged is the connection's
        access_log=access_log,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
    )
    config.load()
    config.ssl = context
    return config


def run_server(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises:
        PortTaken, AddressUnusable, and what read_deployment and opened_state raise
    """
    signal.signal(signal.SIGTERM, _exit_early)
    configure_logging(settings.log_format, access_log=settings.access_log)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _allow_many_connections()
    sockets = listening_sockets(settings.listen)
    names = names_of_this_machine(settings.name)
    found = StateFolder(path=settings.state, deployment=read_deployment(settings.deployment))
    with opened_state(found, names) as folder:
        _say_how_to_join(folder)
        secrets = Secrets(
            ca_pem=folder.authority.ca_pem.read_text("ascii"), join_token=folder.read_secret(folder.join_token)
        )
        context = tls_context(folder.authority.server_pem)
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            grid = make_grid(settings, secrets, SqliteStore(folder.database))
            keeper = Keeper(
                grid=grid, context=context, files=folder.authority, names=names if folder.owns_authority else None
            )
            runner.run(_serve(grid, keeper, (folder, sockets)))
    log_event("stopped")
    return 0


async def _serve(grid: Grid, keeper: Keeper, parts: tuple[StateFolder, list[socket.socket]]) -> None:
    folder, sockets = parts
    with explained(folder.path):
        await grid.open()
    config = uvicorn_config(make_app(grid), keeper.context, access_log=grid.settings.access_log)
    server = GridServer(config, grid)
    chores = {asyncio.create_task(grid.reaper().run()), asyncio.create_task(keeper.run())}
    for chore in chores:
        chore.add_done_callback(lambda task: _stop_when_broken(task, server))
    responder = await open_responder(grid.settings, sockets[0].getsockname()[1])
    try:
        await server.serve(sockets=sockets)
    finally:
        if responder is not None:
            responder.close()
        for chore in chores:
            chore.cancel()
        await asyncio.wait(chores)
        await grid.close()
    for chore in chores:
        if not chore.cancelled():
            chore.result()


def _stop_when_broken(task: asyncio.Task[None], server: uvicorn.Server) -> None:
    # A server that no longer finds lost jobs must not look healthy: whoever supervises it starts it again.
    if not task.cancelled() and task.exception() is not None:
        server.should_exit = True


def _new_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _exit_early(signum: int, frame: FrameType | None) -> None:
    """Until uvicorn takes the signals over."""
    raise SystemExit(0)


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say_how_to_join(folder: StateFolder) -> None:
    log_event("to add a worker, run on this machine: xwhep-server join-line worker")
    log_event("to log in as administrator, run on this machine: xwhep-server join-line client")
    log_event("state folder opened", folder=folder.path)
    if folder.deployment is not None:
        log_event("deployment taken over", folder=folder.deployment.folder)
