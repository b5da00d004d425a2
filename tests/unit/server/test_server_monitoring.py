"""Metrics, readiness, and the OpenAPI document, held against the real routes."""

from __future__ import annotations

import json
import re

import pytest

from xwhep.server.app import make_app
from xwhep.server.grid import Secrets, make_grid
from xwhep.server.openapi import OPERATIONS, document, routes_of
from xwhep.server.settings import Settings
from xwhep.server.store.sqlite import SqliteStore

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+]+')


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory, live_server_class):
    server = live_server_class(tmp_path_factory.mktemp("monitoring") / "state")
    server.start()
    server.boss = server.admin()
    yield server
    server.kill()


@pytest.fixture
def app(tmp_path):
    settings = Settings(state=tmp_path)
    return make_app(make_grid(settings, Secrets(ca_pem="", join_token=""), SqliteStore(tmp_path / "db")))


def figures(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


# metrics


def test_metrics_follow_the_life_of_a_job(shared_live):
    boss, stranger = shared_live.boss, shared_live.api()
    before = figures(stranger.get("/metrics").raw.decode())
    boss.register_app()
    worker = shared_live.worker()
    boss.submit()
    boss.submit()
    lease = worker.ask().body
    during = figures(stranger.get("/metrics").raw.decode())
    assert (during['xwhep_jobs{state="pending"}'], during['xwhep_jobs{state="running"}']) == (1, 1)
    assert during['xwhep_workers{state="busy"}'] == 1
    worker.deliver(lease)
    after = figures(stranger.get("/metrics").raw.decode())
    assert after['xwhep_jobs{state="completed"}'] == before['xwhep_jobs{state="completed"}'] + 1
    posts = 'xwhep_requests_total{method="POST",status="200"}'
    assert after[posts] >= before[posts] + 5
    assert after["xwhep_disk_free_bytes"] > 0
    assert 1e6 < after["process_resident_memory_bytes"] < 1e9


def test_metrics_are_prometheus_text(shared_live):
    reply = shared_live.api().get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    typed = set()
    for line in reply.raw.decode().splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            assert SAMPLE.fullmatch(line), line
            assert re.split(r"[ {]", line)[0] in typed, line


def test_metrics_may_be_closed_to_all_but_admins(stopped):
    stopped.start("--metrics", "token")
    assert stopped.api().get("/metrics").status == 401
    assert stopped.user("ann").get("/metrics").status == 403
    assert stopped.worker().get("/metrics").status == 403
    assert stopped.admin().get("/metrics").status == 200


def test_methods_that_nobody_knows_do_not_fill_the_memory(shared_live):
    for number in range(3):
        shared_live.api().call(f"ODD{number}", "/healthz")
    seen = shared_live.api().get("/metrics").raw.decode()
    assert "ODD" not in seen


# readiness


def test_a_server_is_ready_while_there_is_room(shared_live, stopped):
    assert shared_live.api().get("/readyz").body == {"status": "ready"}
    stopped.start("--disk-reserve-mb", str(10**9))
    reply = stopped.api().get("/readyz")
    assert (reply.status, reply.code) == (503, "server_failed")
    assert "room" in reply.body["message"]
    assert stopped.api().get("/healthz").status == 200  # it lives: restarting it would help nobody


# OpenAPI


def test_every_route_is_in_the_document_and_nothing_else(app):
    routes = routes_of(app)
    assert routes - {(operation.method, operation.path) for operation in OPERATIONS} == set()
    described = json.loads(document(routes))["paths"]
    assert {(verb.upper(), path) for path, verbs in described.items() for verb in verbs} == routes


def test_no_operation_is_described_twice():
    keys = [(operation.method, operation.path) for operation in OPERATIONS]
    assert len(set(keys)) == len(keys)


def test_every_reference_in_the_document_resolves(shared_live):
    reply = shared_live.api().get("/openapi.json")
    assert reply.body["openapi"].startswith("3.1")
    names = set(re.findall(r'"#/components/schemas/(\w+)"', reply.raw.decode()))
    assert names <= reply.body["components"]["schemas"].keys()
    assert {"Job", "JobSpec", "ErrorBody", "UserChange"} <= names


def test_the_document_says_who_may_ask(shared_live):
    """What it claims of strangers is true: every operation that is not for anyone refuses them."""
    for path, verbs in shared_live.api().get("/openapi.json").body["paths"].items():
        for verb, operation in verbs.items():
            reply = shared_live.api().call(verb.upper(), path.replace("{", "").replace("}", ""), b"")
            assert (reply.status == 401) is ("security" in operation), (verb, path, reply)


def test_the_document_says_what_is_for_admins_and_workers(shared_live):
    user, worker = shared_live.user("plain"), shared_live.worker("plain")
    for path, verbs in user.get("/openapi.json").body["paths"].items():
        for verb, operation in verbs.items():
            who, address = operation["x-who"], path.replace("{", "").replace("}", "")
            if who in ("admin", "worker"):
                assert user.call(verb.upper(), address, b"").status == 403, (verb, path)
            if who in ("admin", "user"):
                assert worker.call(verb.upper(), address, b"").status == 403, (verb, path)
