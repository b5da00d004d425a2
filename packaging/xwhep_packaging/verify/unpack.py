"""What an archive holds, one level at a time: ar (.deb), tar, gzip, xz, bzip2, zip. Pure functions on bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

AR_MAGIC = b"!<arch>\n"
AR_HEADER_BYTES = 60
GZIP_FIXED_BYTES = 10
GZIP_NAME = 0x08
TAR_MAGIC = slice(257, 262)
DAMAGED = (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One member of an archive. `about` is what the archive says of it: mtime, mode, owner and so on."""

    name: str
    about: dict[str, str]
    content: bytes


def kind_of(data: bytes) -> str:
    """ar, tar, gzip, xz, bzip2, zip, elf, or empty for anything else."""
    for magic, kind in (
        (AR_MAGIC, "ar"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (b"\x7fELF", "elf"),
    ):
        if data.startswith(magic):
            return kind
    return "tar" if data[TAR_MAGIC] == b"ustar" else ""


def members(data: bytes) -> list[Part] | None:
    """The members of an archive in its own order; None when it is none, or a damaged one."""
    readers: dict[str, Callable[[bytes], list[Part]]] = {"ar": _ar, "tar": _tar, "zip": _zip}
    reader = readers.get(kind_of(data))
    try:
        return reader(data) if reader else None
    except DAMAGED:
        return None


def decompressed(data: bytes) -> bytes | None:
    """The content of a compressed file; None when it is none, or a damaged one."""
    readers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "xz": lzma.decompress,
        "bzip2": bz2.decompress,
    }
    reader = readers.get(kind_of(data))
    try:
        return reader(data) if reader else None
    except DAMAGED:
        return None


def gzip_header(data: bytes) -> bytes:
    """The fixed part, and the name of the file that was compressed, when it is there."""
    end = GZIP_FIXED_BYTES
    if len(data) > end and data[3] & GZIP_NAME:
        end = data.find(b"\0", end) + 1 or end
    return data[:end]


def _ar(data: bytes) -> list[Part]:
    found, position = [], len(AR_MAGIC)
    while position + AR_HEADER_BYTES <= len(data):
        header = data[position : position + AR_HEADER_BYTES].decode("ascii", "replace")
        fields = {"mtime": header[16:28], "uid": header[28:34], "gid": header[34:40], "mode": header[40:48]}
        size, start = int(header[48:58]), position + AR_HEADER_BYTES
        about = {name: value.strip() for name, value in fields.items()}
        found.append(Part(name=header[:16].strip().rstrip("/"), about=about, content=data[start : start + size]))
        position = start + size + size % 2
    return found


def _tar(data: bytes) -> list[Part]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [_of_tar(archive, info) for info in archive]


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Part:
    stream = archive.extractfile(info) if info.isreg() else None
    about = {
        "mtime": str(int(info.mtime)),
        "mode": f"{info.mode:04o}",
        "uid": str(info.uid),
        "gid": str(info.gid),
        "user": info.uname,
        "group": info.gname,
        "link": info.linkname,
        "type": info.type.decode("ascii", "replace"),
    }
    return Part(name=info.name.removeprefix("./") or ".", about=about, content=stream.read() if stream else b"")


def _zip(data: bytes) -> list[Part]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            Part(
                name=entry.filename,
                about={"mtime": repr(entry.date_time), "mode": f"{entry.external_attr >> 16:04o}"},
                content=archive.read(entry),
            )
            for entry in archive.infolist()
        ]
