"""HTTP as the client speaks it: what ends an answer, what comes between answers, and what no request may hold."""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import pytest

from xwhep.client import exchange
from xwhep.client.exchange import Broken, Exchange
from xwhep.common.trust import context_trusting

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def whole_request(connection):
    """A request's head and body; empty when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def talking(pki, *answers):
    """An exchange with a server that gives one of `answers` for each request, and what it is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server_file)
    listener, heard, left = socket.create_server(("127.0.0.1", 0)), [], list(answers)

    def serve():
        while left:
            try:
                plain, _ = listener.accept()
            except OSError:  # the test is over
                return
            # The client may go with an answer half read.
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as one:
                while left and (request := whole_request(one)):
                    heard.append(request)
                    one.sendall(answer := left.pop(0))
                    if b"close" in answer:
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    made = Exchange(f"https://localhost:{listener.getsockname()[1]}", context_trusting(pki.authority))
    try:
        yield made, heard
    finally:
        made.close()
        listener.shutdown(socket.SHUT_RDWR)  # to close it would not wake who waits in accept
        thread.join(5)
        listener.close()


def ask(made, method="GET", path="/", headers=None, body=b""):
    if not made.ready():
        made.connect(5.0)
    made.send(f"{method} {path}", headers or {}, body, 5.0)
    return made.answer(method)


def test_an_informational_answer_is_not_the_answer(grid):
    early = b"HTTP/1.1 103 Early Hints\r\nX: no\r\n\r\n"
    with talking(grid.pki, early + b"HTTP/1.1 201 Made\r\nY: yes\r\nContent-Length: 2\r\n\r\nok") as (made, _):
        answer = ask(made)
        assert (answer.status, answer.headers) == (201, {"y": "yes", "content-length": "2"})
        assert answer.read(10) == b"ok"


def test_a_head_has_no_body_and_leaves_the_connection(grid):
    with talking(grid.pki, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", EMPTY) as (made, heard):
        assert ask(made, "HEAD").read(10) == b""
        assert made.ready()
        assert ask(made).read(1) == b""
    assert len(heard) == 2


def test_a_body_without_a_length_ends_with_the_connection(grid):
    with talking(grid.pki, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it", EMPTY) as (made, _):
        answer = ask(made)
        assert answer.read(100) == b"all of it"
        assert not made.ready()
        assert ask(made).status == 200


def test_a_body_that_breaks_off_is_broken(grid):
    with talking(grid.pki, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: close\r\n\r\nall") as (made, _):
        answer = ask(made)
        assert answer.read(3) == b"all"
        with pytest.raises(Broken):
            answer.read(1)


def test_a_body_is_read_in_the_pieces_that_are_asked_for(grid):
    with talking(grid.pki, b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"ab" * 100_000) as (made, _):
        answer = ask(made)
        pieces = []
        while piece := answer.read(70_000):
            pieces.append(piece)
        assert [len(piece) for piece in pieces] == [70_000, 70_000, 60_000]
        assert b"".join(pieces) == b"ab" * 100_000
        assert answer.taken


@pytest.mark.parametrize(
    "surplus", [EMPTY.replace(b"200 OK", b"404 No"), b"junk"], ids=["another answer", "something else"]
)
def test_what_was_not_asked_for_is_never_the_next_answer(grid, surplus):
    with talking(grid.pki, EMPTY + surplus, EMPTY) as (made, _):
        try:
            assert ask(made).status == 200
        except Broken:  # refused at once is as good
            made.close()
        assert not made.ready()
        assert ask(made).status == 200


def test_an_answer_half_read_closes_the_connection(grid):
    with talking(grid.pki, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it") as (made, _):
        assert ask(made).read(3) == b"all"
        assert not made.ready()


def test_headers_without_end_are_not_kept_in_memory(grid, monkeypatch):
    monkeypatch.setattr(exchange, "HEAD_LIMIT_BYTES", 1000)
    with talking(grid.pki, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000) as (made, _), pytest.raises(Broken):
        ask(made)


def test_a_request_says_its_host_and_how_long_it_is(grid):
    with talking(grid.pki, EMPTY, EMPTY, EMPTY) as (made, heard):
        ask(made, "POST", "/a", {"X": "1"}, b"abc")
        ask(made, "PUT", "/b", {"Content-Length": "4"}, iter([b"ab", b"cd"]))
        ask(made, "DELETE", "/c")
    port = heard[0].partition(b"Host: localhost:")[2].partition(b"\r\n")[0]
    assert heard[0] == (
        b"POST /a HTTP/1.1\r\nHost: localhost:%s\r\nAccept-Encoding: identity\r\nX: 1\r\nContent-Length: 3\r\n\r\nabc"
        % port
    )
    assert heard[1].endswith(b"Content-Length: 4\r\n\r\nabcd")
    assert heard[2].endswith(b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a b", {}), ("/a\r\nX: 1", {}), ("/", {"X": "1\r\nY: 2"}), ("/", {"X": "1\nY"}), ("/", {"X": "é€"})],
)
def test_no_word_becomes_a_header_of_its_own(grid, path, headers):
    with talking(grid.pki, EMPTY) as (made, heard):
        with pytest.raises(ValueError, match=r"header|codec"):
            ask(made, "GET", path, headers)
        assert ask(made).status == 200
    assert len(heard) == 1
