"""Trusting a server: TLS 1.3 only, by the deployment's own authority, found once by its fingerprint."""

from __future__ import annotations

import hashlib
import http.client
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from xwhep.common.errors import ConnectionFailed, UntrustedCertificate
from xwhep.common.whereabouts import connect

CONNECT_TIMEOUT_S = 10.0
_CA_LIMIT_BYTES = 64 * 1024
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")


class GridConnection(http.client.HTTPSConnection):
    """To the server at `address`; one whose name nobody can resolve is looked for on the local network."""

    def __init__(self, address: str, context: ssl.SSLContext, blocksize: int = 8192) -> None:
        url = urlsplit(address)
        super().__init__(url.hostname or "", url.port, timeout=CONNECT_TIMEOUT_S, context=context, blocksize=blocksize)
        self._trusting = context

    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self._trusting, CONNECT_TIMEOUT_S)


def fingerprint(pem: str) -> str:
    """`sha256:` and the hash of the first certificate in `pem`, over its DER.

    Raises:
        ValueError: there is no certificate in it.
    """
    start, end = pem.index("-----BEGIN CERTIFICATE-----"), pem.index("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[start:end] + "-----END CERTIFICATE-----\n")
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _certificates(pem: str) -> list[str]:
    return [found[0] for found in _CERTIFICATE.finditer(pem)]


def client_context(ca_file: Path) -> ssl.SSLContext:
    """A context that speaks TLS 1.3 only and trusts `ca_file` alone, host names checked."""
    return context_trusting(ca_file.read_text("ascii", "replace"))


def context_trusting(pem: str) -> ssl.SSLContext:
    """`client_context` for an authority that is at hand as text.

    Raises:
        ssl.SSLError: there is no certificate in it.
    """
    if not pem.isascii() or "-----BEGIN CERTIFICATE-----" not in pem:
        # create_default_context takes empty text for none given, and would trust every public authority instead.
        raise ssl.SSLError("the authority holds no certificate")
    context = ssl.create_default_context(cadata=pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def fetch_authority(address: str, expected_fingerprint: str) -> str:
    """The authority's certificate (PEM) with the expected fingerprint, from `address`.

    The one connection made without verification: nothing secret is sent on it, and its answer is checked by hash. A
    server whose authority was renewed serves the old one too; what has not the expected hash is not taken.

    Raises:
        ConnectionFailed: nothing answers, or not over TLS.
        UntrustedCertificate: another authority answers there.
    """
    context = ssl._create_unverified_context()  # noqa: S323 - checked by fingerprint below
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    connection = GridConnection(address, context)
    try:
        connection.request("GET", "/v1/ca")
        pem = connection.getresponse().read(_CA_LIMIT_BYTES).decode("ascii", "replace")
    except (OSError, http.client.HTTPException) as exc:
        raise ConnectionFailed(
            f"no grid server answers at {address}: {exc}", "check the address, and that the server runs"
        ) from exc
    finally:
        connection.close()
    try:
        found = {fingerprint(one): one for one in _certificates(pem)}
    except ValueError:
        found = {}
    if not found:
        raise UntrustedCertificate(f"{address} serves no authority certificate", "is it an xwhep server?")
    if expected_fingerprint not in found:
        raise UntrustedCertificate(
            f"the authority at {address} has fingerprint {next(iter(found))}, the join line says "
            f"{expected_fingerprint}",
            "ask the administrator for a new join line; somebody may be in between",
        )
    return found[expected_fingerprint]
