"""Keys that sign apps: made once, private, readable by other tools; and what loading them costs those who sign not."""

import base64
import json
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from xwhep.client import keys
from xwhep.client.main import main
from xwhep.common import errors
from xwhep.common.signed import signed_message
from xwhep.common.wire import Binary

BINARY = Binary(os="linux", arch="x86_64", sha256="a" * 64, size=3)


def pem(key, encryption=None):
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, encryption or serialization.NoEncryption())


def test_a_key_is_made_private_and_named_as_workers_know_it(tmp_path, capsys):
    file = tmp_path / "key"
    assert main(["key", "make", str(file)]) == 0
    signer = capsys.readouterr().out.strip()
    assert len(base64.b64decode(signer, validate=True)) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["key", "show", str(file), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(file), "signer": signer}
    private = serialization.load_pem_private_key(file.read_bytes(), None)
    assert base64.b64encode(private.public_key().public_bytes_raw()).decode() == signer


def test_a_key_is_never_overwritten(tmp_path, capsys):
    file = tmp_path / "key"
    main(["key", "make", str(file)])
    before = file.read_bytes()
    (tmp_path / "link").symlink_to(file)
    for name in ("key", "link"):
        assert main(["key", "make", str(tmp_path / name)]) == errors.UsageError.exit_code
        assert "is there already" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["key", "make", str(tmp_path / "key")]) == errors.DiskFull.exit_code
    assert list(tmp_path.iterdir()) == []


def test_what_is_signed_is_the_agreed_message(tmp_path):
    key = keys.make(tmp_path / "key")
    signed = keys.load(tmp_path / "key").sign("app", BINARY)
    assert signed.signer == key.signer
    public = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(signed.signer))
    public.verify(base64.b64decode(signed.signature), signed_message("app", BINARY))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(ed25519.Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"secret")),
    ],
    ids=["empty", "text", "damaged", "another kind", "encrypted"],
)
def test_what_is_no_key_is_refused_in_words(tmp_path, content, capsys):
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    assert main(["key", "show", str(file)]) == errors.UsageError.exit_code
    first, second = capsys.readouterr().err.splitlines()
    assert str(file) in first
    assert second == "next: xw key make FILE makes one"


def test_a_key_that_others_can_read_is_refused(tmp_path, capsys):
    keys.make(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    assert main(["key", "show", str(tmp_path / "key")]) == errors.UsageError.exit_code
    assert "chmod 600" in capsys.readouterr().err
    assert main(["key", "show", str(tmp_path / "none")]) == errors.UsageError.exit_code


def test_without_the_library_the_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    for words in (["key", "make"], ["key", "show"]):
        assert main([*words, str(tmp_path / "key")]) == errors.UsageError.exit_code
        assert "apt install python3-cryptography" in capsys.readouterr().err
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("module", ["app", "app_sign", "key"])
def test_the_library_is_loaded_by_signing_alone(module):
    program = f"import sys, xwhep.client.commands.{module}; print('cryptography' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
    )
    assert done.stdout == b"False\n"
