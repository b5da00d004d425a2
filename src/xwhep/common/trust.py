"""Trusting a server: TLS 1.3 only, by the deployment's own authority.

Import costs little: every start of xw pays for it.
"""

from __future__ import annotations

import ssl
from pathlib import Path

CONNECT_TIMEOUT_S = 10.0


def fingerprint(pem: str) -> str:
    """`sha256:` and the hash of the first certificate in `pem`, over its DER.

    Raises:
        ValueError: there is no certificate in it.
    """
    import hashlib  # noqa: PLC0415 - a connection by known trust needs none

    start, end = pem.index("-----BEGIN CERTIFICATE-----"), pem.index("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[start:end] + "-----END CERTIFICATE-----\n")
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


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
