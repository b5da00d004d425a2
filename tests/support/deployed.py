"""A deployment as its packages bring it: an authority, what it signed, logins and join tokens; renewed on demand."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xwhep.common.join import JoinLine
from xwhep.common.trust import fingerprint
from xwhep.common.wire import DEFAULT_PORT
from xwhep.server.identity import hash_password, token_hash

NAMES = ("xwserver.test", "localhost")
PEM = serialization.Encoding.PEM


class Authority:
    """`name`: authorities of the same name differ by their keys alone."""

    def __init__(self, name: str = "xwhep grid authority", path_length: int | None = 1) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.path_length = path_length
        self.pem = self.sign_authority(self)

    def sign_authority(self, other: Authority) -> str:
        """The certificate of `other` (or its own), signed by this one."""
        builder = self._builder(other.name, other.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=other.path_length), critical=True)
        return self._signed(builder.add_extension(usage(authority=True), critical=True))

    def server(self, names: tuple[str, ...] = NAMES) -> str:
        """A key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        )
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return private.decode() + self._signed(builder)

    def _builder(self, name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=100))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> str:
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM).decode()


def usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


class Deployed:
    """The three folders that the packages would install, below `folder`."""

    def __init__(self, folder: Path, names: tuple[str, ...] = NAMES) -> None:
        self.names = names
        self.server, self.worker, self.client = (
            folder / f"{role}-deployment" for role in ("server", "worker", "client")
        )
        for one in (self.server, self.worker, self.client):
            one.mkdir(mode=0o750, parents=True)
        self.authority = Authority()
        self.write(self.server / "ca.pem", self.authority.pem)
        self.write(self.server / "server.pem", self.authority.server(names))
        self.write(self.server / "server.toml", f"name = {json.dumps(list(names))}\n")
        self.admin("boss", "password of boss")
        self.joins(first="join-token-1")
        self.write_worker_line("join-token-1")

    def write(self, path: Path, text: str) -> None:
        """As a package does: a new file in place of the old."""
        draft = path.with_name("draft")
        draft.write_text(text)
        draft.chmod(0o640)
        draft.replace(path)

    def admin(self, login: str, password: str) -> None:
        self.write(self.server / "admin.json", json.dumps({"login": login, "password_hash": hash_password(password)}))

    def users(self, **roles: str) -> None:
        """Each with the password "password of NAME"."""
        users = [
            {"login": name, "role": role, "password_hash": hash_password(f"password of {name}")}
            for name, role in roles.items()
        ]
        self.write(self.server / "users.json", json.dumps(users))

    def joins(self, **tokens: str) -> None:
        joins = [
            {"id": name, "token_hash": token_hash(token), "visibility": "public", "group": ""}
            for name, token in tokens.items()
        ]
        self.write(self.server / "join.json", json.dumps(joins))

    def write_worker_line(self, token: str) -> None:
        """What the server shows to who asks it how a worker joins."""
        self.write(self.server / "worker.join", f"{self.join_line(DEFAULT_PORT, token, self.names[0])}\n")

    def renew_authority(self, new: Authority) -> None:
        """From now on `new` signs; who knows the old one alone finds to it by the cross certificate."""
        cross = self.authority.sign_authority(new)
        self.write(self.server / "ca.pem", new.pem + self.authority.pem)
        self.write(self.server / "server.pem", new.server(self.names) + cross)

    def join_line(self, port: int, token: str = "join-token-1", host: str = "localhost") -> JoinLine:
        mark = fingerprint(self.authority.pem)
        return JoinLine(address=f"https://{host}:{port}", fingerprint=mark, token=token)

    def bind(self, port: int, host: str = "") -> None:
        """The worker's and the client's folders, for the server at that port."""
        line = self.join_line(port, host=host or self.names[0])
        self.write(self.worker / "worker.join", f"{line}\n")
        self.write(self.client / "client.toml", f'address = "{line.address}"\nauthority = "ca.pem"\n')
        for folder in (self.worker, self.client):
            self.write(folder / "ca.pem", (self.server / "ca.pem").read_text())
