"""Whether a program was signed by somebody that the owner of this machine trusts (Ed25519)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from xwhep.common.errors import UsageError
from xwhep.common.signed import signed_message
from xwhep.common.wire import Binary

_KEY_BYTES = 32
Verify = Callable[[bytes, bytes, bytes], bool]


class Unsigned(Exception):
    """This worker does not run it, another may; the text says why. The server knows the signers and sends no such job,
    unless it is an older one."""


class Forged(Exception):
    """Nobody should run it; the text says why."""


def parse_signers(text: str) -> tuple[str, ...]:
    """Public keys, base64 of 32 bytes each, with commas between.

    Raises:
        ValueError: one of them is none.
    """
    found = tuple(sorted({part.strip() for part in text.split(",")} - {""}))
    for key in found:
        if len(_decoded(key)) != _KEY_BYTES:
            raise ValueError(f"{key!r} is no public key: write the base64 of its 32 bytes, as xw key make prints it")
    return found


class Signers:
    """The signers this worker knows; with none, every program may run.

    Raises:
        UsageError: there are some, but the library that checks signatures is not installed.
    """

    def __init__(self, known: tuple[str, ...], load: Callable[[], Verify] | None = None) -> None:
        self._known = known
        self._verify = (load or _library)() if known else None

    def check(self, app: str, binary: Binary) -> None:
        """Nothing, when this program may run here.

        Raises:
            Unsigned: it has no signature of a known signer.
            Forged: it has the name of one, but is not what was signed.
        """
        if self._verify is None:
            return
        if not binary.signature or not binary.signer:
            raise Unsigned(f"the app {app!r} is not signed, and this worker runs signed ones only")
        if binary.signer not in self._known:
            raise Unsigned(f"the app {app!r} is signed by {binary.signer}, whom this worker does not know")
        if not self._verify(_decoded(binary.signer), _decoded(binary.signature), signed_message(app, binary)):
            raise Forged(f"the signature of the app {app!r} is not right")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _library() -> Verify:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - most workers need it not
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError as exc:
        raise UsageError(
            "signers are set, but the library that checks signatures is missing", "apt install python3-cryptography"
        ) from exc

    def verify(key: bytes, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify
