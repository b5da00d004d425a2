"""A .deb in one normal form, so that two builds of one source give the same bytes where their content allows it.

Members in order, times at most the source's, owners root (fixed system users below 100 stay), no write permission for
root's group (a umask left it), one compression; the header of a gzip file inside holds no later time either. Whatever
still differs is for `differing` to name.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

AR_MAGIC = b"!<arch>\n"
AR_HEADER_BYTES = 60
GZIP_MAGIC = b"\x1f\x8b\x08"
LAST_FIXED_ID = 99  # Debian policy 9.2.2: the same on every system
XZ_PRESET = 6
GROUP_WRITE, OTHERS_WRITE = 0o020, 0o002


class NotADeb(Exception):
    """The bytes are no Debian package, or one that cannot be read."""


@dataclass(frozen=True)
class Entry:
    info: tarfile.TarInfo
    content: bytes


def normal_form(deb: bytes, epoch: int) -> tuple[bytes, list[str]]:
    """The package in its normal form, and what was put right, in words.

    Raises:
        NotADeb: it is none, or it installs nothing.
    """
    members = dict(ar_members(deb))
    control, data = (_entries(_tar_of(members, name)) for name in ("control", "data"))
    if not any(not entry.info.isdir() for entry in data):
        raise NotADeb("it holds no file")
    changes = [*_changes(control, epoch), *_changes(data, epoch)]
    if not _is_xz(members):
        changes.append("compression")
    data = [_normal(entry, epoch) for entry in _sorted(data)]
    control = [_normal(_with_sums(entry, data), epoch) for entry in _sorted(control)]
    return _packed(control, data, epoch), sorted(set(changes))


def control_fields(deb: bytes) -> dict[str, str]:
    """The first line of each field of the package's control file.

    Raises:
        NotADeb: it has none.
    """
    entries = {_plain(entry.info.name): entry for entry in _entries(_tar_of(dict(ar_members(deb)), "control"))}
    if "control" not in entries:
        raise NotADeb("it has no control file")
    lines = entries["control"].content.decode("utf-8", "replace").splitlines()
    rows = (line.partition(":") for line in lines if line[:1] not in (" ", "\t", ""))
    return {name: value.strip() for name, _, value in rows}


def differing(first: bytes, second: bytes) -> list[str]:
    """The paths that two packages do not have in common, sorted; members of the control archive as DEBIAN/..."""
    sides = [_digests(first), _digests(second)]
    return sorted({path for path, digest in sides[0].items() ^ sides[1].items()})


def ar_members(deb: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an ar archive.

    Raises:
        NotADeb: it is no whole ar archive.
    """
    if not deb.startswith(AR_MAGIC):
        raise NotADeb("it is no ar archive")
    position = len(AR_MAGIC)
    while position + AR_HEADER_BYTES <= len(deb):
        header = deb[position : position + AR_HEADER_BYTES]
        try:
            size = int(header[48:58])
        except ValueError as exc:
            raise NotADeb("a member has no size") from exc
        position += AR_HEADER_BYTES
        if position + size > len(deb):
            raise NotADeb("it is cut short")
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), deb[position : position + size]
        position += size + size % 2


def _tar_of(members: dict[str, bytes], name: str) -> bytes:
    found = next((member for member in members if member.startswith(f"{name}.tar")), None)
    if found is None:
        raise NotADeb(f"it has no {name}.tar")
    readers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.decompress,
        ".xz": lzma.decompress,
        ".bz2": bz2.decompress,
    }
    reader = readers.get(found.removeprefix(f"{name}.tar"))
    if reader is None:
        raise NotADeb(f"{found} cannot be read here: make it with dpkg-deb -Zxz")
    try:
        return reader(members[found])
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as exc:
        raise NotADeb(f"{found}: {exc}") from exc


def _entries(tar: bytes) -> list[Entry]:
    try:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            return [Entry(info, _content(archive, info)) for info in archive]
    except tarfile.TarError as exc:
        raise NotADeb(str(exc)) from exc


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(info) if info.isreg() else None
    return stream.read() if stream else b""


def _sorted(entries: list[Entry]) -> list[Entry]:
    """By path; a hard link must come after what it links to."""
    return sorted(entries, key=lambda entry: (entry.info.islnk(), _plain(entry.info.name).split("/")))


def _plain(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _normal(entry: Entry, epoch: int) -> Entry:
    content = _clamped_gzip(entry.content, epoch)
    info = tarfile.TarInfo(f"./{_plain(entry.info.name)}" if _plain(entry.info.name) else "./")
    info.type, info.linkname, info.mode = entry.info.type, entry.info.linkname, entry.info.mode
    info.devmajor, info.devminor = entry.info.devmajor, entry.info.devminor
    info.mtime, info.size = min(int(entry.info.mtime), epoch), len(content)
    if 0 < entry.info.uid <= LAST_FIXED_ID or 0 < entry.info.gid <= LAST_FIXED_ID:
        info.uid, info.gid, info.uname, info.gname = _fixed_owner(entry.info)
    else:
        info.uname = info.gname = "root"
    info.mode = _root_mode(info)
    return Entry(info, content)


def _root_mode(info: tarfile.TarInfo) -> int:
    """The mode without the group's write permission, which says nothing when the group is root; /tmp's 1777 stays."""
    foreign = 0 < info.gid <= LAST_FIXED_ID or info.mode & OTHERS_WRITE
    return info.mode if foreign else info.mode & ~GROUP_WRITE


def _fixed_owner(info: tarfile.TarInfo) -> tuple[int, int, str, str]:
    user = (info.uid, info.uname) if info.uid <= LAST_FIXED_ID else (0, "root")
    group = (info.gid, info.gname) if info.gid <= LAST_FIXED_ID else (0, "root")
    return user[0], group[0], user[1], group[1]


def _clamped_gzip(content: bytes, epoch: int) -> bytes:
    if content[:3] != GZIP_MAGIC or int.from_bytes(content[4:8], "little") <= epoch:
        return content
    return content[:4] + epoch.to_bytes(4, "little") + content[8:]


def _with_sums(entry: Entry, data: list[Entry]) -> Entry:
    """md5sums anew: a gzip header inside may have changed."""
    if _plain(entry.info.name) != "md5sums":
        return entry
    sums = [
        f"{hashlib.md5(item.content, usedforsecurity=False).hexdigest()}  {_plain(item.info.name)}\n"
        for item in sorted(data, key=lambda item: _plain(item.info.name))
        if item.info.isreg()
    ]
    return Entry(entry.info, "".join(sums).encode())


def _changes(entries: list[Entry], epoch: int) -> Iterator[str]:
    names = [entry.info.name for entry in entries]
    if names != [entry.info.name for entry in _sorted(entries)]:
        yield "order of members"
    if any(int(entry.info.mtime) > epoch for entry in entries):
        yield "times"
    if any(max(entry.info.uid, entry.info.gid) > LAST_FIXED_ID for entry in entries):
        yield "owners"
    if any(_clamped_gzip(entry.content, epoch) != entry.content for entry in entries):
        yield "times in gzip headers"
    if any(_root_mode(entry.info) != entry.info.mode for entry in entries if not entry.info.issym()):
        yield "modes"


def _is_xz(members: dict[str, bytes]) -> bool:
    return {"control.tar.xz", "data.tar.xz"} <= set(members)


def _packed(control: list[Entry], data: list[Entry], epoch: int) -> bytes:
    parts = [("debian-binary", b"2.0\n"), ("control.tar.xz", _xz_tar(control)), ("data.tar.xz", _xz_tar(data))]
    return AR_MAGIC + b"".join(_ar_member(name, content, epoch) for name, content in parts)


def _ar_member(name: str, content: bytes, epoch: int) -> bytes:
    header = f"{name:<16}{epoch:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def _xz_tar(entries: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            archive.addfile(entry.info, io.BytesIO(entry.content) if entry.info.isreg() else None)
    return lzma.compress(buffer.getvalue(), preset=XZ_PRESET)


def _digests(deb: bytes) -> dict[str, str]:
    members = dict(ar_members(deb))
    rows = {}
    for archive, prefix in (("control", "DEBIAN/"), ("data", "/")):
        for entry in _entries(_tar_of(members, archive)):
            about = f"{entry.info.mode} {entry.info.uid} {entry.info.gid} {entry.info.mtime} {entry.info.linkname}"
            digest = hashlib.sha256(about.encode() + b"\0" + entry.content).hexdigest()
            rows[prefix + _plain(entry.info.name)] = digest
    return rows
