"""Programs of known signers, of others, and forged ones."""

import base64
import sys

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from xwhep.common.errors import UsageError
from xwhep.common.signed import signed_message
from xwhep.common.wire import Binary
from xwhep.worker.signatures import Forged, Signers, Unsigned, parse_signers

KEY = Ed25519PrivateKey.generate()
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
PLAIN = Binary(os="linux", arch="x86_64", sha256="a" * 64, size=3)


def signed(app: str = "app", key: Ed25519PrivateKey = KEY, signer: str = PUBLIC) -> Binary:
    signature = base64.b64encode(key.sign(signed_message(app, PLAIN))).decode()
    return msgspec.structs.replace(PLAIN, signature=signature, signer=signer)


def test_without_known_signers_everything_may_run() -> None:
    Signers(()).check("app", PLAIN)
    Signers(()).check("app", signed("another"))


def test_a_program_of_a_known_signer_may_run() -> None:
    Signers((PUBLIC,)).check("app", signed())


def test_others_may_not() -> None:
    known = Signers((PUBLIC,))
    other = Ed25519PrivateKey.generate()
    name = base64.b64encode(other.public_key().public_bytes_raw()).decode()
    for binary in (PLAIN, signed(key=other, signer=name), msgspec.structs.replace(signed(), signer="")):
        with pytest.raises(Unsigned):
            known.check("app", binary)


@pytest.mark.parametrize(
    "binary",
    [
        signed("another app"),
        signed(key=Ed25519PrivateKey.generate()),
        msgspec.structs.replace(signed(), sha256="b" * 64),
        msgspec.structs.replace(signed(), arch="any"),
        msgspec.structs.replace(signed(), signature="rubbish"),
        msgspec.structs.replace(signed(), signature="AAAA"),
    ],
    ids=["app", "key", "content", "arch", "no base64", "short"],
)
def test_what_was_not_signed_so_is_forged(binary: Binary) -> None:
    with pytest.raises(Forged):
        Signers((PUBLIC,)).check("app", binary)


def test_without_the_library_signers_are_an_error_that_says_what_to_install(monkeypatch) -> None:
    for name in ("cryptography.exceptions", "cryptography.hazmat.primitives.asymmetric.ed25519"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError) as caught:
        Signers((PUBLIC,))
    assert "python3-cryptography" in caught.value.next_step
    Signers(())


def test_keys_are_read_from_text() -> None:
    assert parse_signers(f" {PUBLIC}, {PUBLIC},") == (PUBLIC,)
    for text in ("key", "AAAA", PUBLIC[:-4]):
        with pytest.raises(ValueError, match="public key"):
            parse_signers(text)
