"""Signatures of apps: checked when an app is registered, so that its owner hears of a wrong one and not a worker."""

from __future__ import annotations

import base64
import binascii

from xwhep.common.errors import InvalidRequest
from xwhep.common.signed import signed_message
from xwhep.common.wire import AppSpec, Binary
from xwhep.server.checks import refuse

SIGNATURE_BYTES = 64
KEY_BYTES = 32


def check_signatures(spec: AppSpec) -> None:
    """Of every binary that has one. The first call imports a library, 0.1 s: call it in a thread.

    Raises:
        InvalidRequest: not base64 of the right length, one without the other, or signed by another key.
    """
    for binary in spec.binaries:
        if binary.signature or binary.signer:
            _check(spec.name, binary)


def _check(app: str, binary: Binary) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to import, and few apps are signed
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    key = Ed25519PublicKey.from_public_bytes(_decoded(binary.signer, KEY_BYTES, "signer"))
    try:
        key.verify(_decoded(binary.signature, SIGNATURE_BYTES, "signature"), signed_message(app, binary))
    except InvalidSignature:
        raise InvalidRequest(
            f"the signature is not the signer's for {app} on {binary.os}/{binary.arch}", "run: xw app sign"
        ) from None


def _decoded(text: str, length: int, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    refuse(len(raw) != length, f"the {what} of a binary is base64 of {length} bytes")
    return raw
