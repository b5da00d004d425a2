"""Making the authority and signing with it. Apart from authority.py because importing `cryptography` takes 0.1 s."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xwhep.common.durable import write_private
from xwhep.server.authority_files import AuthorityFiles

CA_VALID = timedelta(days=3650)
SERVER_VALID = timedelta(days=397)  # some clients refuse longer ones
BACKDATED = timedelta(hours=1)  # a worker's clock may be behind


def make_authority(files: AuthorityFiles) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("xwhep grid authority")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(CA_VALID)
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        # One step more than it needs: an authority that replaces it may be signed by it.
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(files.ca_key, _key_pem(key))
    # Last: its presence says that the authority is complete.
    write_private(files.ca_pem, _certificate_pem(certificate))


def issue(files: AuthorityFiles, names: frozenset[str]) -> None:
    ca_key = serialization.load_pem_private_key(files.ca_key.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - made by _make_authority
    ca = x509.load_pem_x509_certificate(files.ca_pem.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(SERVER_VALID)
        .subject_name(_name("xwhep server"))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = _key_pem(key) + _certificate_pem(certificate)
    record = {
        "names": sorted(names),
        "not_after": certificate.not_valid_after_utc.timestamp(),
        "sha256": hashlib.sha256(pem).hexdigest(),
    }
    # Last the record: without it, or with that of another server.pem, the next start issues again.
    write_private(files.server_pem, pem)
    write_private(files.record, json.dumps(record).encode())


def ends_at(server_pem: Path) -> datetime:
    """When the server's certificate, the first in the file, ends to be valid."""
    return x509.load_pem_x509_certificates(server_pem.read_bytes())[0].not_valid_after_utc


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(valid: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: frozenset[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in sorted(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.encode("idna").decode("ascii")))
    return found


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
