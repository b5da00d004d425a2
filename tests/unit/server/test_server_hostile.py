"""Input that is wrong on purpose: every answer is an ErrorBody with a fitting status, and the server lives on."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ABSENT = hashlib.sha256(b"absent").hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (404, "not_found")),
        ("GET", "/v1/jobs/", (404, "not_found")),
        ("GET", "/v1/../etc/passwd", (404, "not_found")),
        ("GET", "/v1/apps/nothing", (404, "not_found")),
        ("PATCH", "/v1/jobs", (405, "invalid_request")),
        ("GET", "/v1/worker/request", (405, "invalid_request")),
        ("GET", "/v1/blobs/..%2f..%2fxwhep.db", (404, "not_found")),
        ("GET", "/v1/blobs/" + "A" * 64, (422, "invalid_request")),
        ("GET", "/v1/blobs/" + "a" * 63, (422, "invalid_request")),
        ("GET", f"/v1/blobs/{ABSENT}", (404, "not_found")),
        ("GET", "/v1/jobs/%00", (404, "not_found")),
        ("GET", "/v1/jobs/x?seen=-1", (422, "invalid_request")),
        ("GET", "/v1/jobs/x?wait=nan", (422, "invalid_request")),
        ("GET", "/v1/jobs/x?wait=1e999", (404, "not_found")),
        ("GET", "/v1/jobs?limit=many", (422, "invalid_request")),
        ("GET", "/v1/apps/%ff%fe", (404, "not_found")),
        ("GET", "/v1/data/'; DROP TABLE jobs; --".replace(" ", "%20"), (404, "not_found")),
    ],
)
def test_wrong_addresses_get_an_error_body(server_and_admin, method, path, expected):
    _, admin = server_and_admin
    reply = admin.call(method, path)
    assert (reply.status, reply.code) == expected
    assert set(reply.body) <= {"code", "message", "next_step"}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/jobs", b"", "JobSpec"),
        ("/v1/jobs", b"{", "JobSpec"),
        ("/v1/jobs", b"\xff\xfe", "JobSpec"),
        ("/v1/jobs", b'{"odd":' + b"[" * 100_000, "JSON"),
        ("/v1/jobs", {"app": 5}, "$.app"),
        ("/v1/jobs", {}, "`app`"),
        ("/v1/jobs", {"app": "../x"}, "the app name"),
        ("/v1/jobs", {"app": "tool", "args": ["a\0b"]}, "NUL"),
        ("/v1/jobs", {"app": "tool", "args": ["x"] * 5000}, "4096 arguments"),
        ("/v1/jobs", {"app": "tool", "args": ["x" * 200_000]}, "131072 bytes"),
        ("/v1/jobs", {"app": "tool", "env": {"A=B": "c"}}, "environment variable"),
        ("/v1/jobs", {"app": "tool", "label": "line\nbreak"}, "label"),
        ("/v1/jobs", {"app": "tool", "args": ["x" * 2_000_000]}, "larger than 1048576"),
        (
            "/v1/apps",
            {"name": "both", "shared": "x", "binaries": [{"os": "a", "arch": "b", "sha256": ABSENT, "size": 1}]},
            "either",
        ),
        ("/v1/apps", {"name": "none"}, "either"),
        ("/v1/apps", {"name": "-rf", "shared": "x"}, "the app name"),
        ("/v1/apps", {"name": "a..b", "shared": "x"}, "the app name"),
        ("/v1/apps", {"name": "a/b", "shared": "x"}, "the app name"),
        ("/v1/apps", {"name": "a" * 129, "shared": "x"}, "the app name"),
        ("/v1/data", {"name": ".", "sha256": ABSENT, "size": 1}, "the datum name"),
        ("/v1/data", {"name": "ok", "sha256": "../../../etc/passwd", "size": 1}, "64 lowercase"),
        ("/v1/data", {"name": "ok", "sha256": ABSENT, "size": -1}, "size"),
        ("/v1/data", {"name": "ok", "sha256": ABSENT, "size": 2**70}, "size"),
        ("/v1/login", {"login": "x" * 100, "password": "y"}, "login"),
        ("/v1/login", {"login": "ann", "password": "y" * 2000}, "login"),
    ],
)
def test_wrong_bodies_are_refused_in_words(server_and_admin, path, body, words):
    _, admin = server_and_admin
    reply = admin.post(path, body)
    assert (reply.status, reply.code) == (422, "invalid_request")
    assert words in reply.body["message"]


BAD_FILES = [
    {"path": "../x"},
    {"path": "/etc/passwd"},
    {"path": "a//b"},
    {"path": "a/./b"},
    {"path": ""},
    {"path": "a\0b"},
    {"path": "x" * 2000},
    {"mode": 0o4755},
    {"mode": -1},
    {"size": -1},
    {"sha256": "short"},
]


@pytest.mark.parametrize("wrong", BAD_FILES, ids=str)
def test_result_files_that_would_escape_are_refused(server_and_worker, wrong):
    _, worker, lease = server_and_worker
    made = {"path": "made", **worker.upload(b"made"), **wrong}
    reply = worker.post("/v1/worker/result", worker.result(lease, files=[made]))
    assert (reply.status, reply.code) == (422, "invalid_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"exit_code": 2**40},
        {"wall_s": -1.0},
        {"reason": "x" * 2000},
        {"files": [{"path": "a", "sha256": hashlib.sha256(b"").hexdigest(), "size": 0}] * 2},
    ],
    ids=["exit code", "wall", "reason", "same path twice"],
)
def test_results_out_of_range_are_refused(server_and_worker, wrong):
    _, worker, lease = server_and_worker
    reply = worker.post("/v1/worker/result", worker.result(lease, **wrong))
    assert (reply.status, reply.code) == (422, "invalid_request")


@pytest.mark.parametrize("attempt", [0, -1, 2**63, 2**200])
def test_attempts_out_of_range_are_refused(server_and_worker, attempt):
    _, worker, lease = server_and_worker
    for path, body in (
        ("/v1/worker/heartbeat", {"running": [{"job_id": lease["job_id"], "attempt": attempt}]}),
        ("/v1/worker/result", {**worker.result(lease), "attempt": attempt}),
        ("/v1/worker/leave", {"running": [{"job_id": lease["job_id"], "attempt": attempt}]}),
    ):
        assert worker.post(path, body).status == 422


def test_a_size_that_is_not_the_blobs_is_refused(server_and_admin):
    _, admin = server_and_admin
    blob = admin.upload(b"four")
    reply = admin.post("/v1/data", {"name": "lie", "sha256": blob["sha256"], "size": 5})
    assert (reply.status, reply.body["message"]) == (422, f"the blob {blob['sha256']} has 4 bytes, not 5")


def test_an_endless_body_without_a_length_is_cut_off(server_and_admin):
    live, admin = server_and_admin
    context = ssl.create_default_context(cafile=str(live.state / "ca.pem"))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", live.port)), server_hostname="localhost") as tls:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
        tls.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(20):
            tls.sendall(b"20000\r\n" + b" " * 0x20000 + b"\r\n")
        assert b" 422 " in tls.recv(200)


def test_an_endless_head_ends_the_connection(server_and_admin):
    live, _ = server_and_admin
    context = ssl.create_default_context(cafile=str(live.state / "ca.pem"))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", live.port)), server_hostname="localhost") as tls:
        tls.settimeout(10)
        tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(OSError):
            for number in range(1000):
                tls.sendall(f"X-{number}: ".encode() + b"y" * 4000 + b"\r\n")
            tls.recv(1)
            raise AssertionError("the server took 4 MB of headers")
    assert live.api().get("/healthz").status == 200


def test_no_http_and_no_tls_do_not_harm(server_and_admin):
    live, _ = server_and_admin
    with socket.create_connection(("127.0.0.1", live.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.recv(100)
    context = ssl.create_default_context(cafile=str(live.state / "ca.pem"))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", live.port)), server_hostname="localhost") as tls:
        tls.sendall(b"\x00\x01\x02\r\n\r\n")
        assert b" 400 " in tls.recv(100)
    assert live.api().get("/healthz").status == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["app", "args", "env", "data", "stdin", "label", "name", "binaries", "shared", "sha256", "size", "login",
     "password", "join_token", "machine", "wait_s", "slots", "running", "job_id", "attempt", "result"]
)  # fmt: skip
POSTS = ["/v1/login", "/v1/enrol", "/v1/apps", "/v1/data", "/v1/jobs", "/v1/jobs/x/cancel"]
WORKER_POSTS = [f"/v1/worker/{verb}" for verb in ("request", "heartbeat", "result")]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(POSTS + WORKER_POSTS), body=st.dictionaries(FIELDS, JSON, max_size=6))
def test_random_bodies_never_make_the_server_fail(server_and_worker, path, body):
    live, worker, _ = server_and_worker
    caller = worker if path in WORKER_POSTS else live.some_user
    reply = caller.post(path, json.dumps(body).encode())
    assert reply.status < 500, (path, body, reply)


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory, live_server_class):
    """One server for all of this module: what is refused changes nothing."""
    server = live_server_class(tmp_path_factory.mktemp("hostile") / "state")
    server.start()
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def server_and_admin(shared_live):
    admin = shared_live.admin()
    admin.register_app()
    return shared_live, admin


@pytest.fixture(scope="module")
def server_and_worker(server_and_admin):
    live, admin = server_and_admin
    worker = live.worker()
    admin.submit()
    live.some_user = live.user("fuzz")
    return live, worker, worker.ask().body
