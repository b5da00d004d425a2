"""What a deployment is made of, judged by the programs that will use it: TLS handshakes, argon2, hashes."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
import time
import tomllib
from pathlib import Path

import msgspec
import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments import MADE_AT, PASSWORD, deployment
from xwhep.common.join import parse_join_line
from xwhep.common.trust import context_trusting, fingerprint
from xwhep.server.identity import password_matches, token_hash
from xwhep_packaging.deployment import making, payload
from xwhep_packaging.deployment.answers import Answers
from xwhep_packaging.deployment.records import ROLES, Deployment
from xwhep_packaging.errors import AnswerError

DAY = 86_400


@pytest.fixture(scope="module")
def made() -> Deployment:
    return deployment()


def authorities_pem(made: Deployment) -> str:
    return payload.payload(made, "client")["ca.pem"].decode()


def certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


def handshake(made: Deployment, trusted: str, name: str, folder: Path) -> str:
    """The protocol that a client which trusts `trusted` and wants `name` agrees on with the deployment's server."""
    file = folder / "server.pem"
    file.write_bytes(made.server_pem)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with serving.wrap_socket(theirs, server_side=True) as connection:
                connection.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context_trusting(trusted).wrap_socket(ours, server_hostname=name) as connection:
            connection.send(b"x")
            return str(connection.version())
    finally:
        ours.close()
        thread.join()


@pytest.fixture
def now_made() -> Deployment:
    """Valid at the time of the test, unlike those that are made at a fixed time."""
    return deployment(now=int(time.time()))


# Certificates


@pytest.mark.parametrize("name", ["grid.example.org", "localhost", "127.0.0.1", "::1"])
def test_client_that_trusts_the_authority_connects(now_made: Deployment, name: str, tmp_path: Path) -> None:
    assert handshake(now_made, authorities_pem(now_made), name, tmp_path) == "TLSv1.3"


def test_other_name_and_other_authority_are_refused(now_made: Deployment, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(now_made, authorities_pem(now_made), "other.example.org", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(now_made, authorities_pem(deployment()), "grid.example.org", tmp_path)


def test_authority_says_who_runs_the_grid(made: Deployment) -> None:
    found = certificate(made.authorities[0].certificate)
    names = {attribute.oid: attribute.value for attribute in found.subject}
    assert names[NameOID.ORGANIZATION_NAME] == "Example"
    assert names[NameOID.COUNTRY_NAME] == "FR"
    assert str(names[NameOID.COMMON_NAME]).startswith("grid.example.org authority 2026")
    assert NameOID.LOCALITY_NAME not in names
    assert isinstance(found.public_key(), ec.EllipticCurvePublicKey)
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).critical


def test_times_are_those_of_making(made: Deployment) -> None:
    server = certificate(made.server_pem)
    assert server.not_valid_after_utc.timestamp() == made.about.certificate_until == MADE_AT + 397 * DAY
    assert server.not_valid_before_utc.timestamp() == MADE_AT - 3600


@pytest.mark.parametrize("server", ["a" * 63 + ".example.org", "192.0.2.7", "2001:db8::7", "xn--bcher-kva.example"])
def test_servers_of_all_kinds(server: str, tmp_path: Path) -> None:
    made = making.make(Answers(server=server), "lab", int(time.time()))
    assert handshake(made, authorities_pem(made), server, tmp_path) == "TLSv1.3"


# Renewal


@pytest.mark.parametrize("times", [1, 2, 3])
def test_who_knows_only_the_first_authority_still_connects(now_made: Deployment, times: int, tmp_path: Path) -> None:
    after = now_made
    for _ in range(times):
        after = making.rotated(after, "authority", now_made.about.created)
    assert handshake(after, authorities_pem(now_made), "grid.example.org", tmp_path) == "TLSv1.3"
    newest = after.authorities[0].certificate.decode()
    assert handshake(after, newest, "grid.example.org", tmp_path) == "TLSv1.3", "who knows only the newest too"
    assert handshake(after, authorities_pem(after), "grid.example.org", tmp_path) == "TLSv1.3"
    assert len({certificate(a.certificate).subject.rfc4514_string() for a in after.authorities}) == times + 1


def test_new_authority_comes_first_and_join_lines_name_it(made: Deployment) -> None:
    after = making.rotated(made, "authority", MADE_AT + DAY)
    pem = authorities_pem(after)
    assert pem.count("BEGIN CERTIFICATE") == 2
    assert parse_join_line(payload.join_line(after)).fingerprint == fingerprint(pem)
    assert fingerprint(pem) != fingerprint(authorities_pem(made))


def test_an_old_authority_is_forgotten(now_made: Deployment, tmp_path: Path) -> None:
    now = now_made.about.created
    twice = making.rotated(making.rotated(now_made, "authority", now), "authority", now)
    after = making.rotated(twice, "forget-old-authority", now)
    assert after.authorities == twice.authorities[:1]
    assert {role for role in ROLES if payload.version(after, role) != payload.version(twice, role)} == set(ROLES)
    assert handshake(after, authorities_pem(after), "grid.example.org", tmp_path) == "TLSv1.3"
    assert handshake(after, authorities_pem(twice), "grid.example.org", tmp_path) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(after, authorities_pem(now_made), "grid.example.org", tmp_path)
    with pytest.raises(AnswerError, match="no old authority"):
        making.rotated(after, "forget-old-authority", now)


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("server-key", {"server"}),
        ("admin", {"server"}),
        ("join-token", {"server", "worker"}),
        ("authority", {"server", "worker", "client"}),
    ],
)
def test_only_packages_that_change_count_up(made: Deployment, what: str, changed: set[str]) -> None:
    after = making.rotated(made, what, MADE_AT + DAY)
    assert {role for role in ROLES if payload.payload(made, role) != payload.payload(after, role)} == changed
    for role in ROLES:
        counted = 2 if role in changed else 1
        assert payload.version(after, role) == f"20261128.002900.{counted}"
        assert payload.epoch(after, role) == MADE_AT + (DAY if role in changed else 0)
        assert (payload.digest(after, role) != payload.digest(made, role)) == (role in changed)


def test_clock_that_was_set_back_gives_no_time_twice(made: Deployment) -> None:
    once = making.rotated(made, "server-key", MADE_AT)
    twice = making.rotated(once, "server-key", MADE_AT - DAY)
    assert [payload.epoch(d, "server") - MADE_AT for d in (made, once, twice)] == [0, 1, 2]


def test_what_cannot_be_renewed(made: Deployment) -> None:
    with pytest.raises(AnswerError, match="renews nothing") as caught:
        making.rotated(made, "everything", MADE_AT)
    assert "server-key" in caught.value.next_step


# Logins and tokens, as the server reads them


def test_server_gets_a_hash_that_the_password_matches(made: Deployment) -> None:
    login = json.loads(payload.payload(made, "server")["admin.json"])
    assert login["login"] == "admin"
    assert set(login) == {"login", "password_hash"}
    assert password_matches(login["password_hash"], PASSWORD)
    assert not PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).check_needs_rehash(
        login["password_hash"]
    )


def test_password_is_made_when_none_is_given() -> None:
    one, other = making.new_login("admin", ""), making.new_login("admin", "")
    assert one.password != other.password
    assert len(one.password) >= 24
    assert password_matches(one.password_hash, one.password)


def test_join_token_and_its_hash(made: Deployment) -> None:
    (row,) = json.loads(payload.payload(made, "server")["join.json"])
    token = parse_join_line(payload.payload(made, "worker")["worker.join"].decode()).token
    assert row == {"id": made.joins[0].id, "token_hash": token_hash(token), "visibility": "public", "group": ""}


# Who gets what


def test_each_role_gets_its_own(made: Deployment) -> None:
    assert {role: set(payload.payload(made, role)) for role in ROLES} == {
        "server": {"server.toml", "ca.pem", "server.pem", "admin.json", "join.json", "worker.join"},
        "worker": {"worker.toml", "ca.pem", "worker.join"},
        "client": {"client.toml", "ca.pem"},
    }


def test_authority_key_and_password_are_in_no_package(made: Deployment) -> None:
    everything = b"".join(content for role in ROLES for content in payload.payload(made, role).values())
    for secret in (made.authorities[0].key, made.admin.password.encode(), made.digest_key):
        assert secret not in everything
    for role in ("worker", "client"):
        assert not any(b"PRIVATE" in content for content in payload.payload(made, role).values())
    client = b"".join(payload.payload(made, "client").values())
    assert made.joins[0].token.encode() not in client


def test_settings_files_are_toml_that_the_roles_read(made: Deployment) -> None:
    tables = {role: tomllib.loads(payload.payload(made, role)[f"{role}.toml"].decode()) for role in ROLES}
    assert tables["server"] == {"name": ["grid.example.org"], "discovery": True}
    assert tables["worker"] == {}
    assert tables["client"] == {"address": "https://grid.example.org:4321", "authority": "ca.pem"}


def test_digest_tells_nothing_without_the_folders_key(made: Deployment) -> None:
    """Two deployments with the same contents have different digests; the same one always the same."""
    other = msgspec.structs.replace(made, digest_key=b"\1" * 32)
    assert payload.digest(made, "worker") == payload.digest(made, "worker")
    assert payload.digest(made, "worker") != payload.digest(other, "worker")
    plain = hashlib.sha256(b"".join(payload.payload(made, "worker").values())).hexdigest()
    assert payload.digest(made, "worker") != plain


def test_nothing_secret_is_printed(made: Deployment) -> None:
    text = repr(made) + repr(made.admin) + repr(made.joins) + repr(made.authorities)
    for secret in (PASSWORD, made.joins[0].token, made.admin.password_hash, "PRIVATE"):
        assert secret not in text
