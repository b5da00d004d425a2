"""SQLite with one writer. Requests that wait together share one transaction, and so one sync to disk.

requests ─► BEGIN ─ savepoint, request 1 ─ savepoint, request 2 ... ─► COMMIT, in a thread ─► all replies
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xwhep.common.errors import DiskFull, ServerFailed, XwhepError
from xwhep.server.failures import StateTooNew
from xwhep.server.store.queries import load_queries, migrations
from xwhep.server.store.records import Change

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
BATCH_LIMIT = 256  # requests in one transaction, so that the first never waits long for the last
BUSY_TIMEOUT_S = 10.0  # for the other processes that write: `user add`, `join-line client`
BUSY_RETRY_S = 0.005


class Tx:
    """Named queries on one connection, and what they changed."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._connection = connection
        self._queries = load_queries()
        self.now = now
        self.changes: list[Change] = []

    def run(self, query: str, /, **params: Any) -> int:
        """Returns how many rows changed."""
        return self._connection.execute(self._queries[query], params).rowcount

    def many(self, query: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(self._queries[query], rows)

    def one(self, query: str, /, **params: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(self._queries[query], params).fetchone()
        return row

    def all(self, query: str, /, **params: Any) -> list[sqlite3.Row]:
        return self._connection.execute(self._queries[query], params).fetchall()


def connect(path: Path, *, synchronous: str = "FULL") -> sqlite3.Connection:
    """A connection with the settings that durability needs; transactions are begun by hand."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        "cache_size = -16000",  # KiB
        "wal_autocheckpoint = 4000",  # pages: each checkpoint is two more syncs
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to this program's version.

    Raises:
        StateTooNew: a newer server wrote it.
    """
    known = migrations()
    newest = known[-1][0]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise StateTooNew(
            f"the database has schema {version}, this server knows {newest}",
            "install the server version that wrote it, or a newer one; or put back what you kept before the upgrade: "
            "xwhep-server restore --force FILE",
        )
    applied = _applied(connection, version)
    for number, script in known:
        if number not in applied:
            note = f"INSERT INTO migrations VALUES ({number}); PRAGMA user_version = {max(version, number)};"  # noqa: S608
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{note}\nCOMMIT;")


def _applied(connection: sqlite3.Connection, version: int) -> set[int]:
    """Numbers of the migrations that the file went through: a set, since branches that are joined add any order."""
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY) STRICT")
    if version == 1:  # written before there was this table
        connection.execute("INSERT OR IGNORE INTO migrations (number) VALUES (1)")
    return {row[0] for row in connection.execute("SELECT number FROM migrations")}


def translate(exc: sqlite3.Error) -> XwhepError:
    """What a person can do about an error of SQLite."""
    if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return DiskFull("the server's disk is full", "free space on the server")
    return ServerFailed(f"the database failed: {exc}", "see the server's log")


@contextmanager
def transaction(path: Path) -> Iterator[Tx]:
    """One transaction of a command beside the running server."""
    with closing(connect(path)) as connection:
        migrate(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield Tx(connection, time.time())
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@dataclass(eq=False)
class _Request(Generic[T]):
    operation: Callable[[Tx], T]
    future: asyncio.Future[T]
    result: T | None = None
    error: Exception | None = None
    changes: list[Change] = field(default_factory=list)
    long: bool = False


class Database:
    """One writing connection. Statements run on the event loop, only the sync to disk in a thread: SQLite gives the
    interpreter's lock away at every statement, and two busy threads that pass it to and fro are three times slower."""

    def __init__(self, path: Path, *, synchronous: str = "FULL", clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._synchronous = synchronous
        self._clock = clock
        self._waiting: list[_Request[Any]] = []
        self._busy = False  # a flush is scheduled, or its commit is under way
        self._listener: Callable[[list[Change]], None] | None = None

    def on_change(self, listener: Callable[[list[Change]], None]) -> None:
        self._listener = listener

    def open(self) -> None:
        """Call on the event loop.

        Raises:
            StateTooNew: a newer server wrote the file.
        """
        import asyncio  # noqa: PLC0415 - commands beside the server start in half the time without it
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        self._loop = asyncio.get_running_loop()
        self._writer = connect(self._path, synchronous=self._synchronous)
        migrate(self._writer)
        self._writer.execute("PRAGMA busy_timeout = 0")  # _flush waits, not SQLite: it would stop the event loop
        self._reader = connect(self._path, synchronous=self._synchronous)
        self._scanner = connect(self._path, synchronous=self._synchronous)
        self._commits = ThreadPoolExecutor(1, "store-commit")
        self._scans = ThreadPoolExecutor(1, "store-scan")

    async def close(self) -> None:
        """Waits for the writes that are under way."""
        await self.write(lambda tx: None)
        self._commits.shutdown()
        self._scans.shutdown()
        for connection in (self._scanner, self._reader, self._writer):
            connection.close()

    def read(self, operation: Callable[[Tx], T]) -> T:
        """For look-ups of a few rows: faster on the loop than a hop to a thread."""
        try:
            return operation(Tx(self._reader, self._clock()))
        except sqlite3.Error as exc:
            raise translate(exc) from exc

    async def scan(self, operation: Callable[[Tx], T]) -> T:
        """For reads that may take long."""
        try:
            return await self._loop.run_in_executor(self._scans, lambda: operation(Tx(self._scanner, self._clock())))
        except sqlite3.Error as exc:
            raise translate(exc) from exc

    async def write(self, operation: Callable[[Tx], T]) -> T:
        """Run `operation` in a transaction of its own as far as it can tell; returns when that is on disk."""
        return await self._enqueue(_Request(operation, self._loop.create_future()))

    async def write_long(self, operation: Callable[[Tx], T]) -> T:
        """The same for an operation of many statements: it runs in a thread, in a transaction of its own."""
        return await self._enqueue(_Request(operation, self._loop.create_future(), long=True))

    async def _enqueue(self, request: _Request[T]) -> T:
        self._waiting.append(request)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._flush)  # not now: requests that are ready in this turn share the commit
        result: T = await request.future
        return result

    def _flush(self, waited_s: float = 0.0) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            if exc.sqlite_errorcode == sqlite3.SQLITE_BUSY and waited_s < BUSY_TIMEOUT_S:
                self._loop.call_later(BUSY_RETRY_S, self._flush, waited_s + BUSY_RETRY_S)
            else:
                self._settle(self._take(), exc)
            return
        batch = self._take()
        if batch[0].long:
            commit = self._loop.run_in_executor(self._commits, self._run_all, batch)
            commit.add_done_callback(lambda done: self._settle(batch, done.exception()))
            return
        try:
            for request in batch:
                self._run(request)
        except sqlite3.Error as exc:
            self._settle(batch, exc)
            return
        commit = self._loop.run_in_executor(self._commits, self._writer.execute, "COMMIT")
        commit.add_done_callback(lambda done: self._settle(batch, done.exception()))

    def _run_all(self, batch: list[_Request[Any]]) -> sqlite3.Cursor:
        for request in batch:
            self._run(request)
        return self._writer.execute("COMMIT")

    def _take(self) -> list[_Request[Any]]:
        """What shares the next transaction: a long request none."""
        size = next((number for number, request in enumerate(self._waiting[:BATCH_LIMIT]) if request.long), BATCH_LIMIT)
        size = max(size, 1)
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        return batch

    def _run(self, request: _Request[Any]) -> None:
        tx = Tx(self._writer, self._clock())
        self._writer.execute("SAVEPOINT request")
        try:
            request.result = request.operation(tx)
            request.changes = tx.changes
        except Exception as exc:
            request.error = translate(exc) if isinstance(exc, sqlite3.Error) else exc
            if not self._writer.in_transaction:  # a full disk rolls back everything: then the batch has failed
                raise
            self._writer.execute("ROLLBACK TO request")
        self._writer.execute("RELEASE request")

    def _settle(self, batch: list[_Request[Any]], failure: BaseException | None) -> None:
        if isinstance(failure, sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for request in batch:
                request.error = translate(failure)
        changes = [change for request in batch if request.error is None for change in request.changes]
        if changes and self._listener is not None:
            self._listener(changes)
        for request in batch:
            if request.future.done():
                continue
            if request.error is not None:
                request.future.set_exception(request.error)
            else:
                request.future.set_result(request.result)
        self._busy = bool(self._waiting)
        if self._busy:
            self._loop.call_soon(self._flush)
