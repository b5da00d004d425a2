"""The bytes that signatures are over, spelt out: a change here would void every signature there is."""

import msgspec

from xwhep.common.signed import signed_message
from xwhep.common.wire import Binary

BINARY = Binary(os="linux", arch="x86_64", sha256="a" * 64, size=3)


def test_the_message_is_the_agreed_one():
    assert signed_message("app", BINARY) == b"xwhep-app-1\0app\0linux\0x86_64\0" + b"a" * 64


def test_every_part_matters():
    others = [
        signed_message("ap", BINARY),
        *(
            signed_message("app", msgspec.structs.replace(BINARY, **{field: "b" * 64}))
            for field in ("os", "arch", "sha256")
        ),
    ]
    assert len({signed_message("app", BINARY), *others}) == 5


def test_what_is_not_signed_changes_nothing():
    other = msgspec.structs.replace(BINARY, size=4, signature="s", signer="k")
    assert signed_message("app", other) == signed_message("app", BINARY)
