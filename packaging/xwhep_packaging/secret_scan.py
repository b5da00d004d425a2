"""Does anything that is public hold a secret of a deployment? For tests, and for whatever publishes.

deployment ──> needles: each secret as it is, in base64 (at each of three offsets) and in hex ─┐
                                                                                               ├──> findings
.debs, image layers and configurations, logs, all of _build but the private outputs ───────────┘

Archives and compressed members are opened. Line breaks are taken out as well as left in: PEM and MIME break base64.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import io
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.deployment.records import Deployment
from xwhep_packaging.errors import EngineError, SecretFound
from xwhep_packaging.stages import bound, conf
from xwhep_packaging.store import Store
from xwhep_packaging.temporary import temporary_folder

CHUNK_BYTES = 4 * 1024 * 1024
OVERLAP_BYTES = 4096  # longer than any needle
DEPTH = 5
OPENED_BYTES = 256 * 1024 * 1024  # a compressed member that grows beyond this is looked at so far
SHORTEST_BYTES = 8  # a shorter one, of an insecure demo, is found everywhere
KEY_START = 36  # of 138 bytes: PKCS#8 says "EC P-256" first, which is no secret, then the number that is
KEY_LENGTH = 32
BREAKS = b" \t\r\n"
PEM_BODY = re.compile(rb"-----BEGIN PRIVATE KEY-----(.*?)-----END PRIVATE KEY-----", re.S)
AR_MAGIC = b"!<arch>\n"
AR_HEADER_BYTES = 60
TAR_MAGIC_AT = 257
GZIP_FORMAT = 31  # as zlib calls it
READERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b\x08": lambda content: zlib.decompressobj(GZIP_FORMAT).decompress(content, OPENED_BYTES),
    b"\xfd7zXZ\x00": lambda content: lzma.LZMADecompressor().decompress(content, OPENED_BYTES),
    b"BZh": lambda content: bz2.BZ2Decompressor().decompress(content, OPENED_BYTES),
}


@dataclass(frozen=True, kw_only=True)
class Secret:
    """`name` says which, never what."""

    name: str
    content: bytes = field(repr=False)

    def plain(self) -> set[bytes]:
        """The byte strings that show it as they are."""
        digits = self.content.hex().encode()
        return {self.content, digits, digits.upper()}

    def encoded(self) -> set[bytes]:
        """The part of its base64 that does not hang on its neighbours, for each offset that it can lie at."""
        found = set()
        for offset in range(3):
            text = base64.b64encode(b"\0" * offset + self.content)
            whole = text[(offset * 8 + 5) // 6 : (offset + len(self.content)) * 8 // 6]
            found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
        return found


@dataclass(frozen=True, kw_only=True)
class Finding:
    place: str
    secret: str


def secrets_of(deployment: Deployment) -> list[Secret]:
    """All that only the deployment's folder, and some of it its private packages, may hold."""
    found = [Secret(name="the administrator's password", content=deployment.admin.password.encode())]
    found += [Secret(name="the password's hash", content=deployment.admin.password_hash.encode())]
    found += [Secret(name=f"join token {join.id}", content=join.token.encode()) for join in deployment.joins]
    found += [Secret(name="the server's key", content=_private_number(deployment.server_pem))]
    found += [
        Secret(name=f"the key of authority {number}", content=_private_number(authority.key))
        for number, authority in enumerate(reversed(deployment.authorities), 1)
    ]
    found += [Secret(name="the digest key", content=deployment.digest_key)]
    return [secret for secret in found if len(secret.content) >= SHORTEST_BYTES]


def _private_number(pem: bytes) -> bytes:
    """The secret part of an EC P-256 key in PKCS#8."""
    match = PEM_BODY.search(pem)
    der = base64.b64decode(match[1]) if match else b""
    number = der[KEY_START : KEY_START + KEY_LENGTH]
    if len(number) != KEY_LENGTH or der[KEY_START - 2 : KEY_START] != b"\x04\x20":
        raise ValueError("this is no EC P-256 key in PKCS#8")
    return number


@dataclass(frozen=True)
class Scan:
    """Looks for some secrets; build it once and use it for many places."""

    secrets: Sequence[Secret]

    def stream(self, place: str, stream: BinaryIO) -> Iterator[Finding]:
        """Each secret that the bytes hold, once."""
        plain = {secret.name: secret.plain() for secret in self.secrets}
        folded = {secret.name: secret.encoded() for secret in self.secrets}
        tail = b""
        while chunk := stream.read(CHUNK_BYTES):
            window = tail + chunk
            joined = window.replace(b"\\n", b"").translate(None, BREAKS)
            for name in list(plain):
                shown = any(needle in window for needle in plain[name])
                if shown or any(needle in joined for needle in folded[name]):
                    del plain[name]
                    yield Finding(place=place, secret=name)
            tail = window[-OVERLAP_BYTES:]

    def content(self, place: str, content: bytes, depth: int = DEPTH) -> Iterator[Finding]:
        """The bytes themselves, and what is compressed in them."""
        yield from self.stream(place, io.BytesIO(content))
        yield from self._inner(place, content, depth)

    def _inner(self, place: str, content: bytes, depth: int = DEPTH) -> Iterator[Finding]:
        """What is compressed in bytes that were looked at already; a member that only lies there was seen with them."""
        if depth == 0:
            return
        unpacked = _decompressed(content)
        if unpacked is not None:
            yield from self.content(f"{place}!", unpacked, depth - 1)
        for name, inner in _members(content):
            yield from self._inner(f"{place}!{name}", inner, depth - 1)

    def file(self, path: Path, place: str = "") -> Iterator[Finding]:
        """A file, its name, and what is compressed in it."""
        place = place or str(path)
        yield from self.stream(f"the name of {place}", io.BytesIO(os.fsencode(place)))
        with path.open("rb") as stream:
            yield from self.stream(place, stream)
            stream.seek(0)
            for name, inner in _tar_members(stream):
                yield from self._inner(f"{place}!{name}", inner)
            if path.stat().st_size <= OPENED_BYTES:
                stream.seek(0)
                yield from self._inner(place, stream.read())

    def folder(self, folder: Path, leave_out: Iterable[Path] = ()) -> Iterator[Finding]:
        """Every file below, but not below those that are left out; links are not followed."""
        skipped = tuple(leave_out)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not any(path.is_relative_to(other) for other in skipped):
                yield from self.file(path)

    def image(self, digest: str, known: set[str]) -> Iterator[Finding]:
        """Configuration, history and layers of an image in buildah's storage; layers that are `known` are not read."""
        with temporary_folder("scan") as folder:
            archive = folder / "image.tar"
            argv = ["buildah", "push", "--quiet", digest, f"docker-archive:{archive}"]
            command.run(Command(argv=argv, error=EngineError, what=f"cannot read the image {digest}"))
            with archive.open("rb") as stream:
                for name, content in _tar_members(stream, known):
                    known.add(name)
                    yield from self.content(f"image {digest[:19]}!{name}", content)


def public_findings(store: Store, deployment: Deployment, images: Iterable[str]) -> list[Finding]:
    """What the pipeline's own store, and images by their digests, show of a deployment."""
    scan, known = Scan(secrets_of(deployment)), set[str]()
    found = list(scan.folder(store.root, _private_folders(store)))
    for digest in images:
        found += scan.image(digest, known)
    return found


def _private_folders(store: Store) -> list[Path]:
    """Where the private packages lie: finished, being made, and what a failed attempt to make or install one left."""
    halves = [path for part in ("tmp", "failed") for path in (store.root / part).glob("*")]
    private = [path for path in halves if path.name.startswith((f"{conf.STAGE}-", f"{bound.STAGE}-"))]
    return [store.root / conf.STAGE, *private]


def refuse_secrets(findings: Sequence[Finding]) -> None:
    """Raises: SecretFound: there is one; names places and kinds, never contents."""
    if findings:
        lines = [f"{finding.place}: {finding.secret}" for finding in findings[:10]]
        more = [f"and {len(findings) - 10} more"] if len(findings) > 10 else []
        raise SecretFound(
            "something public holds a secret of the deployment",
            cause="\n".join(lines + more),
            next_step="renew that secret (scripts/doit configure rotate=...), remove what holds it, then build again",
        )


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of what lies in the bytes of a tar or ar archive; nothing where they are none."""
    if content.startswith(AR_MAGIC):
        yield from _ar_members(content)
    elif content[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar":
        yield from _tar_members(io.BytesIO(content))


def _tar_members(stream: BinaryIO, known: Container[str] = ()) -> Iterator[tuple[str, bytes]]:
    """As far as the archive can be read."""
    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            inner = archive.extractfile(member) if member.isreg() and member.name not in known else None
            if inner:
                yield member.name, inner.read(OPENED_BYTES)


def _ar_members(content: bytes) -> Iterator[tuple[str, bytes]]:
    position = len(AR_MAGIC)
    while position + AR_HEADER_BYTES <= len(content):
        header = content[position : position + AR_HEADER_BYTES]
        digits = header[48:58].strip()
        if not digits.isdigit():
            return
        start, size = position + AR_HEADER_BYTES, int(digits)
        yield header[:16].decode("ascii", "replace").strip(" /"), content[start : start + size]
        position = start + size + size % 2


def _decompressed(content: bytes) -> bytes | None:
    """What the bytes unpack to; None where they only look compressed, or do not."""
    for magic, read in READERS.items():
        if content.startswith(magic):
            with contextlib.suppress(OSError, EOFError, lzma.LZMAError, zlib.error):
                return read(content)
    return None
