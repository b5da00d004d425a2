"""The deployment's certificate authority, what it signs, and its renewal.

    first:    authority A ── signs ──> server certificate
    renewed:  authority B ── signs ──> server certificate
              authority A ── signs ──> authority B: who knows only A still finds a way

Apart from the rest because importing `cryptography` takes 0.1 s. Keys are EC P-256, which every TLS 1.3 client takes.
"""

from __future__ import annotations

import ipaddress
import itertools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xwhep_packaging.deployment.records import Authority

AUTHORITY_VALID = timedelta(days=3650)
SERVER_VALID = timedelta(days=397)  # some clients refuse longer ones
BACKDATED = timedelta(hours=1)  # a worker's clock may be behind
MAX_COMMON_NAME = 64  # ub-common-name of RFC 5280


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What certificates say about the grid beside its name; empty fields are left out."""

    organisation: str = ""
    unit: str = ""
    place: str = ""
    country: str = ""


def make_authority(subject: Subject, name: str, now: int) -> Authority:
    """A self-signed authority. The time is in its name, so that a renewed one is never taken for the one before."""
    key = ec.generate_private_key(ec.SECP256R1())
    suffix = datetime.fromtimestamp(now, UTC).strftime(" authority %Y%m%d%H%M%S")
    full_name = _name(subject, name[: MAX_COMMON_NAME - len(suffix)] + suffix)
    builder = _builder(now, AUTHORITY_VALID).subject_name(full_name).issuer_name(full_name).public_key(key.public_key())
    certificate = _as_authority(builder, key.public_key()).sign(key, hashes.SHA256())
    return Authority(key=_key_pem(key), certificate=_pem(certificate))


def cross_signed(renewed: Authority, old: Authority, now: int) -> bytes:
    """The renewed authority's certificate as the old one signs it: the same name and key, valid no longer than both."""
    subject = x509.load_pem_x509_certificate(renewed.certificate)
    issuer = x509.load_pem_x509_certificate(old.certificate)
    key = _key(old)
    public = _key(renewed).public_key()
    valid = min(subject.not_valid_after_utc, issuer.not_valid_after_utc) - datetime.fromtimestamp(now, UTC)
    builder = _builder(now, valid).subject_name(subject.subject).issuer_name(issuer.subject).public_key(public)
    builder = _as_authority(builder, public)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return _pem(builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256()))


def server_pem(authorities: Sequence[Authority], subject: Subject, names: Sequence[str], now: int) -> bytes:
    """A new server key, its certificate by the newest authority, and each authority as the one before it signs it.

    `authorities` are newest first; one that has expired signs nothing any more. One chain, not a fan: OpenSSL takes the
    first certificate of a name and does not come back to try another.
    """
    newest = authorities[0]
    key = ec.generate_private_key(ec.SECP256R1())
    signer = _key(newest)
    certificate = (
        _builder(now, SERVER_VALID)
        .subject_name(_name(subject, names[0][:MAX_COMMON_NAME]))
        .issuer_name(x509.load_pem_x509_certificate(newest.certificate).subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    living = [authority for authority in authorities if valid_until(authority.certificate) > now]
    chain = [cross_signed(renewed, old, now) for renewed, old in itertools.pairwise(living)]
    return b"".join([_key_pem(key), _pem(certificate), *chain])


def valid_until(pem: bytes) -> int:
    """When the first certificate in `pem` ends, in UTC seconds."""
    return int(x509.load_pem_x509_certificate(_first_certificate(pem)).not_valid_after_utc.timestamp())


def _first_certificate(pem: bytes) -> bytes:
    end = b"-----END CERTIFICATE-----\n"
    return pem[pem.index(b"-----BEGIN CERTIFICATE-----") : pem.index(end) + len(end)]


def _name(subject: Subject, common_name: str) -> x509.Name:
    parts = [
        (NameOID.COUNTRY_NAME, subject.country),
        (NameOID.LOCALITY_NAME, subject.place),
        (NameOID.ORGANIZATION_NAME, subject.organisation),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, subject.unit),
        (NameOID.COMMON_NAME, common_name),
    ]
    return x509.Name([x509.NameAttribute(oid, unicodedata.normalize("NFC", text)) for oid, text in parts if text])


def _builder(now: int, valid: timedelta) -> x509.CertificateBuilder:
    moment = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(moment + valid)
    )


def _as_authority(builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    """One that may sign servers and authorities: after some renewals the way from the first one to a server is long."""
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _key(authority: Authority) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is no EC key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
