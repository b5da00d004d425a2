"""What only the SQLite store has: group commit, other processes beside it, a full disk."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest

from xwhep.common.errors import Conflict, DiskFull, ServerFailed
from xwhep.server.failures import StateTooNew
from xwhep.server.store.queries import migrations
from xwhep.server.store.records import Account
from xwhep.server.store.sqlite import SqliteStore
from xwhep.server.store.sqlite_database import connect, transaction, translate

HASH = {letter: letter * 64 for letter in "abcdef"}


def test_one_refused_request_leaves_the_others_of_its_batch_alone(kit, run):
    async def scenario():
        async with kit() as k:
            bob = Account(login="bob", role="user", password_hash="")
            new = Account(login="new", role="user", password_hash="")
            done = await asyncio.gather(
                k.submit(), k.store.people.add_user(bob), k.store.people.add_user(new), return_exceptions=True
            )
            assert isinstance(done[1], Conflict)
            assert await k.state(done[0]) == "pending"
            assert await k.store.people.account("new")

    run(scenario)


def test_waiting_requests_share_one_transaction(fast_folder, run):
    async def scenario():
        store = SqliteStore(fast_folder / "xwhep.db", synchronous="OFF")
        await store.open()
        commits = []
        store._database._writer.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        await asyncio.gather(*(store.assets.hold_blob(HASH["a"], f"user:{number}") for number in range(50)))
        assert len(commits) == 1
        await store.close()

    run(scenario)


def test_a_fault_inside_one_request_is_raised_there_and_rolled_back(fast_folder, run):
    async def scenario():
        store = SqliteStore(fast_folder / "xwhep.db", synchronous="OFF")
        await store.open()

        def faulty(tx):
            tx.run("blob_hold", sha256=HASH["a"], holder="user:x", now=tx.now)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store._database.write(faulty)
        assert not await store.assets.holds_blob(HASH["a"], "user:x")
        await store.close()

    run(scenario)


def test_a_full_disk_fails_the_write_and_keeps_what_was_there(fast_folder, run):
    async def scenario():
        store = SqliteStore(fast_folder / "xwhep.db", synchronous="OFF")
        await store.open()
        await store.assets.hold_blob(HASH["a"], "user:before")
        (pages,) = store._database._writer.execute("PRAGMA page_count").fetchone()
        store._database._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull):
            await asyncio.gather(*(store.assets.hold_blob(HASH["a"], "user:" + "x" * 3000 + str(n)) for n in range(9)))
        store._database._writer.execute("PRAGMA max_page_count = 100000")
        await store.assets.hold_blob(HASH["a"], "user:after")
        assert await store.assets.holds_blob(HASH["a"], "user:before")
        assert await store.assets.holds_blob(HASH["a"], "user:after")
        await store.close()

    run(scenario)


def test_a_write_waits_for_another_process_without_stopping_the_loop(fast_folder, run):
    async def scenario():
        store = SqliteStore(fast_folder / "xwhep.db", synchronous="OFF")
        await store.open()
        with closing(connect(fast_folder / "xwhep.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            write = asyncio.create_task(store.assets.hold_blob(HASH["a"], "user:x"))
            turns, until = 0, time.monotonic() + 0.1
            while time.monotonic() < until:
                await asyncio.sleep(0.001)
                turns += 1
            assert turns > 20
            assert not write.done()
            other.execute("COMMIT")
        await write
        assert await store.assets.holds_blob(HASH["a"], "user:x")
        await store.close()

    run(scenario)


def test_commands_write_beside_the_server_and_roll_back_on_errors(fast_folder):
    path = fast_folder / "xwhep.db"
    with transaction(path) as tx:
        tx.run("blob_hold", sha256=HASH["a"], holder="user:kept", now=tx.now)
    with pytest.raises(ZeroDivisionError), transaction(path) as tx:
        tx.run("blob_hold", sha256=HASH["a"], holder="user:dropped", now=tx.now)
        raise ZeroDivisionError
    with transaction(path) as tx:
        assert tx.one("blob_held", sha256=HASH["a"], holder="user:kept", now=tx.now)
        assert not tx.one("blob_held", sha256=HASH["a"], holder="user:dropped", now=tx.now)


def test_a_database_of_a_newer_server_is_refused(fast_folder):
    path = fast_folder / "xwhep.db"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    with pytest.raises(StateTooNew, match="the database has schema 999") as caught, transaction(path):
        pass
    assert "xwhep-server restore --force FILE" in caught.value.next_step


def test_a_migration_of_a_joined_branch_is_applied_though_a_later_one_was(fast_folder, monkeypatch):
    path, known = fast_folder / "xwhep.db", migrations()
    module = "xwhep.server.store.sqlite_database.migrations"
    first, last = [*known, (997, "CREATE TABLE c (x);")], [*known, (996, "CREATE TABLE b (x);"), (997, "nonsense")]
    for found in (first, last, last):
        monkeypatch.setattr(module, lambda found=found: found)
        with transaction(path):
            pass
    with closing(connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM b").fetchone()[0] == 0
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 997


def test_the_database_is_as_durable_as_promised(fast_folder):
    with closing(connect(fast_folder / "xwhep.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_other_faults_of_sqlite_are_the_servers():
    assert isinstance(translate(sqlite3.OperationalError("odd")), ServerFailed)
