"""A small Debian archive of our own, signed with a throwaway key, made of packages that this checkout's lock names."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import lockfile
from xwhep_packaging.debcache import DebCache
from xwhep_packaging.lockfile import Deb

RELEASE = ("Origin=Test", "Label=Test", "Architectures=amd64", "Components=main")
DATES = {"first": "Sun, 01 Nov 2026 00:00:00 UTC", "later": "Sun, 15 Nov 2026 00:00:00 UTC"}


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """`folder` holds main and security archive below each other, as `debian` and `debian-security`, and the key."""

    folder: Path

    @property
    def keyring(self) -> Path:
        return self.folder / "key.gpg"

    @property
    def main(self) -> str:
        return f"copy:{self.folder}/debian"

    @property
    def security(self) -> str:
        return f"copy:{self.folder}/debian-security"

    @classmethod
    def of(cls, folder: Path, lock: Path, cache: DebCache) -> Mirror:
        """With the packages of the lock's set for images."""
        made, known = cls(folder=folder), lockfile.read(lock)
        assert known is not None
        for deb in known.sets["rootfs"].debs:
            target = folder / "debian" / deb.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache.path(deb.sha256), target)
        made._make_key()
        made.publish("first")
        return made

    def _make_key(self) -> None:
        home = self.folder / "gnupg"
        home.mkdir(mode=0o700)
        when = "--faked-system-time=20260901T000000!"  # before any date that is signed
        self._gpg(when, "--quick-generate-key", "Test <t@t.invalid>", "ed25519", "sign")
        self.keyring.write_bytes(self._gpg("--export"))

    def _gpg(self, *words: str, text: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.folder / "gnupg"), "--batch", "--quiet", "--passphrase", ""]
        argv += ["--pinentry-mode=loopback", *words]
        return subprocess.run(argv, input=text, check=True, capture_output=True).stdout

    def publish(self, date: str) -> None:
        """Write the indexes of the three suites anew, with the pools as they are now."""
        (self.folder / "debian-security" / "pool").mkdir(parents=True, exist_ok=True)
        self._publish_suite(self.folder / "debian", "trixie", ("pool", DATES[date]))
        self._publish_suite(self.folder / "debian", "trixie-updates", ("none", DATES[date]))
        self._publish_suite(self.folder / "debian-security", "trixie-security", ("pool", DATES[date]))

    def _publish_suite(self, archive: Path, suite: str, told: tuple[str, str]) -> None:
        pool, date = told
        place = archive / "dists" / suite
        index = place / "main" / "binary-amd64" / "Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        (archive / "none").mkdir(exist_ok=True)
        argv = ["apt-ftparchive", "packages", pool]
        index.write_bytes(subprocess.run(argv, cwd=archive, check=True, capture_output=True).stdout)
        for name in ("Release", "InRelease"):
            (place / name).unlink(missing_ok=True)
        fields = [*RELEASE, f"Suite={suite}", f"Codename={suite}", f"Date={date}"]
        options = [f"-oAPT::FTPArchive::Release::{field}" for field in fields]
        argv = ["apt-ftparchive", *options, "release", str(place)]
        release = subprocess.run(argv, check=True, capture_output=True).stdout
        (place / "Release").write_bytes(release)
        (place / "InRelease").write_bytes(self._gpg("--clearsign", text=release))

    def replace(self, deb: Deb, version: str, *, security: bool = False) -> None:
        """The archive takes a new version of a package, and drops the old one: as Debian does with its updates."""
        old = self.folder / "debian" / deb.path
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["dpkg-deb", "--raw-extract", str(old), str(tree)], check=True)
        control = tree / "DEBIAN" / "control"
        control.write_text(control.read_text().replace(f"\nVersion: {deb.version}\n", f"\nVersion: {version}\n"))
        archive = "debian-security" if security else "debian"
        target = self.folder / archive / Path(deb.path).parent / f"{deb.name}_{version}_{deb.arch}.deb"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)],
            check=True,
            capture_output=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1793491200"},
        )
        old.unlink()
