"""Who is asking: a user with a session, or a worker with its own token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xwhep.common.errors import AuthenticationFailed, NotAllowed
from xwhep.common.wire import Session
from xwhep.server.failures import TooManyTries
from xwhep.server.identity import (
    USER_TOKEN,
    WORKER_TOKEN,
    hash_password,
    new_token,
    password_matches,
    token_hash,
)
from xwhep.server.store.identity_records import PUBLIC, Service
from xwhep.server.store.protocol import Store
from xwhep.server.throttle import Rate, Throttle, sender_of

CACHE_S = 1.0  # a revoked token stops working after that at the latest
CACHE_LIMIT = 20_000
PASSWORDS_AT_ONCE = 2  # each takes 19 MiB and a core
PER_LOGIN_AND_ADDRESS = Rate(burst=5, per_s=0.1)
PER_LOGIN = Rate(burst=50, per_s=0.5)  # many addresses against one login; wide, or strangers could lock its owner out
PER_ADDRESS = Rate(burst=30, per_s=0.5)


@dataclass(frozen=True, kw_only=True)
class UserPrincipal:
    login: str
    role: str
    groups: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    @property
    def sees(self) -> str:
        """Whose things: a login, or '' for everyone's."""
        return "" if self.is_admin else self.login

    @property
    def holder(self) -> str:
        return f"user:{self.login}"


@dataclass(frozen=True, kw_only=True)
class WorkerPrincipal:
    id: str
    name: str
    service: Service = PUBLIC

    @property
    def holder(self) -> str:
        return f"worker:{self.id}"


Principal = UserPrincipal | WorkerPrincipal


class Authenticator:
    """Tokens to principals. Look-ups are kept for CACHE_S, so that a request rarely costs a query."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._cache: dict[str, tuple[Principal, float]] = {}
        self._used: dict[str, float] = {}  # sessions, since they were last saved
        self._polls: dict[asyncio.Future[None], str] = {}  # of the requests that wait, and who asks

    async def principal(self, authorization: str | None) -> Principal:
        """Raises: AuthenticationFailed: no token, or one that is unknown or has expired."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationFailed("this needs a login", "run: xw login")
        key = token_hash(token)
        known = self._cache.get(key)
        now = self._clock()
        if known is not None and now < known[1]:
            return known[0]
        principal, until = await self._look_up(token, key)
        if len(self._cache) >= CACHE_LIMIT:
            self._cache.clear()
        self._cache[key] = (principal, min(until, now + CACHE_S))
        return principal

    async def _look_up(self, token: str, key: str) -> tuple[Principal, float]:
        if token.startswith(USER_TOKEN) and (session := await self._store.people.session(key)):
            self._used[key] = self._clock()
            user = UserPrincipal(login=session.login, role=session.role, groups=session.groups)
            return user, session.expires_at
        if token.startswith(WORKER_TOKEN) and (worker := await self._store.tokens.worker(key)):
            if worker.is_next:
                await self._store.tokens.promote(worker.id, key)
                self._drop(f"worker:{worker.id}")  # the old token
            return WorkerPrincipal(id=worker.id, name=worker.name, service=worker.service), float("inf")
        raise AuthenticationFailed(
            "the token is unknown or has expired", "run: xw login (on a worker: xwhep-worker join)"
        )

    @contextmanager
    def watching(self, holder: str) -> Iterator[asyncio.Future[None]]:
        """Around a request that waits long: the future is done when what `holder` may do has changed."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._polls[changed] = holder
        try:
            yield changed
        finally:
            del self._polls[changed]

    def forget_user(self, login: str) -> None:
        """What the user may do has changed, or a token of his was revoked: ask the store again, at once."""
        self._forget(f"user:{login}")

    def forget_worker(self, worker_id: str) -> None:
        self._forget(f"worker:{worker_id}")

    def _forget(self, holder: str) -> None:
        self._drop(holder)
        for changed, whose in self._polls.items():
            if whose == holder and not changed.done():
                changed.set_result(None)

    def _drop(self, holder: str) -> None:
        self._cache = {key: known for key, known in self._cache.items() if known[0].holder != holder}

    async def save_used(self) -> None:
        """Note in the store which sessions were used since the last time."""
        if self._used:
            used, self._used = self._used, {}
            await self._store.tokens.sessions_used(used)

    def forget_all(self) -> None:
        self._cache.clear()
        for changed in self._polls:
            if not changed.done():
                changed.set_result(None)

    async def user(self, authorization: str | None) -> UserPrincipal:
        principal = await self.principal(authorization)
        if not isinstance(principal, UserPrincipal):
            raise NotAllowed("this is for users, and the token is a worker's", "run: xw login")
        return principal

    async def worker(self, authorization: str | None) -> WorkerPrincipal:
        principal = await self.principal(authorization)
        if not isinstance(principal, WorkerPrincipal):
            raise NotAllowed("this is for workers, and the token is a user's", "run on the worker: xwhep-worker join")
        return principal


class Door:
    """Where secrets that people type are checked: slowly, and not too often."""

    def __init__(self, store: Store, session_s: float, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._session_s = session_s
        self._clock = clock
        self._gate = asyncio.Semaphore(PASSWORDS_AT_ONCE)
        self._nobody_hash = ""
        rates = (PER_LOGIN_AND_ADDRESS, PER_LOGIN, PER_ADDRESS)
        self._throttles = tuple(Throttle(rate, time.monotonic) for rate in rates)

    async def login(self, login: str, password: str, address: str) -> Session:
        """A new session.

        Raises:
            AuthenticationFailed: unknown login or wrong password; it does not tell which.
            TooManyTries: the password was not even looked at.
        """
        await self.check(login, password, address)
        token, expires_at = new_token(USER_TOKEN), self._clock() + self._session_s
        await self._store.people.add_session(token_hash(token), login, expires_at)
        return Session(token=token, login=login, expires_at=expires_at)

    async def check(self, login: str, password: str, address: str) -> None:
        """Raises: AuthenticationFailed, TooManyTries: as login does."""
        sender = sender_of(address)
        keys = (f"{login}\n{sender}", login, sender)
        self._take(keys)
        account = await self._store.people.account(login)
        async with self._gate:
            # An unknown login takes as long as a known one, or the time would tell which exist.
            known = account.password_hash if account else await self._some_hash()
            good = await asyncio.to_thread(password_matches, known, password)
        if not good or account is None or not account.active:
            raise AuthenticationFailed("unknown login or wrong password", "check both, then run: xw login")
        for throttle, key in zip(self._throttles, keys, strict=True):
            throttle.give_back(key)

    async def hash(self, password: str) -> str:
        """What the store keeps of a password."""
        async with self._gate:
            return await asyncio.to_thread(hash_password, password)

    async def join(self, given: str, address: str) -> tuple[str, Service]:
        """The id of the join token, and what it makes. Raises: AuthenticationFailed, TooManyTries."""
        sender = sender_of(address)
        keys = (f"join\n{sender}", "join", sender)
        found = await self._store.tokens.join(token_hash(given))
        if found is not None:
            return found
        self._take(keys)
        raise AuthenticationFailed("the join token is wrong", "on the server, run: xwhep-server join-line worker")

    def _take(self, keys: tuple[str, str, str]) -> None:
        wait = max(throttle.wait_s(key) for throttle, key in zip(self._throttles, keys, strict=True))
        if wait > 0:
            raise TooManyTries("too many failed logins", f"wait {max(1, round(wait))} s and try again")

    async def _some_hash(self) -> str:
        if not self._nobody_hash:
            self._nobody_hash = await asyncio.to_thread(hash_password, "nobody's password")
        return self._nobody_hash
