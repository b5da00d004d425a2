"""Who is asking: tokens, sessions and the door where passwords are checked, without HTTP."""

from __future__ import annotations

import pytest

from xwhep.common.errors import AuthenticationFailed, NotAllowed
from xwhep.server.auth import CACHE_S, Authenticator, Door, UserPrincipal
from xwhep.server.failures import TooManyTries
from xwhep.server.identity import hash_password, token_hash
from xwhep.server.store.identity_records import PUBLIC, WorkerIdentity
from xwhep.server.store.records import (
    Account,
    SessionRecord,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


class FakePeople:
    def __init__(self) -> None:
        self.sessions: dict[str, SessionRecord] = {}
        self.asked = 0
        self.known = Account(login="ann", role="user", password_hash=hash_password("right one"))
        self.people = self
        self.tokens = self

    async def join(self, token_hash_given):
        return ("deployment", PUBLIC) if token_hash_given == token_hash("right") else None

    async def session(self, token_hash):
        self.asked += 1
        return next(iter(self.sessions.values()), None)

    async def worker(self, token_hash):
        return WorkerIdentity(id="w1", name="node1", service=PUBLIC, is_next=False)

    async def account(self, login):
        return self.known if login == "ann" else None

    async def add_session(self, token_hash, login, expires_at):
        self.sessions[token_hash] = SessionRecord(login=login, role="user", expires_at=expires_at)


def test_a_token_is_looked_up_once_a_second_and_not_beyond_its_end(run, clock):
    people = FakePeople()
    people.sessions["x"] = SessionRecord(login="ann", role="user", expires_at=1000.5)
    auth = Authenticator(people, clock)

    async def scenario():
        for _ in range(10):
            assert await auth.user("Bearer xwu_token") == UserPrincipal(login="ann", role="user")
        assert people.asked == 1
        clock.now = 1000.5
        people.sessions.clear()
        with pytest.raises(AuthenticationFailed):
            await auth.user("Bearer xwu_token")

    run(scenario)


def test_a_revoked_token_ends_within_the_cache_time(run, clock):
    people = FakePeople()
    people.sessions["x"] = SessionRecord(login="ann", role="user", expires_at=9999)
    auth = Authenticator(people, clock)

    async def scenario():
        await auth.user("Bearer xwu_token")
        people.sessions.clear()
        clock.now += CACHE_S
        with pytest.raises(AuthenticationFailed):
            await auth.user("Bearer xwu_token")

    run(scenario)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer odd_token"])
def test_what_is_no_token_is_refused(run, header):
    with pytest.raises(AuthenticationFailed):
        run(lambda: Authenticator(FakePeople()).principal(header))


def test_workers_and_users_are_kept_apart(run):
    people = FakePeople()
    people.sessions["x"] = SessionRecord(login="ann", role="user", expires_at=9e9)
    auth = Authenticator(people)
    assert run(lambda: auth.worker("Bearer xww_token")).id == "w1"
    with pytest.raises(NotAllowed):
        run(lambda: auth.user("Bearer xww_token"))
    with pytest.raises(NotAllowed):
        run(lambda: auth.worker("bearer xwu_token"))


def test_the_door_opens_for_the_right_password_only_and_not_for_ever(run):
    people = FakePeople()

    async def scenario():
        door = Door(people, session_s=60, clock=lambda: 1000.0)
        session = await door.login("ann", "right one", "a1")
        assert (session.login, session.expires_at) == ("ann", 1060.0)
        for login in ("ann", "nobody"):
            with pytest.raises(AuthenticationFailed):
                await door.login(login, "wrong one", "a1")
        for _ in range(4):
            with pytest.raises(AuthenticationFailed):
                await door.login("ann", "wrong one", "a1")
        with pytest.raises(TooManyTries):
            await door.login("ann", "right one", "a1")
        assert (await door.login("ann", "right one", "another address")).login == "ann"

    run(scenario)


def test_the_join_token_is_throttled_only_when_it_is_wrong(run):
    async def scenario():
        door = Door(FakePeople(), session_s=60)
        for _ in range(50):
            assert await door.join("right", "a1") == ("deployment", PUBLIC)
        for _ in range(5):
            with pytest.raises(AuthenticationFailed):
                await door.join("wrong", "a1")
        with pytest.raises(TooManyTries):
            await door.join("wrong", "a1")

    run(scenario)
