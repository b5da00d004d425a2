import io
import os
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from xwhep.common.errors import AuthenticationFailed, Conflict, NotFound, UntrustedCertificate, XwhepError
from xwhep.common.wire import Ack, Heartbeat, HeartbeatReply, Leave, WorkRequest
from xwhep.common.wire_bulk import Leases
from xwhep.worker.session import UNACKNOWLEDGED_MS, Away, Session


def beat(session: Session) -> HeartbeatReply | None:
    return session.post("/v1/worker/heartbeat", Heartbeat(), HeartbeatReply)


def test_a_message_and_its_answer(grid, session) -> None:
    reply = beat(session)
    assert reply is not None
    assert reply.heartbeat_s == grid.heartbeat_s
    method, path, headers = grid.calls[-1]
    assert (method, path) == ("POST", "/v1/worker/heartbeat")
    assert headers["Authorization"].startswith("Bearer ")
    assert headers["Content-Type"] == "application/json"


def test_no_content_is_none(grid, session) -> None:
    assert session.post("/v1/worker/leases", WorkRequest(machine=grid.machine, wait_s=0), Leases) is None


def test_a_connection_is_used_again(grid, session) -> None:
    ports: set[int] = set()
    grid.fault("POST", "/v1/work", *[lambda call: (ports.add(call.client_address[1]), call.answer(204))] * 5)
    for _ in range(5):
        beat(session)
    assert len(ports) == 1


@pytest.mark.parametrize("status", [429, 408, 500, 502, 503, 507, 302])
def test_a_server_in_trouble_is_away(grid, session, status: int) -> None:
    grid.fault("POST", "/v1/work", grid.says(status, Retry_After="7"))
    with pytest.raises(Away, match=str(status)) as caught:
        beat(session)
    assert caught.value.retry_after_s == 7
    assert beat(session) is not None


@pytest.mark.parametrize("content", [b"", b"<html>proxy</html>", b'{"heartbeat_s": "soon"}', b"\xff"])
def test_an_answer_that_cannot_be_read_is_away(grid, session, content: bytes) -> None:
    grid.fault("POST", "/v1/work", lambda call: call.answer(200, content))
    with pytest.raises(Away, match="cannot be read"):
        beat(session)


@pytest.mark.parametrize("headers", [{"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}, {"Retry_After": "-5"}])
def test_other_forms_of_retry_after_count_as_none(grid, session, headers) -> None:
    grid.fault("POST", "/v1/work", grid.says(503, **headers))
    with pytest.raises(Away) as caught:
        beat(session)
    assert caught.value.retry_after_s == 0


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationFailed), (404, NotFound), (409, Conflict)])
def test_an_error_without_a_body_is_told_by_its_status(grid, session, status: int, error: type[XwhepError]) -> None:
    grid.fault("POST", "/v1/work", lambda call: call.answer(status, b"no json"))
    with pytest.raises(error):
        beat(session)


def test_errors_keep_their_class_message_and_next_step(grid, session) -> None:
    grid.tokens.clear()
    with pytest.raises(AuthenticationFailed, match="not known") as caught:
        beat(session)
    assert caught.value.next_step == "join again"


def test_a_broken_connection_is_away_and_the_next_call_connects_anew(grid, session) -> None:
    grid.fault("POST", "/v1/work", grid.hangs_up)
    with pytest.raises(Away):
        beat(session)
    assert beat(session) is not None


def test_a_server_that_restarts_is_found_again(grid, session) -> None:
    assert beat(session) is not None
    grid.stop()
    with pytest.raises(Away, match="refused"):
        session.blob_size("0" * 64)
    grid.start()
    assert beat(session) is not None


def test_another_authority_is_untrusted(grid, session, tmp_path: Path) -> None:
    grid.stop()
    grid.authority = type(grid.authority)(tmp_path)
    grid.start()
    with pytest.raises(UntrustedCertificate, match="not signed"):
        beat(session)


def test_a_name_that_is_not_in_the_certificate_is_untrusted(grid, identity, folder: Path) -> None:
    address = identity.address.replace("localhost", "127.0.0.2")
    grid.stop()
    server_session = Session(address, folder / identity.ca_file, "token")
    with pytest.raises(Away):
        beat(server_session)


def test_tls_below_1_3_is_not_spoken(session) -> None:
    context = session._pool.conn_kw["ssl_context"]
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_blobs_go_up_and_down(grid, session) -> None:
    content = os.urandom(700_000)
    name = grid.sha(content)
    assert session.blob_size(name) is None
    session.put_blob(name, io.BytesIO(content), len(content))
    assert session.blob_size(name) == len(content)
    with session.get_blob(name) as (start, pieces):
        assert (start, b"".join(pieces)) == (0, content)


def test_a_download_resumes_where_it_is_told_to(grid, session) -> None:
    name = grid.blob(b"0123456789")
    with session.get_blob(name, 4) as (start, pieces):
        assert (start, b"".join(pieces)) == (4, b"456789")


def test_a_server_that_ignores_the_range_is_understood(grid, session) -> None:
    name = grid.blob(b"0123456789")
    grid.fault("GET", "/v1/blobs", lambda call: call.answer(200, b"0123456789"))
    with session.get_blob(name, 4) as (start, pieces):
        assert (start, b"".join(pieces)) == (0, b"0123456789")


def test_a_download_cut_short_is_away(grid, session) -> None:
    def cut(call) -> None:
        call.answer(200, b"half", Content_Length="8")
        call.hang_up()

    grid.fault("GET", "/v1/blobs", cut)
    with pytest.raises(Away), session.get_blob("0" * 64) as (_, pieces):
        b"".join(pieces)


@pytest.fixture
def polling(grid, session):
    """A thread in a long poll, and what it ends with."""
    request = WorkRequest(machine=grid.machine, wait_s=20)
    failures: list[Exception] = []

    def poll() -> None:
        try:
            session.post("/v1/worker/leases", request, Leases)
        except Away as exc:
            failures.append(exc)

    thread = threading.Thread(target=poll)
    thread.start()
    grid.until(lambda: grid.requests)
    yield thread, failures
    session.abort()
    thread.join(5)


def test_abort_ends_a_long_poll_at_once(session, polling) -> None:
    thread, failures = polling
    before = time.monotonic()
    session.abort()
    thread.join(5)
    assert failures
    assert time.monotonic() - before < 1
    assert beat(session) is not None


def test_abort_may_spare_what_was_opened_since(session, polling) -> None:
    thread, failures = polling
    session.abort(opened_before=time.monotonic() - 60)
    assert beat(session) is not None
    assert thread.is_alive()
    session.abort(opened_before=time.monotonic())
    thread.join(5)
    assert failures


def test_a_distrusted_connection_is_not_used_again(session) -> None:
    beat(session)
    (first,) = session._connections
    session.distrust(opened_before=time.monotonic() - 60)
    beat(session)
    assert len(session._connections) == 1
    opened_at = first.opened_at
    session.distrust(opened_before=time.monotonic())
    assert beat(session) is not None
    assert [one.opened_at for one in session._connections] != [opened_at]
    opened_at = first.opened_at
    assert beat(session) is not None
    assert first.opened_at == opened_at, "the new one is kept"


def test_what_is_never_acknowledged_breaks_a_connection(session, polling) -> None:
    (connection,) = session._connections
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_MS


def test_a_connection_on_which_an_answer_is_waited_for_is_asked_about(session, polling) -> None:
    """Else nothing is sent on it that could remain unacknowledged."""
    (connection,) = session._connections
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    idle, every = (
        connection.sock.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
    )
    assert (idle + every) * 1000 < UNACKNOWLEDGED_MS


def test_a_connection_that_closes_by_itself_meanwhile_harms_no_abort(session) -> None:
    class Closing:
        opened_at = 0.0

        def __init__(self) -> None:
            self.left = [socket.socket()]

        @property
        def sock(self) -> socket.socket | None:
            return self.left.pop() if self.left else None

    one = Closing()
    session._connections.add(one)
    session.abort()
    assert one.left == []


def test_the_token_is_in_no_error_text(grid, session) -> None:
    grid.fault("POST", "/v1/work", grid.says(500), grid.hangs_up)
    for _ in range(2):
        with pytest.raises(Away) as caught:
            session.post("/v1/worker/heartbeat", Heartbeat(), Ack)
        assert "worker-secret" not in str(caught.value) + repr(caught.value.__cause__)


def test_a_call_that_was_under_way_when_the_token_changed_may_be_repeated(grid, session) -> None:
    def changes(call) -> None:
        session.use("another")
        call.answer(401, b"{}")

    grid.fault("POST", "/v1/worker/leave", changes)
    with pytest.raises(Away, match="token was changed"):
        session.post("/v1/worker/leave", Leave(), Ack)
    grid.tokens = {"another"}
    assert session.post("/v1/worker/leave", Leave(), Ack) == Ack()
