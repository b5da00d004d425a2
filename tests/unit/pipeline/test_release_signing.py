"""Keys: made once and found again, chosen by fingerprint, and nothing of them left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.signing import key_of

EPOCH = 1_800_000_000


def test_own_key_is_made_once_private_and_said(tmp_path: Path) -> None:
    own, said = tmp_path / "keys" / "secret.asc", list[str]()
    with key_of("", own, said.append) as first:
        pass
    with key_of("", own, said.append) as again:
        assert again.fingerprint == first.fingerprint
    assert len(said) == 1
    assert str(own) in said[0]
    assert own.stat().st_mode & 0o777 == 0o600
    assert own.parent.stat().st_mode & 0o777 == 0o700


def test_home_and_agent_are_gone_afterwards(tmp_path: Path) -> None:
    with key_of("", tmp_path / "secret.asc", lambda line: None) as key:
        key.detached("text", EPOCH)
        home = key.home
        assert home is not None
        assert home.is_dir()
    assert not home.exists()
    running = subprocess.run(["pgrep", "--full", str(home)], capture_output=True, text=True, check=False).stdout
    assert running == ""


def test_same_text_has_the_same_signature(tmp_path: Path) -> None:
    with key_of("", tmp_path / "secret.asc", lambda line: None) as key:
        assert key.detached("text", EPOCH) == key.detached("text", EPOCH)
        assert key.clear_signed("text\n", EPOCH) != key.clear_signed("text\n", EPOCH + 1)


def test_damaged_key_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "secret.asc"
    own.write_text("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nnonsense\n-----END PGP PRIVATE KEY BLOCK-----\n")
    with pytest.raises(ReleaseError), key_of("", own, lambda line: None):
        pass


def test_key_of_the_callers_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gnupg").mkdir(mode=0o700)
    try:
        with key_of("", tmp_path / "secret.asc", lambda line: None) as own:
            subprocess.run(["gpg", "--batch", "--quiet", "--import", tmp_path / "secret.asc"], check=True)
        with key_of(own.fingerprint, tmp_path / "unused", lambda line: None) as key:
            assert key.detached("text", EPOCH).startswith("-----BEGIN PGP SIGNATURE-----")
        assert not (tmp_path / "unused").exists()
        with pytest.raises(ReleaseError, match="there is no secret key"), key_of("0" * 40, tmp_path, print):
            pass
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
