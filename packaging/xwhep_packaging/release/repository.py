"""An apt repository of given packages: pool, indexes by hash, one suite a channel, signed.

.debs ──> stanzas, contents ─┐
.dsc ───> source stanzas ────┼──> Packages, Sources, Contents, and gzip ──> by-hash ──> Release ──> its signatures
indexes that are there ──────┘

apt-ftparchive reads every package of the pool again; here what an index says already is taken over as text, so that one
more package in ten thousand costs the merging and compressing of text alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.artefacts import sha256_file
from xwhep_packaging.command import Command
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.encoder import compressed
from xwhep_packaging.release.signing import Key

COMPONENT = "main"
# `dpkg-deb --contents`: mode, owner, size, day, minute, then the path
LISTED = re.compile(r"^[^d]\S+ \S+ +\d+ \S+ \S+ \./(.+?)(?: -> .*| link to .*)?$", re.M)


@dataclass(frozen=True, kw_only=True)
class About:
    """What a Release file says of a suite. `epoch`: UTC seconds."""

    origin: str
    label: str
    suite: str
    architecture: str
    epoch: int


@dataclass(kw_only=True)
class Index:
    """Stanzas by (name, version) and the packages that ship each file, as apt's indexes hold them."""

    packages: dict[tuple[str, str], str] = field(default_factory=dict)
    sources: dict[tuple[str, str], str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, architecture: str) -> Index:
        """Of a suite's folder, where an index of ours may be."""
        return cls(
            packages=_stanzas(_text(folder / COMPONENT / f"binary-{architecture}" / "Packages")),
            sources=_stanzas(_text(folder / COMPONENT / "source" / "Sources")),
            contents=dict(
                line.rsplit(maxsplit=1) for line in _text(folder / COMPONENT / f"Contents-{architecture}").splitlines()
            ),
        )

    def add_deb(self, deb: Path, place: str) -> None:
        """`place`: its path below the repository.

        Raises:
            ReleaseError: the same version is there with other bytes.
        """
        control = _dpkg_deb("--field", deb).strip()
        name, version, section = (_field(control, word) for word in ("Package", "Version", "Section"))
        sha256 = sha256_file(deb)
        known = self.packages.get((name, version))
        if known and _field(known, "SHA256") != sha256:
            raise ReleaseError(
                f"{name} {version} was published with other bytes",
                cause=f"SHA256 {_field(known, 'SHA256')} then, {sha256} now",
                next_step="commit a change, or tag the commit: a new version gets a new name",
            )
        self.packages[name, version] = f"{control}\nFilename: {place}\nSize: {deb.stat().st_size}\nSHA256: {sha256}"
        owner = f"{section or 'misc'}/{name}"
        for path in LISTED.findall(_dpkg_deb("--contents", deb)):
            owners = set(filter(None, self.contents.get(path, "").split(",")))
            self.contents[path] = ",".join(sorted({*owners, owner}))

    def add_source(self, dsc: Path, folder: str) -> None:
        """`folder`: where its files lie, below the repository."""
        text = _unsigned(dsc.read_text(encoding="utf-8"))
        name, version = _field(text, "Source"), _field(text, "Version")
        body = "\n".join(_without(text, "Source", "Files", "Checksums-Sha1"))
        own = f" {sha256_file(dsc)} {dsc.stat().st_size} {dsc.name}"
        body = re.sub(r"^Checksums-Sha256:.*$", f"Checksums-Sha256:\n{own}", body, count=1, flags=re.M)
        self.sources[name, version] = f"Package: {name}\n{body}\nDirectory: {folder}"

    def files(self, architecture: str) -> dict[str, bytes]:
        """The index files by their path below the suite's folder."""
        texts = {
            f"{COMPONENT}/binary-{architecture}/Packages": _joined(self.packages),
            f"{COMPONENT}/source/Sources": _joined(self.sources),
            f"{COMPONENT}/Contents-{architecture}": "".join(
                f"{path} {owner}\n" for path, owner in sorted(self.contents.items())
            ),
        }
        plain = {path: text.encode() for path, text in texts.items()}
        return {**plain, **{f"{path}.gz": b"".join(compressed([content])) for path, content in plain.items()}}


def write_suite(folder: Path, index: Index, about: About, key: Key) -> None:
    """One suite's folder below dists/, whole."""
    files = index.files(about.architecture)
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        by_hash = target.parent / "by-hash" / "SHA256" / hashes[path]
        by_hash.parent.mkdir(parents=True, exist_ok=True)
        if not by_hash.exists():
            os.link(target, by_hash)
    release = _release(about, {path: (hashes[path], len(content)) for path, content in files.items()})
    (folder / "Release").write_text(release)
    (folder / "InRelease").write_text(key.clear_signed(release, about.epoch))
    (folder / "Release.gpg").write_text(key.detached(release, about.epoch))


def pool_folder(source: str) -> str:
    """Where a source's files lie, as Debian's archive has it."""
    return f"pool/{COMPONENT}/{source[:4] if source.startswith('lib') else source[0]}/{source}"


def _release(about: About, files: Mapping[str, tuple[str, int]]) -> str:
    date = format_datetime(datetime.fromtimestamp(about.epoch, UTC)).replace("+0000", "UTC")
    lines = [
        f"Origin: {about.origin}",
        f"Label: {about.label}",
        f"Suite: {about.suite}",
        f"Codename: {about.suite}",
        f"Date: {date}",
        f"Architectures: {about.architecture}",
        f"Components: {COMPONENT}",
        "Acquire-By-Hash: yes",
        "SHA256:",
        *(f" {sha256} {size:>10} {path}" for path, (sha256, size) in sorted(files.items())),
    ]
    return "\n".join(lines) + "\n"


def _stanzas(text: str) -> dict[tuple[str, str], str]:
    stanzas = filter(None, text.rstrip("\n").split("\n\n"))
    return {(_field(stanza, "Package"), _field(stanza, "Version")): stanza for stanza in stanzas}


def _joined(stanzas: Mapping[tuple[str, str], str]) -> str:
    return "".join(f"{stanza}\n\n" for _, stanza in sorted(stanzas.items()))


def _field(stanza: str, name: str) -> str:
    start = 0 if stanza.startswith(f"{name}:") else stanza.find(f"\n{name}:") + 1
    if not start and not stanza.startswith(f"{name}:"):
        return ""
    return stanza[start + len(name) + 1 :].partition("\n")[0].strip()


def _without(text: str, *names: str) -> Iterable[str]:
    """The lines of all other fields, with what continues them."""
    kept = True
    for line in text.strip().splitlines():
        if not line.startswith(" "):
            kept = line.partition(":")[0] not in names
        if kept:
            yield line


def _unsigned(text: str) -> str:
    found = re.search(r"^-----BEGIN PGP SIGNED MESSAGE-----\n.*?\n\n(.*?)\n-----BEGIN PGP SIGNATURE", text, re.S)
    return found[1] if found else text


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _dpkg_deb(verb: str, deb: Path) -> str:
    return command.run(
        Command(argv=["dpkg-deb", verb, deb], error=ReleaseError, what=f"{deb.name} is no package")
    ).stdout
