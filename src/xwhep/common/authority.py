"""The authority of a deployment, fetched once from its server and known by its fingerprint."""

from __future__ import annotations

import http.client
import re
import ssl
from urllib.parse import urlsplit

from xwhep.common.errors import ConnectionFailed, UntrustedCertificate
from xwhep.common.trust import CONNECT_TIMEOUT_S, fingerprint
from xwhep.common.whereabouts import connect

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


def _certificates(pem: str) -> list[str]:
    return [found[0] for found in _CERTIFICATE.finditer(pem)]
