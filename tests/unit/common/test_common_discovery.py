"""Finding a server without a name server: who asks, who may answer, and who is believed."""

from __future__ import annotations

import os
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from deployed import Authority
from xwhep.common import discovery
from xwhep.common.authority import GridConnection, fetch_authority
from xwhep.common.discovery import MAX_QUESTION_BYTES, answer_to, broadcast_addresses, find
from xwhep.common.errors import ConnectionFailed
from xwhep.common.trust import context_trusting, fingerprint
from xwhep.common.whereabouts import addresses_of, connect

NAME = "grid.test"
NONCE = b"0123456789abcdef" * 2


def question(name: bytes = NAME.encode(), nonce: bytes = NONCE) -> bytes:
    return b"xwhep-find-1 " + nonce + b" " + name


class Network:
    """One port number of this machine, at which tests put servers and liars, each on a loopback address of its own."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self.questions: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]

    def answerer(self, answer: Callable[[bytes], bytes | None], *senders: str, port: int = 0) -> None:
        """Whatever is asked is answered from each of `senders`, in this order."""
        ear = self._udp("0.0.0.0", self.port)
        mouths = [self._udp(address, port or self.port) for address in senders]

        def serve() -> None:
            with suppress(OSError):  # the test is over
                while (heard := ear.recvfrom(2000))[1]:
                    self.questions.append(heard[0])
                    for mouth in mouths:
                        if (reply := answer(heard[0])) is not None:
                            mouth.sendto(reply, heard[1])

        threading.Thread(target=serve, daemon=True).start()

    def _udp(self, address: str, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        self._open.callback(sock.close)
        self._open.callback(_wake, sock)
        return sock

    def tls(self, address: str, authority: Authority, folder: Path, names: tuple[str, ...] = (NAME,)) -> list[bytes]:
        """A server that shakes hands, and collects what it is then sent."""
        pem = folder / f"{address}.pem"
        pem.write_text(authority.server(names))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        listener = socket.create_server((address, self.port))
        self._open.callback(listener.close)
        self._open.callback(_wake, listener)
        heard: list[bytes] = []

        def serve() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                with raw:
                    raw.settimeout(5)
                    try:
                        with context.wrap_socket(raw, server_side=True) as tls:
                            heard.append(sent := tls.recv(1000))
                            body = authority.pem.encode()
                            if sent:
                                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        return heard

    def close(self) -> None:
        self._open.close()


def _wake(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # a thread that waits for it gets an error


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture
def authority() -> Authority:
    return Authority()


def honest(datagram: bytes) -> bytes | None:
    return answer_to(datagram, [NAME])


def test_the_loopback_network_is_asked_too() -> None:
    assert "127.255.255.255" in broadcast_addresses()


def test_a_server_that_has_the_name_is_found(network, authority, tmp_path) -> None:
    network.answerer(honest, "127.0.0.1")
    network.tls("127.0.0.1", authority, tmp_path)
    assert find(NAME, network.port, context_trusting(authority.pem)) == "127.0.0.1"
    assert find(NAME.upper(), network.port, context_trusting(authority.pem)) == "127.0.0.1"


def test_a_liar_that_answers_first_is_passed_over(network, authority, tmp_path) -> None:
    network.answerer(honest, "127.0.0.66", "127.0.0.67", "127.0.0.2")
    heard = network.tls("127.0.0.66", Authority(), tmp_path)  # another authority; and nobody at .67
    network.tls("127.0.0.2", authority, tmp_path)
    assert find(NAME, network.port, context_trusting(authority.pem)) == "127.0.0.2"
    assert heard in ([], [b""])  # nothing was said to it


def test_a_server_of_the_grid_with_another_name_is_no_answer(network, authority, tmp_path) -> None:
    network.answerer(honest, "127.0.0.1")
    network.tls("127.0.0.1", authority, tmp_path, names=("other.test",))
    assert find(NAME, network.port, context_trusting(authority.pem)) is None


@pytest.mark.parametrize(
    "lie",
    [
        lambda asked: b"xwhep-here-1 " + b"f" * 32,  # an answer to another question
        lambda asked: b"",
        lambda asked: os.urandom(45),
        lambda asked: honest(asked) + b"\n",
        lambda asked: honest(asked) * 40,
        lambda asked: asked,
    ],
    ids=["another nonce", "empty", "noise", "one byte more", "long", "the question itself"],
)
def test_what_is_no_answer_leads_nowhere(network, authority, tmp_path, lie) -> None:
    network.answerer(lie, "127.0.0.1")
    heard = network.tls("127.0.0.1", authority, tmp_path)
    assert find(NAME, network.port, context_trusting(authority.pem)) is None
    assert heard == []


def test_an_answer_from_another_port_is_not_the_servers(network, authority, tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        other = probe.getsockname()[1]
    network.answerer(honest, "127.0.0.1", port=other)
    network.tls("127.0.0.1", authority, tmp_path)
    assert find(NAME, network.port, context_trusting(authority.pem)) is None


def test_many_liars_end_the_search(network, authority, monkeypatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(discovery, "_proves", lambda address, *_: tried.append(address))
    network.answerer(honest, *(f"127.0.1.{number}" for number in range(1, 30)))
    assert find(NAME, network.port, context_trusting(authority.pem)) is None
    assert len(tried) == discovery.MAX_CANDIDATES


def test_a_question_lost_on_the_way_is_asked_again(network, authority, tmp_path) -> None:
    network.tls("127.0.0.1", authority, tmp_path)
    network.answerer(lambda asked: honest(asked) if len(network.questions) > 1 else None, "127.0.0.1")
    assert find(NAME, network.port, context_trusting(authority.pem)) == "127.0.0.1"


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "ä", "x" * 254, "::1", "a/b"])
def test_what_is_no_name_is_not_asked_for(network, authority, name) -> None:
    network.answerer(honest, "127.0.0.1")
    assert find(name, network.port, context_trusting(authority.pem)) is None
    assert network.questions == []


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"xwhep-find-1",
        question(b""),
        question(b"other.test"),
        question(b"grid.tes"),
        question(b"grid.test "),
        question(b"grid.test\0"),
        question(b"grid.test\n"),
        question(nonce=NONCE[:-1]),
        question(nonce=NONCE.upper()),
        question(nonce=b"g" * 32),
        b"\n" + question(),
        question().replace(b"-1", b"-2"),
        b"xwhep-here-1 " + NONCE,
    ],
)
def test_what_is_no_question_for_it_gets_no_answer(datagram) -> None:
    assert answer_to(datagram, [NAME]) is None


def test_an_answer_is_never_longer_than_the_question() -> None:
    shortest = question(b"a")
    assert len(answer_to(shortest, ["a"])) <= len(shortest)
    chance = random.Random(1)
    for _ in range(5000):
        noise = bytearray(question())
        for _ in range(chance.randrange(4)):
            noise[chance.randrange(len(noise))] = chance.randrange(256)
        answer = answer_to(bytes(noise), [NAME])
        assert answer is None or len(answer) <= len(noise) <= MAX_QUESTION_BYTES


def text(host: str | bytes) -> str:
    return host.decode() if isinstance(host, bytes) else host


@pytest.fixture
def unresolved(monkeypatch) -> None:
    """No name server knows a name that ends in .test."""
    real = socket.getaddrinfo

    def answer(host, *rest, **more):
        if text(host).endswith(".test"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.usefixtures("unresolved")
def test_a_connection_finds_the_server_and_checks_its_name(network, authority, tmp_path) -> None:
    network.answerer(honest, "127.0.0.66", "127.0.0.1")
    liar = network.tls("127.0.0.66", Authority(), tmp_path)
    heard = network.tls("127.0.0.1", authority, tmp_path)
    connection = GridConnection(f"https://{NAME}:{network.port}", context_trusting(authority.pem))
    connection.request("GET", "/", headers={"Authorization": "Bearer secret"})
    assert connection.getresponse().status == 200
    connection.close()
    assert any(b"secret" in request for request in heard)
    assert not any(liar)


@pytest.mark.usefixtures("unresolved")
def test_a_connection_to_nobody_fails_as_an_unknown_name_does(network, authority) -> None:
    connection = GridConnection(f"https://{NAME}:{network.port}", context_trusting(authority.pem))
    with pytest.raises(socket.gaierror):
        connection.connect()


@pytest.mark.usefixtures("unresolved")
def test_a_join_line_leads_to_a_server_that_no_name_server_knows(network, authority, tmp_path) -> None:
    address, mark = f"https://{NAME}:{network.port}", fingerprint(authority.pem)
    with pytest.raises(ConnectionFailed):
        fetch_authority(address, mark)
    network.answerer(honest, "127.0.0.1")
    network.tls("127.0.0.1", authority, tmp_path)
    assert fetch_authority(address, mark) == authority.pem


def test_a_silent_name_server_is_not_waited_for(network, authority, tmp_path, monkeypatch) -> None:
    real, silence = socket.getaddrinfo, threading.Event()

    def answer(host, *rest, **more):
        if text(host) == NAME:
            silence.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    network.answerer(honest, "127.0.0.1")
    network.tls("127.0.0.1", authority, tmp_path)
    assert addresses_of(NAME, network.port, context_trusting(authority.pem)) == ["127.0.0.1"]
    assert not silence.is_set()
    silence.set()
    network.close()
    with pytest.raises(socket.gaierror):
        addresses_of(NAME, network.port, context_trusting(authority.pem))


def test_a_name_server_that_knows_the_name_is_believed(network, authority, tmp_path, monkeypatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.2", *rest, **more))
    network.answerer(honest, "127.0.0.1")
    assert addresses_of(NAME, network.port, context_trusting(authority.pem)) == ["127.0.0.2"]
    assert network.questions == []


def test_each_address_of_a_name_is_tried(network, authority, tmp_path, monkeypatch) -> None:
    real = socket.getaddrinfo

    def answer(host, *rest, **more):
        hosts = ("127.0.0.99", "127.0.0.1") if text(host) == NAME else (host,)
        return [found for one in hosts for found in real(one, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    network.tls("127.0.0.1", authority, tmp_path)
    with connect(NAME, network.port, context_trusting(authority.pem), 5) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"
