"""Every route of the OpenAPI document, asked by everyone there is: what each must get stands in one table.

The things belong to `owner` and to the group lab, whose members may read (and run) them. A route that is missing from
the table fails, so that nothing is served whose rights nobody has thought of.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from live_server import MACHINE
from xwhep.server.openapi import OPERATIONS

USERS = ("owner", "member", "other", "admin")
WORKERS = ("holder", "worker")  # holder has leased the job in question, or was given the thing
STRANGERS = ("nobody", "forged", "revoked", "gone")  # no token, an invented one, a revoked session, a revoked worker
CALLERS = (*USERS, *WORKERS, *STRANGERS)
READABLE = {"mode": 0o750, "group": "lab"}

Expected = dict[str, int]


def anyone(status: int = 200) -> Expected:
    return dict.fromkeys(CALLERS, status)


def users(status: int = 200, **others: int) -> Expected:
    return {**dict.fromkeys(STRANGERS, 401), **dict.fromkeys(WORKERS, 403), **dict.fromkeys(USERS, status), **others}


def admins(status: int = 200) -> Expected:
    return users(403, admin=status)


def owners(status: int = 200, *, member: int = 403, other: int = 403) -> Expected:
    return users(status, member=member, other=other)


def readers(status: int = 200) -> Expected:
    """What one may not read does not exist."""
    return owners(status, member=status, other=404)


def changers(status: int = 200) -> Expected:
    """Who may read is told that he may not change; to others it does not exist."""
    return owners(status, member=403, other=404)


def workers(status: int = 200, **others: int) -> Expected:
    return {**dict.fromkeys(STRANGERS, 401), **dict.fromkeys(USERS, 403), **dict.fromkeys(WORKERS, status), **others}


class World:
    """A server with everyone in it; the methods make a new thing of `owner` each time they are called."""

    def __init__(self, live: Any) -> None:
        self.live = live
        self.numbers = itertools.count()
        self.api = {name: live.user(name) for name in ("owner", "member", "other")}
        self.api |= {"admin": live.admin(), "nobody": live.api(), "forged": live.api("xwu_" + "A" * 43)}
        self.api |= {name: live.worker(name) for name in (*WORKERS, "gone")}
        self.api["revoked"] = live.login("owner", "secret of owner")
        self._revoke(lambda token: token.get("current"), self.api["revoked"].get("/v1/tokens").body)
        self._revoke(lambda token: token["subject"] == "gone", self.api["admin"].get("/v1/tokens?all=1").body)
        self.owner, self.admin, self.holder = self.api["owner"], self.api["admin"], self.api["holder"]
        self.post("admin", "/v1/groups", {"name": "lab", "members": ["owner", "member"]})

    def _revoke(self, meant: Callable[[dict[str, Any]], bool], listed: list[dict[str, Any]]) -> None:
        (token,) = filter(meant, listed)
        assert self.api["admin"].call("DELETE", f"/v1/tokens/{token['id']}").status == 204

    def name(self, kind: str) -> str:
        return f"{kind}{next(self.numbers)}"

    def post(self, who: str, path: str, body: Any) -> Any:
        reply = self.api[who].post(path, body)
        assert reply.status == 200, reply
        return reply.body

    def app(self) -> str:
        name = self.name("app")
        self.post("owner", "/v1/apps", {"name": name, "shared": name})
        self.post("owner", f"/v1/apps/{name}/mode", READABLE)
        return name

    def datum(self) -> dict[str, Any]:
        blob = self.owner.upload(self.name("content of ").encode())
        datum = self.post("owner", "/v1/data", {"name": self.name("datum"), **blob})
        self.post("owner", f"/v1/data/{datum['id']}/mode", READABLE)
        return datum

    def job(self, **spec: Any) -> dict[str, Any]:
        job = self.owner.submit(self.app(), **spec)
        self.post("owner", f"/v1/jobs/{job['id']}/mode", READABLE)
        return job

    def ended_job(self) -> dict[str, Any]:
        job = self.job()
        self.post("owner", f"/v1/jobs/{job['id']}/cancel", None)
        return job

    def lease(self, **spec: Any) -> dict[str, Any]:
        """A job that `holder` runs."""
        lease = self.holder.ask(shared=[self.job(**spec)["app"]])
        assert lease.status == 200, lease
        return lease.body

    def private_worker(self) -> str:
        join = self.post("admin", "/v1/tokens/join", {"visibility": "private", "owner": "owner"})
        enrolment = {**self.enrolment(), "join_token": join["token"]}
        return self.post("nobody", "/v1/enrol", enrolment)["worker_id"]

    def session(self) -> str:
        made = self.live.login("owner", "secret of owner")
        (token,) = [one["id"] for one in made.get("/v1/tokens").body if one.get("current")]
        return token

    def user(self) -> str:
        return self.post("admin", "/v1/users", self.new_user())["login"]

    def new_user(self) -> dict[str, str]:
        return {"login": self.name("user"), "password": "long enough"}

    def join_token(self) -> str:
        return self.post("owner", "/v1/tokens/join", {"visibility": "private", "owner": "owner"})["id"]

    def enrolment(self) -> dict[str, Any]:
        token = (self.live.state / "join.token").read_text().strip()
        return {"join_token": token, "name": self.name("node"), "machine": MACHINE}

    def password_of(self, who: str) -> str:
        if who == "admin":
            return (self.live.state / "admin.login").read_text().split()[1]
        return f"secret of {who}"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What fills the path, and the body; made anew for every caller."""

    path: str = ""
    body: Any = None
    query: str = ""


def _nothing(world: World, who: str) -> Ask:
    return Ask()


@dataclass(frozen=True, kw_only=True)
class Row:
    operation: str  # "METHOD /path" as in the document
    expected: Expected
    make: Callable[[World, str], Ask] = _nothing
    about: str = ""


def row(operation: str, expected: Expected, make: Callable[[World, str], Ask] = _nothing, about: str = "") -> Row:
    return Row(operation=operation, expected=expected, make=make, about=about)


def body(make: Callable[[World], Any]) -> Callable[[World, str], Ask]:
    return lambda world, who: Ask(body=make(world))


def at(make: Callable[[World], str], given: Any = None) -> Callable[[World, str], Ask]:
    return lambda world, who: Ask(path=make(world), body=given)


def query(text: str) -> Callable[[World, str], Ask]:
    return lambda world, who: Ask(query=text)


def _password(world: World, who: str) -> Ask:
    same = world.password_of(who)
    return Ask(body={"old": same, "new": same})


def _own_blob(world: World, who: str) -> Ask:
    """A datum whose content the caller has, where he can have any."""
    uploads = who in (*USERS, *WORKERS)
    blob = (world.api[who] if uploads else world.owner).upload(world.name("own ").encode())
    return Ask(body={"name": world.name("datum"), **blob})


def _result(world: World, who: str) -> Ask:
    lease = world.lease()
    uploader = world.api[who] if who in WORKERS else world.holder
    return Ask(body=uploader.result(lease))


def _results(world: World, who: str) -> Ask:
    return Ask(body={"results": [_result(world, who).body]})


def _output(world: World, who: str) -> Ask:
    lease = world.lease()
    given = {"job_id": lease["job_id"], "attempt": lease["attempt"], "stream": "stdout", "offset": 0, "data": "aGk="}
    return Ask(body=given)


def _put(world: World, who: str) -> Ask:
    content = world.name("new ").encode()
    return Ask(path=hashlib.sha256(content).hexdigest(), body=content)


def _leased_blob(world: World, who: str) -> Ask:
    datum = world.datum()
    world.lease(data=[datum["id"]])
    return Ask(path=datum["sha256"])


def _machine(world: World, who: str) -> Ask:
    return Ask(body={"machine": world.enrolment()["machine"], "wait_s": 0})


def _submission(world: World) -> dict[str, Any]:
    return {"app": world.app()}


TABLE = (
    row("GET /healthz", anyone()),
    row("GET /readyz", anyone()),
    row("GET /openapi.json", anyone()),
    row("GET /metrics", admins(), about="where a token is asked for"),
    row("GET /v1/ca", anyone()),
    row("POST /v1/login", anyone(), body(lambda world: {"login": "owner", "password": "secret of owner"})),
    row("POST /v1/enrol", anyone(), body(lambda world: world.enrolment())),
    row("GET /v1/me", users()),
    row("POST /v1/me/password", users(), _password),
    row("GET /v1/users", admins()),
    row("POST /v1/users", admins(), body(lambda world: world.new_user())),
    row("POST /v1/users/{login}", admins(), at(lambda world: world.user(), {"active": False})),
    row("POST /v1/users/{login}", admins(), at(lambda world: world.user(), {"role": "admin"}), "to make an admin"),
    row("GET /v1/groups", users()),
    row("POST /v1/groups", admins(), body(lambda world: {"name": world.name("group")})),
    row("POST /v1/groups/{name}", admins(), at(lambda world: "lab", {"members": ["owner", "member"]})),
    row("POST /v1/groups/{name}", admins(), at(lambda world: "lab", {"add": ["owner"]}), "to add to it"),
    row("GET /v1/tokens", users()),
    row("GET /v1/tokens", admins(), query("?all=1"), "everyone's"),
    row("DELETE /v1/tokens/{id}", owners(204, member=404, other=404), at(lambda world: world.session()), "a session"),
    row(
        "DELETE /v1/tokens/{id}",
        owners(204, member=404, other=404),
        at(lambda world: world.join_token()),
        "a join token",
    ),
    row(
        "DELETE /v1/tokens/{id}",
        owners(204, member=404, other=404),
        at(lambda world: world.private_worker()),
        "a worker",
    ),
    row("POST /v1/tokens/join", admins(), body(lambda world: {}), "for everyone"),
    row("POST /v1/tokens/join", admins(), body(lambda world: {"visibility": "group", "group": "lab"}), "for a group"),
    row(
        "POST /v1/tokens/join", owners(), body(lambda world: {"visibility": "private", "owner": "owner"}), "for oneself"
    ),
    row("GET /v1/audit", admins()),
    row("GET /v1/apps", users()),
    row(
        "POST /v1/apps", users(), body(lambda world: dict.fromkeys(("name", "shared"), world.name("new"))), "a new one"
    ),
    row(
        "POST /v1/apps",
        owners(),
        body(lambda world: dict.fromkeys(("name", "shared"), world.app())),
        "one that is there",
    ),
    row("GET /v1/apps/{name}", readers(), at(lambda world: world.app())),
    row("DELETE /v1/apps/{name}", changers(204), at(lambda world: world.app())),
    row("POST /v1/apps/{name}/mode", changers(), at(lambda world: world.app(), {"mode": 0o777})),
    row("PUT /v1/blobs/{sha256}", users(201, holder=201, worker=201), _put),
    row(
        "GET /v1/blobs/{sha256}",
        users(200, other=404, holder=404, worker=404),
        at(lambda world: world.datum()["sha256"]),
        "of a datum",
    ),
    row(
        "GET /v1/blobs/{sha256}", users(200, other=404, holder=200, worker=404), _leased_blob, "of a job that one runs"
    ),
    row("GET /v1/data", users()),
    row("POST /v1/data", users(), _own_blob, "of one's own content"),
    row(
        "POST /v1/data",
        users(404, owner=200),
        body(lambda world: {"name": world.name("guess"), **world.owner.upload(world.name("secret ").encode())}),
        "of another's content, by its hash",
    ),
    row("GET /v1/data/{name}", readers(), at(lambda world: world.datum()["id"])),
    row("GET /v1/data", users(), query("?all=1"), "those for jobs too"),
    row("DELETE /v1/data/{name}", changers(204), at(lambda world: world.datum()["id"])),
    row("POST /v1/data/{name}/mode", changers(), at(lambda world: world.datum()["id"], {"mode": 0o777})),
    row("GET /v1/jobs", users()),
    row("POST /v1/jobs", readers(), body(_submission)),
    row("POST /v1/jobs/bulk", readers(), body(lambda world: {"jobs": [_submission(world)]})),
    row("GET /v1/jobs/summary", users(), query("?group=lab")),
    row("POST /v1/jobs/cancel", changers(), body(lambda world: {"ids": [world.job()["id"]]})),
    row("POST /v1/jobs/delete", changers(), body(lambda world: {"ids": [world.ended_job()["id"]]})),
    row("GET /v1/jobs/{id}", readers(), at(lambda world: world.job()["id"])),
    row("DELETE /v1/jobs/{id}", changers(204), at(lambda world: world.ended_job()["id"])),
    row("POST /v1/jobs/{id}/cancel", changers(), at(lambda world: world.job()["id"])),
    row("POST /v1/jobs/{id}/mode", changers(), at(lambda world: world.job()["id"], {"mode": 0o777})),
    row("GET /v1/jobs/{id}/explain", readers(), at(lambda world: world.job()["id"])),
    row("GET /v1/jobs/{id}/logs", readers(), at(lambda world: world.ended_job()["id"])),
    row("GET /v1/workers", users()),
    row(
        "POST /v1/workers/{id}",
        owners(member=404, other=404),
        at(lambda world: world.private_worker(), {"draining": True}),
    ),
    row("POST /v1/workers/{id}/rotate", owners(member=404, other=404), at(lambda world: world.private_worker())),
    row("POST /v1/workers/{id}/unquarantine", admins(), at(lambda world: world.private_worker())),
    row("POST /v1/worker/request", workers(204), _machine),
    row("POST /v1/worker/leases", workers(204), _machine),
    row("POST /v1/worker/heartbeat", workers(), body(lambda world: {"running": []})),
    row("POST /v1/worker/result", workers(409, holder=200), _result),
    row("POST /v1/worker/results", workers(), _results),  # each result has its outcome: test_server_bulk.py
    row("POST /v1/worker/output", workers(409, holder=200), _output),
    row("POST /v1/worker/leave", workers(), body(lambda world: {"running": []})),
)


# At the last two it is the password and the join token that decide, not who asks: see test_server_door.py.
FOR_ANYONE = {
    *("GET /healthz", "GET /readyz", "GET /openapi.json", "GET /v1/ca"),
    *("POST /v1/login", "POST /v1/enrol"),
}


@pytest.fixture(scope="module")
def world(shared_fast_folder, live_server_class):
    server = live_server_class(shared_fast_folder / "state")
    # No lease runs out meanwhile, however slow this machine is: the worker would be blamed, and get no more jobs.
    server.start("--metrics", "token", "--lease-seconds", "3600")
    try:
        yield World(server)
    finally:
        server.kill()
    assert "Traceback" not in server.log()


def test_every_route_is_in_the_table_and_everyone_asks(world):
    served = world.admin.get("/openapi.json").body["paths"]
    operations = {f"{verb.upper()} {path}" for path, verbs in served.items() for verb in verbs}
    assert operations == {found.operation for found in TABLE}
    assert len(operations) == len(OPERATIONS)
    assert all(found.expected.keys() == set(CALLERS) for found in TABLE)


def called(world, case, who, ask):
    method, _, path = case.operation.partition(" ")
    head, brace, rest = path.partition("{")
    address = head + (ask.path + rest.partition("}")[2] if brace else "") + ask.query
    given = ask.body if ask.body is not None or method != "POST" else {}
    return world.api[who].call(method, address, given)


@pytest.mark.parametrize("who", CALLERS)
@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.operation} {case.about}".strip())
def test_each_gets_what_is_his_and_nothing_else(world, case, who):
    ask = case.make(world, who)
    reply = called(world, case, who, ask)
    assert reply.status == case.expected[who], reply
    if reply.status >= 400:
        code = {401: "authentication", 403: "not_allowed", 404: "not_found", 409: "conflict"}[reply.status]
        assert reply.code == code


def test_the_table_says_both_ways_for_each_route():
    """For everything that is not anybody's there is somebody who gets it, and somebody who does not."""
    for operation in {found.operation for found in TABLE}:
        got = {status < 300 for found in TABLE if found.operation == operation for status in found.expected.values()}
        assert got == ({True} if operation in FOR_ANYONE else {True, False}), operation


# What an administrator does with things of his own, as any user does; a worker's routes are not for him.
OF_ONES_OWN = {f"POST /v1/{name}" for name in ("login", "enrol", "me/password", "data", "jobs", "jobs/bulk")}
CHANGES = [case for case in TABLE if case.operation.startswith(("POST", "DELETE")) and case.about != "a new one"]
ACTS = [case for case in CHANGES if case.expected["admin"] < 300 and case.operation not in OF_ONES_OWN]


@pytest.mark.parametrize("case", ACTS, ids=lambda case: f"{case.operation} {case.about}".strip())
def test_what_an_administrator_does_is_in_the_audit_log(world, case):
    ask = case.make(world, "admin")
    before = len(world.admin.get("/v1/audit?limit=10000").body)
    assert called(world, case, "admin", ask).status in (200, 204)
    entries = world.admin.get("/v1/audit?limit=10000").body
    assert [entry["who"] for entry in entries[: len(entries) - before]] == ["admin"]
