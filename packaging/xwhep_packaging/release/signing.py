"""The key of a release: gpg with a home of its own, or the caller's.

One time for all signatures of a release, its source's: ed25519 draws nothing at random, so what is signed again has the
same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.store import write_durably
from xwhep_packaging.temporary import temporary_folder

# gpg refuses to sign with a key that is younger than the signature's time.
KEY_TIME = "20200101T000000!"
DIGEST = "SHA512"


@dataclass(frozen=True, kw_only=True)
class Key:
    """`home` is gpg's; None: the caller's own. `fingerprint`: 40 hexadecimal digits."""

    fingerprint: str
    home: Path | None = None

    def public(self) -> str:
        """The armoured public key."""
        return self._gpg(["--armor", "--export", "--export-options", "export-minimal", self.fingerprint])

    def clear_signed(self, text: str, epoch: int) -> str:
        """The text with its signature around it, as InRelease is. `epoch`: UTC seconds."""
        return self._signed(text, epoch, "--clearsign")

    def detached(self, text: str, epoch: int) -> str:
        """An armoured signature of the text alone."""
        return self._signed(text, epoch, "--armor", "--detach-sign")

    def _signed(self, text: str, epoch: int, *how: str) -> str:
        with temporary_folder("sign") as folder:
            source, signed = folder / "text", folder / "signed"
            source.write_bytes(text.encode())
            # 0x: gpg reads 40 digits alone as a key's name as well.
            options = [
                "--faked-system-time",
                f"{epoch}!",
                "--digest-algo",
                DIGEST,
                "--local-user",
                f"0x{self.fingerprint}!",
            ]
            self._gpg([*options, "--output", str(signed), *how, str(source)])
            return signed.read_text()

    def _gpg(self, words: list[str]) -> str:
        return gpg(self.home, words)


def gpg(home: Path | None, words: list[str]) -> str:
    """Standard output of one call.

    Raises:
        ReleaseError: gpg refuses.
    """
    where = ["--homedir", str(home)] if home else []
    argv = ["gpg", *where, "--batch", "--yes", "--no-tty", "--quiet", *words]
    what, next_step = "gpg cannot sign", "gpg --list-secret-keys shows the keys that are there"
    return command.run(Command(argv=argv, error=ReleaseError, what=what, next_step=next_step)).stdout


@contextmanager
def key_of(wanted: str, own: Path, say: Callable[[str], None]) -> Iterator[Key]:
    """The key that the settings name, of the caller's keyring; without one, that of the file `own`, made on first use.

    Raises:
        ReleaseError: no such secret key, or `own` is damaged.
    """
    if wanted:
        yield Key(fingerprint=fingerprint(None, wanted))
        return
    # Not beside the file: the path of the agent's socket may have 107 bytes.
    with temporary_folder("gpg") as home:
        try:
            if own.is_file():
                gpg(home, ["--import", str(own)])
            else:
                _make(home, own)
                say(f"a key was made for this store alone: {own}. [release] key names one that others trust")
            yield Key(fingerprint=fingerprint(home, ""), home=home)
        finally:  # gpg starts an agent for each home, which would stay
            command.run(Command(argv=["gpgconf", "--homedir", str(home), "--kill", "all"]), check=False)


def fingerprint(home: Path | None, wanted: str) -> str:
    found = _fingerprints(home, wanted)
    if len(found) != 1:
        raise ReleaseError(
            f"{len(found)} secret keys answer to {wanted!r}" if found else f"there is no secret key {wanted!r}",
            next_step="set [release] key to one full fingerprint of gpg --list-secret-keys",
        )
    return found[0]


def refuse_unknown(found: str, key: str, keys: Sequence[str], what: str) -> None:
    """`found`: a primary key's fingerprint; `key` and `keys` as the settings have them.

    Raises:
        ReleaseError: it is none of them, and there are some.
    """
    known = {one.upper() for one in (key, *keys) if one}
    if known and found not in known:
        raise ReleaseError(
            f"{what} has a key that is not among those of the settings: {found}",
            cause=f"[release] key and keys: {', '.join(sorted(known))}",
            next_step="sign with one of them, or add it to [release] keys",
        )


def fingerprint_of(public: Path) -> str:
    """Of the primary key in an armoured public key's file.

    Raises:
        ReleaseError: there is not exactly one.
    """
    with temporary_folder("gpg") as home:
        shown = gpg(home, ["--with-colons", "--show-keys", str(public)])
    found = re.findall(r"^pub:.*\nfpr:+([0-9A-F]{40}):", shown, re.M)
    if len(found) != 1:
        raise ReleaseError(f"{public} holds {len(found)} keys", next_step="scripts/doit release makes another release")
    return str(found[0])


def _fingerprints(home: Path | None, wanted: str) -> list[str]:
    """Of primary secret keys; a fingerprint that follows a subkey is the subkey's."""
    where = ["--homedir", str(home)] if home else []
    argv = ["gpg", *where, "--batch", "--with-colons", "--list-secret-keys", *([wanted] if wanted else [])]
    lines = command.run(Command(argv=argv), check=False).stdout
    return re.findall(r"^sec:.*\n(?:grp:.*\n)?fpr:+([0-9A-F]{40}):", lines, re.M)


def _make(home: Path, own: Path) -> None:
    bare = ["--pinentry-mode", "loopback", "--passphrase", ""]
    gpg(
        home,
        [
            "--faked-system-time",
            KEY_TIME,
            *bare,
            "--quick-gen-key",
            "release key of this store",
            "ed25519",
            "sign",
            "never",
        ],
    )
    secret = gpg(home, [*bare, "--armor", "--export-secret-keys"])
    own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    own.touch(mode=0o600)
    write_durably(own, secret.encode())
    own.chmod(0o600)
