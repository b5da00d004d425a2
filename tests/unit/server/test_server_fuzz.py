"""Every operation of the server's own OpenAPI document, asked with what fits its schemas, nearly fits, or does not.

No answer may be a 5xx but a full disk's, each refusal is an ErrorBody, each success has the promised shape. Every call
is reproducible from the seed. `tox run -e fuzz` asks 10 000 times, as often as the platform promises: that takes a
minute and a half of processor time, so the suite asks less.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from xwhep.server.openapi import OPERATIONS

REQUESTS = int(os.environ.get("XWHEP_FUZZ_REQUESTS", "800"))
SEED = int(os.environ.get("XWHEP_FUZZ_SEED", "20"))
CALLERS = ("admin", "user", "worker", "nobody", "forged")
ODD_TEXT = [
    "",
    "a",
    "..",
    "a/b",
    "\0",
    "\ud800",
    "é" * 40,
    "x" * 3000,
    "-1",
    "NaN",
    "1e999",
    "%00",
    "'; DROP",
]
ODD = [None, True, -1, 0, 2**31, 2**63, 2**70, 1.5, 1e308, [], {}, [[]], {"a": 1}, *ODD_TEXT]
NEVER_ENDING = {"wait", "wait_s"}  # seconds that the server may take: kept small
PASSWORD = "password of the fuzz"


class Source:
    """Random values for schemas; now and then none that fits."""

    def __init__(self, seed: int, document: dict[str, Any]) -> None:
        self.random = random.Random(seed)
        self.schemas = document["components"]["schemas"]
        self.known: dict[str, list[str]] = {}  # field name -> values that the server gave or knows

    def learn(self, value: Any, depth: int = 0) -> None:
        """Remember what answers hold, so that later requests get further than the first check."""
        for found in value if isinstance(value, list) else [value]:
            if isinstance(found, dict) and depth < 5:
                for name, inner in found.items():
                    if isinstance(inner, str) and len(inner) < 100 and "token" not in name:
                        kept = self.known.setdefault(name, [])
                        kept.append(inner)
                        del kept[:-20]
                    self.learn(inner, depth + 1)

    def value(self, schema: dict[str, Any], name: str = "") -> Any:
        if self.random.random() < 0.04:
            return self.random.choice(ODD)
        if "$ref" in schema:
            return self.object(self.schemas[schema["$ref"].rpartition("/")[2]])
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        if "anyOf" in schema:
            return self.value(self.random.choice(schema["anyOf"]), name)
        return self.plain(schema, name)

    def plain(self, schema: dict[str, Any], name: str) -> Any:
        kind = schema.get("type")
        if kind == "array":
            return [self.value(schema["items"], name) for _ in range(self.random.randrange(3))]
        if kind == "object":
            inner = schema.get("additionalProperties") or {"type": "string"}
            return {self.text(""): self.value(inner) for _ in range(self.random.randrange(3))}
        if kind == "integer":
            return self.random.choice([0, 1, 2, 5, 0o755, 1000, self.random.randrange(10**6)])
        if kind == "number":
            return self.random.choice([0, 0.5, 3.0, 60.0, self.random.random() * 1e9])
        return {"boolean": self.random.random() < 0.5, "null": None}.get(kind or "", self.text(name))

    def object(self, schema: dict[str, Any]) -> dict[str, Any]:
        required = schema.get("required", [])
        chosen = {
            name: self.value(inner, name)
            for name, inner in schema["properties"].items()
            if name in required or self.random.random() < 0.4
        }
        for name in NEVER_ENDING & schema["properties"].keys():
            chosen[name] = self.random.choice([0, 0, 0, 0.01, -1, "soon", None])
        if len(chosen) > 1 and self.random.random() < 0.05:
            del chosen[self.random.choice(sorted(chosen.keys() - NEVER_ENDING))]
        return chosen

    def text(self, name: str) -> str:
        near = {"app": "name", "login": "owner", "job_id": "id", "members": "login", "groups": "name"}.get(name, name)
        known = self.known.get(name, []) + self.known.get(near, [])
        if name in ("password", "new", "old"):
            return PASSWORD
        if known and self.random.random() < 0.8:
            return self.random.choice(known)
        return self.random.choice(["fuzz", f"name{self.random.randrange(50)}", *ODD_TEXT])


class Fuzzer:
    def __init__(self, live: Any) -> None:
        self.live = live
        self.document = live.api().get("/openapi.json").body
        self.source = Source(SEED, self.document)
        self.callers = {"admin": live.admin(), "nobody": live.api(), "forged": live.api("xwu_" + "A" * 43)}
        self.callers["user"] = live.user("fuzz")
        self.callers["worker"] = live.worker("fuzz")
        self.by_key = {(operation.method, operation.path): operation for operation in OPERATIONS}
        self.operations = [(path, verb) for path, verbs in self.document["paths"].items() for verb in verbs]
        self.statuses: dict[int, int] = {}
        self.succeeded: set[tuple[str, str]] = set()

    def request(self) -> None:
        path, verb = self.source.random.choice(self.operations)
        described = self.document["paths"][path][verb]
        fits = {"admin": "admin", "worker": "worker", "user": "user"}.get(described["x-who"], "user")
        weights = [6 if name == fits else 3 if name == "admin" else 1 for name in CALLERS]
        (who,) = self.source.random.choices(CALLERS, weights)
        address, body = self.address(path, described), self.body(described)
        reply = self.callers[who].call(verb.upper(), address, body)
        case = f"{who} {verb.upper()} {address} {body[:500] if body else body!r} -> {reply}"
        self.check((verb.upper(), path), reply, case)
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        if reply.status < 300 and reply.body is not None and path != "/openapi.json":
            self.source.learn(reply.body)

    def address(self, path: str, described: dict[str, Any]) -> str:
        query = []
        for parameter in described.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "path":
                value = self.source.text(name) or "x"
                path = path.replace(f"{{{name}}}", quote(value.encode("utf-8", "replace"), safe=""))
            elif self.source.random.random() < 0.4:
                value = "0.01" if name in NEVER_ENDING else str(self.source.value({"type": "integer"}, name))
                query.append(f"{name}={quote(value.encode('utf-8', 'replace'), safe='')}")
        return path + ("?" + "&".join(query) if query else "")

    def body(self, described: dict[str, Any]) -> bytes | None:
        if "requestBody" not in described:
            return None
        ((media, content),) = described["requestBody"]["content"].items()
        if media != "application/json":
            return self.source.random.randbytes(self.source.random.randrange(2000))
        text = json.dumps(self.source.value(content["schema"])).encode()
        if self.source.random.random() < 0.03:
            cut = self.source.random.randrange(len(text) + 1)
            text = text[:cut] + self.source.random.randbytes(3) + text[cut:]
        return text

    def check(self, key: tuple[str, str], reply: Any, case: str) -> None:
        assert reply.status < 500, case
        if reply.status >= 400:
            if reply.status != 416:
                assert {"code", "message"} <= reply.body.keys() <= {"code", "message", "next_step"}, case
            return
        self.succeeded.add(key)
        gives = self.by_key[key].gives
        if gives is not None and reply.status != 204:
            msgspec.json.decode(reply.raw, type=gives)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory, live_server_class):
    server = live_server_class(tmp_path_factory.mktemp("fuzz") / "state")
    server.start()
    yield server
    server.kill()


def test_no_request_makes_the_server_fail(fuzzed):
    fuzzer = Fuzzer(fuzzed)
    for _ in range(REQUESTS):
        fuzzer.request()
        revive(fuzzer)
    assert "Traceback" not in fuzzed.log()
    assert fuzzed.api().get("/readyz").status == 200
    print(f"{REQUESTS} requests, seed {SEED}, by status: {dict(sorted(fuzzer.statuses.items()))}")
    # A fuzz whose requests all stop at the first check would prove nothing.
    assert fuzzer.statuses[200] > REQUESTS / 10
    assert len(fuzzer.succeeded) > len(fuzzer.operations) / 2, set(fuzzer.by_key) - fuzzer.succeeded


def revive(fuzzer: Fuzzer) -> None:
    """The fuzz may revoke its own tokens, deactivate its user and change his password; then it gets others."""
    live, callers = fuzzer.live, fuzzer.callers
    if fuzzer.statuses and fuzzer.source.random.random() < 0.05:
        if callers["admin"].get("/v1/users").status != 200:
            made = live.run_command("join-line", "client").stdout
            callers["admin"] = live.api(made.split("'")[1].split()[-1])
        if callers["user"].get("/v1/me").status != 200:
            change = {"active": True, "role": "user", "password": PASSWORD}
            callers["admin"].post("/v1/users/fuzz", change)
            session = live.api().post("/v1/login", {"login": "fuzz", "password": PASSWORD})
            if session.status == 200:  # else throttled, as it should be: the next round tries again
                callers["user"] = live.api(session.body["token"])
        if callers["worker"].post("/v1/worker/heartbeat", {"running": []}).status == 401:
            callers["worker"] = live.worker("fuzz")


def test_the_same_seed_asks_the_same():
    document = {"components": {"schemas": {"A": {"properties": {"x": {"type": "string"}}, "required": ["x"]}}}}
    first, second = ([Source(7, document).value({"$ref": "#/A"}) for _ in range(20)] for _ in range(2))
    assert first == second
