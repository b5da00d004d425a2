"""Fixtures: a store on a fast disk, and the real server as a process of its own, spoken to over TLS."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from live_server import LiveServer
from server_kit import Clock, Kit, open_sqlite

SHM = Path("/dev/shm")


@pytest.fixture
def fast_folder() -> Iterator[Path]:
    """In memory where there is such a disk: the tests are about behaviour, not about the disk."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def shared_fast_folder() -> Iterator[Path]:
    """The same, for modules that share one server among their tests."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def first_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first start leaves behind; its keys and its database cost a third as much as the start itself."""
    server = LiveServer(tmp_path_factory.mktemp("first") / "state")
    server.start()
    assert server.stop() == 0
    return server.state


@pytest.fixture
def live(fast_folder: Path, first_state: Path) -> Iterator[LiveServer]:
    """A running server with a state folder of its own, which holds what a first start makes and nothing else."""
    server = LiveServer(fast_folder / "state")
    shutil.copytree(first_state, server.state)
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
