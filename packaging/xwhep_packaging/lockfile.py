"""The lock: the exact .debs that builds and images may contain, by set, without any host's name.

    suite = "trixie"                     one line a package, so that a change reads well in a review
    [wishes]   SET = digest of what was asked for: a set whose wish has changed is out of date
    [debs]     NAME = { version, arch, archive, path, size, sha256, sets = [...] }

A set is what one root file system gets: "chroot", "rootfs", and what a derived one has beyond those.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from xwhep_packaging.errors import LockError

HEADER = "# Written by `doit lock`, which shows what changes. Sizes in bytes; `path` is below the archive's address.\n"
SECURITY = "security"
MAIN = "main"


class Deb(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One exact package. `archive` is "main" or "security", `path` its place in that archive; `size` in bytes."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+\Z")]
    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.+~:-]+\Z")]
    arch: Annotated[str, Meta(pattern=r"^[a-z0-9-]+\Z")]
    archive: str
    path: Annotated[str, Meta(pattern=r"^pool/(?!.*\.\./)[A-Za-z0-9_.+~:%/-]+\.deb\Z")]
    size: Annotated[int, Meta(ge=1)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]

    @property
    def row(self) -> str:
        """As `packages.tsv` names an installed package."""
        return f"{self.name}\t{self.version}\t{self.arch}"


class DebSet(msgspec.Struct, frozen=True, kw_only=True):
    """The .debs of one root. `wish` is the digest of what was asked for, `epoch` (UTC seconds) the archive's date."""

    wish: str
    epoch: int
    debs: tuple[Deb, ...]

    @property
    def digest(self) -> str:
        """Over everything but the wish: two wishes with one answer make one root."""
        rows = [f"{deb.row}\t{deb.sha256}" for deb in self.debs]
        return hashlib.sha256("\n".join([str(self.epoch), *rows]).encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(deb.size for deb in self.debs)


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """All root file systems' packages of one suite; the time is that of the archive they were resolved in."""

    suite: str
    architecture: str
    epoch: int
    sets: Mapping[str, DebSet]

    @property
    def debs(self) -> dict[str, Deb]:
        return {deb.name: deb for name in sorted(self.sets) for deb in self.sets[name].debs}


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    arch: str
    archive: str
    path: str
    size: int
    sha256: str
    sets: list[str]


class _Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A lock as it was understood, and the digest of the file and of this module."""

    digest: str
    lock: Lock


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    suite: str
    architecture: str
    epoch: int
    wishes: dict[str, str]
    debs: dict[str, _Row]


def read(path: Path, memory: Path | None = None) -> Lock | None:
    """The lock at `path`; None when there is none. TOML of this size takes 0.1 s to parse: `memory`, a file, keeps what
    it said for the next run, under the digest of its content.

    Raises:
        LockError: it is there, and is no lock.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise LockError(f"cannot read {path}", cause=str(exc)) from exc
    digest = hashlib.sha256(Path(__file__).read_bytes() + content).hexdigest()
    known = _remembered(memory, digest)
    if known is not None:
        return known
    try:
        lock = _lock(msgspec.convert(tomllib.loads(content.decode("utf-8")), _File))
    except (ValueError, msgspec.ValidationError) as exc:  # ValueError: no TOML, no UTF-8, a number of 5000 digits
        raise LockError(
            f"{path} is no lock", cause=str(exc), next_step="git checkout it, or scripts/doit lock"
        ) from exc
    _remember(memory, _Parsed(digest=digest, lock=lock))
    return lock


def _remembered(memory: Path | None, digest: str) -> Lock | None:
    try:
        parsed = msgspec.json.decode(memory.read_bytes(), type=_Parsed) if memory else None
    except (OSError, msgspec.DecodeError):  # none yet, or half of one: the lock is parsed again
        return None
    return parsed.lock if parsed and parsed.digest == digest else None


def _remember(memory: Path | None, parsed: _Parsed) -> None:
    """By rename: another run may be reading the file now."""
    if memory is None:
        return
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}")
    try:
        temporary.write_bytes(msgspec.json.encode(parsed))
        temporary.replace(memory)
    except OSError:  # a full disk is told by what has to be written
        temporary.unlink(missing_ok=True)


def write_set(path: Path, debs: DebSet) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(debs)))


def read_set(path: Path) -> DebSet:
    """What `write_set` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=DebSet)


def _lock(file: _File) -> Lock:
    members: dict[str, list[Deb]] = {name: [] for name in file.wishes}
    for name, row in sorted(file.debs.items()):
        fields = {field: getattr(row, field) for field in row.__struct_fields__ if field != "sets"}
        deb = msgspec.convert({"name": name, **fields}, Deb)
        for each in row.sets:
            if each not in members:
                raise msgspec.ValidationError(f"{name} is in the set {each!r}, which has no wish")
            members[each].append(deb)
    sets = {
        name: DebSet(wish=file.wishes[name], epoch=file.epoch, debs=tuple(found)) for name, found in members.items()
    }
    return Lock(suite=file.suite, architecture=file.architecture, epoch=file.epoch, sets=sets)


def render(lock: Lock) -> str:
    """The file's text: the same for equal locks, sorted, one line a package."""
    places: dict[str, list[str]] = {}
    for name in sorted(lock.sets):
        for deb in lock.sets[name].debs:
            places.setdefault(deb.name, []).append(name)
    lines = [HEADER, f'suite = "{lock.suite}"', f'architecture = "{lock.architecture}"', f"epoch = {lock.epoch}"]
    lines += ["", "[wishes]", *(f'"{name}" = "{lock.sets[name].wish}"' for name in sorted(lock.sets)), "", "[debs]"]
    for name, deb in sorted(lock.debs.items()):
        sets = ", ".join(f'"{each}"' for each in places[name])
        lines.append(
            f'"{name}" = {{ version = "{deb.version}", arch = "{deb.arch}", archive = "{deb.archive}", '
            f'path = "{deb.path}", size = {deb.size}, sha256 = "{deb.sha256}", sets = [{sets}] }}'
        )
    return "\n".join(lines) + "\n"


def joined(suite: str, architecture: str, sets: Mapping[str, DebSet], known: Lock | None) -> Lock:
    """The sets as one lock. Its date is the archive's, or the known lock's where no package differs.

    Raises:
        LockError: two sets have one package in two versions: the archive changed while it was asked.
    """
    seen: dict[str, Deb] = {}
    for name, one in sets.items():
        for deb in one.debs:
            if seen.setdefault(deb.name, deb) != deb:
                raise LockError(
                    f"{deb.name} has two versions: {seen[deb.name].version}, and {deb.version} in {name}",
                    cause="the archive changed while it was asked",
                    next_step="scripts/doit lock",
                )
    epoch = max(one.epoch for one in sets.values())
    if known is not None and _contents(known.sets) == _contents(sets):
        epoch = known.epoch
    dated = {name: msgspec.structs.replace(one, epoch=epoch) for name, one in sets.items()}
    return Lock(suite=suite, architecture=architecture, epoch=epoch, sets=dated)


def _contents(sets: Mapping[str, DebSet]) -> dict[str, tuple[Deb, ...]]:
    return {name: one.debs for name, one in sets.items()}


def difference(old: Iterable[Deb], new: Iterable[Deb]) -> list[str]:
    """What changed, one line a package, then the change of size; empty when nothing did.

    A version that comes from the security archive is marked: it is what a reviewer wants to see first.
    """
    before, after = {deb.name: deb for deb in old}, {deb.name: deb for deb in new}
    lines = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        mark = "  (security)" if now is not None and now.archive == SECURITY else ""
        if was is None and now is not None:
            lines.append(f"+ {name} {now.version}{mark}")
        elif now is None and was is not None:
            lines.append(f"- {name} {was.version}")
        elif was is not None and now is not None:
            change = (
                f"{was.version} -> {now.version}" if was.version != now.version else f"{now.version}, other content"
            )
            lines.append(f"~ {name} {change}{mark}")
    if lines:
        growth = sum(deb.size for deb in after.values()) - sum(deb.size for deb in before.values())
        lines.append(f"{len(after)} packages, {growth / 1e6:+.1f} MB to download")
    return lines
