"""Keys that sign apps: Ed25519 in a PEM file for its owner alone. The library is loaded only for them."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xwhep.client import credentials
from xwhep.common.errors import UsageError
from xwhep.common.signed import signed_message
from xwhep.common.wire import Binary

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Key:
    """A private key; `signer` is what workers know it by: base64 of the public key's 32 bytes."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.signer = base64.b64encode(private.public_key().public_bytes_raw()).decode()

    def sign(self, app: str, binary: Binary) -> Binary:
        signature = base64.b64encode(self._private.sign(signed_message(app, binary))).decode()
        return msgspec.structs.replace(binary, signature=signature, signer=self.signer)


def make(path: Path) -> Key:
    """A new key in a new file that only its owner can read.

    Raises:
        UsageError: there is such a file already: without the old key nothing more could be signed in its name.
    """
    _require_library()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as exc:
        raise UsageError(f"{path} is there already, and is not overwritten", "choose another name") from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Key(private)


def load(path: Path) -> Key:
    """Raises: UsageError: no file, no such key in it, or others can read it."""
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    text = credentials.read_secret(path, f"make one: xw key make {path}") or ""
    try:
        private = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:  # TypeError: it is encrypted
        raise UsageError(f"{path} holds no private key that can be used", "xw key make FILE makes one") from exc
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"{path} holds a key of another kind, not Ed25519", "xw key make FILE makes one")
    return Key(private)


def _require_library() -> None:
    try:
        import cryptography.hazmat.primitives  # noqa: F401, PLC0415
    except ImportError as exc:
        raise UsageError("the library that signs is not installed", "apt install python3-cryptography") from exc
