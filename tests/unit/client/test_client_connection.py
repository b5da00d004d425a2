"""The connection itself: what is repeated and what never is, broken and foreign servers, limits."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager

import msgspec
import pytest

from xwhep.client import connection, waiting
from xwhep.client.connection import Request, Server, in_path
from xwhep.client.credentials import Credentials
from xwhep.common import errors, wire


@pytest.fixture
def credentials(grid):
    return Credentials(grid.address, grid.pki.authority, "t0ken-of-alice", "alice")


@pytest.fixture
def server(credentials):
    with Server(credentials) as one:
        yield one


def tls(grid):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(grid.pki.server_file)
    return context


@contextmanager
def odd_server(answer, context=None):
    """A socket server that does `answer(connection)` once for each connection; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) if context else plain as one:
                    answer(one)
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def reply(content):
    """An answer that reads a request and sends `content`."""

    def answer(one):
        one.recv(65536)
        one.sendall(content)

    return answer


def ask(grid, port, path="/v1/apps", timeout_s=5.0):
    with Server(Credentials(f"https://localhost:{port}", grid.pki.authority)) as one:
        return one.get(path, list[wire.App], timeout_s)


def test_one_connection_serves_many_requests(server, grid):
    for _ in range(3):
        server.get("/v1/me", wire.User)
    assert grid.connections == 1


def test_a_question_is_repeated_when_a_kept_connection_has_died(server, grid):
    server.get("/v1/me", wire.User)
    grid.stop()
    grid.start()
    assert server.get("/v1/me", wire.User).login == "alice"


def test_an_order_is_not_repeated_when_a_kept_connection_has_died(server, grid):
    grid.add_app("a")
    server.get("/v1/me", wire.User)
    grid.stop()
    grid.start()
    with pytest.raises(errors.ConnectionFailed):
        server.post("/v1/jobs", wire.JobSpec(app="a"), wire.Job)
    assert not grid.jobs
    assert server.post("/v1/jobs", wire.JobSpec(app="a"), wire.Job).app == "a"


def test_an_order_after_a_pause_takes_a_new_connection(server, grid, monkeypatch):
    grid.add_app("a")
    monkeypatch.setattr(connection, "IDLE_LIMIT_S", 0.0)
    server.get("/v1/me", wire.User)
    server.post("/v1/jobs", wire.JobSpec(app="a"), wire.Job)
    assert grid.connections == 2


def test_the_connection_is_usable_after_a_refusal(server, grid):
    for _ in range(2):
        with pytest.raises(errors.NotFound):
            server.get("/v1/apps/none", wire.App)
        assert server.get("/v1/me", wire.User).role == "admin"


def test_a_body_left_unread_is_not_the_next_answer(server, grid):
    digest = grid.add_blob(b"x" * 100_000)
    response = server.send(Request("GET", f"/v1/blobs/{digest}"))
    server.read(response, 10)
    server.close()
    assert server.get("/v1/me", wire.User).login == "alice"


def test_chunked_answers_are_read(grid):
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"
    with odd_server(reply(body), tls(grid)) as port:
        assert ask(grid, port) == []


def test_an_answer_without_end_is_not_kept_in_memory(grid, monkeypatch):
    monkeypatch.setattr(connection, "JSON_LIMIT_BYTES", 1000)
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[" + b" " * 5000
    with odd_server(reply(body), tls(grid)) as port, pytest.raises(errors.ServerFailed):
        ask(grid, port)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nothing", "ssh", "short", "headers", "chunks"],
)
def test_a_server_that_speaks_no_http(grid, content):
    kinds = (errors.ConnectionFailed, errors.ServerFailed)
    with odd_server(reply(content), tls(grid)) as port, pytest.raises(kinds) as caught:
        ask(grid, port)
    assert caught.value.next_step


def test_a_server_that_speaks_no_tls(grid):
    with odd_server(reply(b"HTTP/1.1 200 OK\r\n\r\n")) as port, pytest.raises(errors.ConnectionFailed) as caught:
        ask(grid, port)
    assert "no TLS 1.3" in str(caught.value)


def test_a_server_that_speaks_only_older_tls(grid):
    old = tls(grid)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with odd_server(reply(b""), old) as port, pytest.raises(errors.ConnectionFailed) as caught:
        ask(grid, port)
    assert "no TLS 1.3" in str(caught.value)


def test_a_server_that_stays_silent(grid):
    with odd_server(lambda one: time.sleep(2), tls(grid)) as port, pytest.raises(errors.ConnectionFailed) as caught:
        ask(grid, port, timeout_s=0.2)
    assert "no answer in time" in str(caught.value)


def test_a_refusal_during_an_upload_is_heard(grid):
    """The server answers at the headers and reads no more; what it said must come through, not the broken pipe."""
    error = msgspec.json.encode(wire.ErrorBody(code="disk_full", message="full"))
    head = b"HTTP/1.1 507 No\r\nContent-Length: %d\r\n\r\n" % len(error)

    def answer(one):
        one.recv(1000)
        one.sendall(head + error)
        while one.recv(65536):  # taken, so that the answer is not lost to a reset; never acted on
            pass

    with odd_server(answer, tls(grid)) as port:
        chunks = (b"x" * 1000 for _ in range(1000))
        request = Request("PUT", "/v1/blobs/x", chunks, {"Content-Length": "1000000"})
        with (
            Server(Credentials(f"https://localhost:{port}", grid.pki.authority)) as one,
            pytest.raises(errors.DiskFull, match="full"),
        ):
            one.send(request)


@pytest.mark.parametrize(
    "authority", ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "é"]
)
def test_a_damaged_authority_trusts_nobody(grid, authority):
    with pytest.raises(errors.UntrustedCertificate):
        Server(Credentials(grid.address, authority, "token"))


def test_credentials_do_not_show_their_token(credentials):
    assert "t0ken" not in f"{credentials!r} {credentials} {[credentials]}"


@pytest.mark.parametrize(
    ("name", "part"), [("a b", "a%20b"), ("../x", "..%2Fx"), ("é?#", "%C3%A9%3F%23"), ("ok-1", "ok-1")]
)
def test_names_are_one_part_of_a_path(name, part):
    assert in_path(name) == part


def job_of(grid, **fields):
    job = wire.Job(id="j1", owner="alice", state=wire.JobState.PENDING, revision=1, created_at=1.0, app="a")
    grid.jobs["j1"] = msgspec.structs.replace(job, **fields)
    return grid.jobs["j1"]


def test_waiting_tells_what_shows_and_only_that(server, grid):
    job, told = job_of(grid), []

    def work():
        grid.change("j1", label="changed")  # a new revision with nothing new to show
        grid.change("j1", state=wire.JobState.RUNNING, worker="w", attempt=1)
        time.sleep(0.1)
        grid.change("j1", state=wire.JobState.LOST, reason="the worker is silent")
        time.sleep(0.1)
        grid.finish("j1")

    threading.Timer(0.05, work).start()
    ended = waiting.wait_for(server, job, told.append)
    assert ended.state == wire.JobState.COMPLETED
    assert [one.state.value for one in told][-2:] == ["lost", "completed"]
    assert all(one.label == "changed" for one in told)


def test_waiting_gives_up_when_the_server_stays_away(server, grid, monkeypatch, capsys):
    job = job_of(grid)
    monkeypatch.setattr(waiting, "AWAY_LIMIT_S", 0.6)
    grid.stop()
    with pytest.raises(errors.ConnectionFailed, match=r"not back in 0.01 minutes; job j1 was pending$") as caught:
        waiting.wait_for(server, job, lambda one: None)
    assert caught.value.next_step.startswith("xw job wait j1 ")
    assert capsys.readouterr().err.count("trying again for 0.01 minutes") == 1


def test_waiting_does_not_hide_a_refusal(server, grid):
    job = job_of(grid)
    grid.tokens.clear()
    with pytest.raises(errors.AuthenticationFailed):
        waiting.wait_for(server, job, lambda one: None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "cancelled"}, "was cancelled"),
        ({"state": "failed", "reason": "3 workers were lost"}, "failed: 3 workers were lost"),
        ({"state": "failed"}, "failed"),
        ({"state": "failed", "code": 4}, "failed with exit code 4"),
        ({"state": "failed", "code": 4, "reason": "exit code 4"}, "failed with exit code 4"),
        ({"state": "failed", "code": -9, "why": "wall clock limit"}, "failed: wall clock limit"),
    ],
)
def test_endings(grid, fields, words):
    given = dict(fields)
    empty = grid.file("stdout", b"")
    code, why = given.pop("code", None), given.pop("why", "")
    result = code and wire.JobResult(exit_code=code, stdout=empty, stderr=empty, reason=why)
    job = job_of(grid, **{**given, "state": wire.JobState(given["state"]), "result": result})
    assert waiting.ending(job) == words
    with pytest.raises(errors.JobFailed, match="job j1"):
        waiting.raise_unless_completed([job])
