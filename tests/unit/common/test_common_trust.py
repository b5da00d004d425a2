"""Trust by fingerprint, and TLS 1.3 with nothing older, against a real TLS server in a thread."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xwhep.common.authority import fetch_authority
from xwhep.common.errors import ConnectionFailed, UntrustedCertificate
from xwhep.common.trust import client_context, fingerprint

WRONG = "sha256:" + "0" * 64


def self_signed(folder: Path) -> Path:
    """Key and certificate of 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    encoding = serialization.Encoding.PEM
    pem.write_bytes(key.private_bytes(encoding, *private) + certificate.public_bytes(encoding))
    return pem


def certificate(pem: Path) -> str:
    text = pem.read_text()
    return text[text.index("-----BEGIN CERTIFICATE-----") :]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., tuple[str, Path]]]:
    """Serve `answer` once over TLS; gives the address and the certificate."""
    sockets = []

    def start(answer: bytes | None = None, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[str, Path]:
        pem = self_signed(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.maximum_version = newest
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)
        body = pem.read_bytes() if answer is None else answer
        threading.Thread(target=serve_once, args=(listener, context, body), daemon=True).start()
        return f"https://127.0.0.1:{listener.getsockname()[1]}", pem

    yield start
    for listener in sockets:
        listener.close()


def serve_once(listener: socket.socket, context: ssl.SSLContext, body: bytes) -> None:
    try:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    except OSError:  # the client refused us: what the test is about
        pass


def test_the_fingerprint_is_the_hash_of_the_certificates_der(tmp_path):
    pem = self_signed(tmp_path)
    der = x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(serialization.Encoding.DER)
    assert fingerprint(pem.read_text()) == f"sha256:{hashlib.sha256(der).hexdigest()}"


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_has_no_fingerprint(text):
    with pytest.raises(ValueError):
        fingerprint(text)


def test_the_authority_of_the_expected_fingerprint_is_taken(server):
    address, pem = server()
    assert fetch_authority(address, fingerprint(pem.read_text())) == certificate(pem)


def test_of_several_authorities_the_expected_one_alone_is_taken(server, tmp_path):
    """After a renewal both are served; whoever is in between must not bring in one of his own beside it."""
    (tmp_path / "others").mkdir()
    own, other = (certificate(self_signed(folder)) for folder in (tmp_path, tmp_path / "others"))
    for answer in (own + other, other + own):
        address, _ = server(answer.encode())
        assert fetch_authority(address, fingerprint(own)) == own


def test_another_authority_is_refused_and_both_fingerprints_named(server):
    address, pem = server()
    with pytest.raises(UntrustedCertificate) as caught:
        fetch_authority(address, WRONG)
    assert WRONG in str(caught.value)
    assert fingerprint(pem.read_text()) in str(caught.value)


@pytest.mark.parametrize("answer", [b"hello", b"\xff\xfe", b"-----END CERTIFICATE----------BEGIN CERTIFICATE-----"])
def test_a_server_that_serves_no_certificate_is_refused(server, answer):
    with pytest.raises(UntrustedCertificate):
        fetch_authority(server(answer)[0], WRONG)


def test_an_older_tls_is_refused(server):
    address, pem = server(newest=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ConnectionFailed):
        fetch_authority(address, fingerprint(pem.read_text()))


def test_nobody_at_the_address_is_a_failed_connection():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=str(port)):
        fetch_authority(f"https://127.0.0.1:{port}", WRONG)


def test_the_context_trusts_the_given_authority_alone(tmp_path, server):
    address, pem = server()
    port = int(address.rsplit(":", 1)[1])
    context = client_context(pem)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509"] == 1
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.version() == "TLSv1.3"


@pytest.mark.parametrize("content", ["", " \n", "no certificate", "\u00e9", "-----BEGIN CERTIFICATE-----"])
def test_an_authority_without_a_certificate_trusts_nobody(tmp_path, content):
    (tmp_path / "ca.pem").write_text(content, "utf-8")
    with pytest.raises(ssl.SSLError):
        client_context(tmp_path / "ca.pem")


def test_the_right_certificate_for_another_name_is_refused(server):
    address, pem = server()
    with (
        socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        client_context(pem).wrap_socket(plain, server_hostname="grid.example.org")
