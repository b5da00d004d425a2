"""Small builds that are irreproducible in exactly one way each, and the two surroundings that they are run in.

A mutant is a shell script that fills a tree; the tree becomes a .deb or an image layer in a careful way, so that what
differs is the mutant's own doing. Where the packing is the mistake, the mutant is a function of Python.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xwhep_packaging.verify.causes import Known

EPOCH = 1_700_000_000
DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one of the two builds can see."""

    now: int = EPOCH
    timezone: str = "UTC"
    locale: str = "C.UTF-8"
    umask: str = "022"
    folder: str = "short"
    user: str = "build"
    host: str = "buildhost"
    cpus: int = 2
    reverse: bool = False
    kernel: str = "6.1.0-18-amd64"
    noise: str = ""
    uid: int = 1000
    archive: str = "1.2.3"
    python: str = "3.11.7"
    serial: int = 1

    def environment(self, tree: Path) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "NOW": str(self.now),
            "TZ": self.timezone,
            "LC_ALL": "C",
            "LANG": self.locale,
            "USER": self.user,
            "HOME": f"/home/{self.user}",
            "HOST": self.host,
            "CPUS": str(self.cpus),
            "SORT": "-r" if self.reverse else "",
            "KERNEL": self.kernel,
            "CFLAGS": f"-O2 -D{self.noise}" if self.noise else "-O2",
            "BUILDER": str(self.uid),
            "ARCHIVE": self.archive,
            "PYVERSION": self.python,
            "SERIAL": str(self.serial),
            "T": str(tree),
        }


FIRST = Side()
AGAIN: dict[str, Side] = {
    "date": Side(now=EPOCH + 400 * DAY_S),
    "timezone": Side(timezone="Etc/GMT-14"),
    "locale": Side(locale="fr_FR.UTF-8"),
    "umask": Side(umask="077"),
    "path": Side(folder="another-folder/with-a-longer-name"),
    "user": Side(user="somebody-else"),
    "host": Side(host="elsewhere"),
    "cpus": Side(cpus=1),
    "order": Side(reverse=True),
    "kernel": Side(kernel="5.10.0-9-generic"),
    "environment": Side(noise="noise-of-the-environment"),
    "cache": Side(archive="1.2.4"),
    "python": Side(python="3.12.1"),
    "": Side(serial=2),  # nothing: two builds in a row
    "uid": Side(uid=1001),
}


def known(variation: str, first: Path, second: Path) -> Known:
    """What verify knows of these two sides."""
    other = AGAIN[variation]
    pairs = [
        ("time zone", FIRST.timezone, other.timezone),
        ("locale", FIRST.locale, other.locale),
        ("user name", FIRST.user, other.user),
        ("host name", FIRST.host, other.host),
        ("path", str(first), str(second)),
        ("kernel", FIRST.kernel, other.kernel),
        ("thread count", str(FIRST.cpus), str(other.cpus)),
    ]
    on = frozenset({variation} - {"", "uid"})
    return Known(on=on, values=tuple(row for row in pairs if row[1] != row[2] and (row[0] != "path" or "path" in on)))


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mistake: under which variation it shows, and the cause that is to be named."""

    name: str
    variation: str
    cause: str
    script: str
    pack: Callable[[Path, Side], bytes] = field(repr=False)


def built(mutant: Mutant, side: Side, place: Path) -> bytes:
    """The mutant's product on one side."""
    tree = place / side.folder / "tree"
    (tree / "usr").mkdir(parents=True)
    umask = side.umask if mutant.variation == "umask" else FIRST.umask
    script = f"set -eu; umask {umask}; cd {tree}/usr; {mutant.script}"
    done = subprocess.run(["sh", "-c", script], env=side.environment(tree), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return mutant.pack(tree, side)


# Ways to pack


def deb(tree: Path, side: Side) -> bytes:
    """A package by dpkg-deb, with every care."""
    control = tree / "DEBIAN" / "control"
    control.parent.mkdir(exist_ok=True)
    if not control.exists():
        control.write_text(CONTROL)
    _settle(tree)
    target = tree.parent / "made.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--threads-max=1", "--build", str(tree), str(target)]
    environment = {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    return target.read_bytes()


CONTROL = "Package: mutant\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.invalid>\nDescription: a mutant\n"


def _settle(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            if path.stat().st_mtime > EPOCH - DAY_S:
                os.utime(path, (EPOCH, EPOCH))
            if path == tree or path.name == "DEBIAN" or path.parent.name == "DEBIAN":
                path.chmod(0o755 if path.is_dir() or path.name == "postinst" else 0o644)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer as a tar; each field is a mistake that it can have."""

    times: bool = False
    order: bool = False
    owners: bool = False
    names: bool = False
    modes: bool = False
    hosts: bool = False
    numbered: bool = False

    def __call__(self, tree: Path, side: Side) -> bytes:
        buffer = io.BytesIO()
        paths = sorted(tree.rglob("*"), reverse=self.order and side.reverse)
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in paths:
                info = archive.gettarinfo(path, str(path.relative_to(tree)))
                self._set(info, side)
                stream = path.open("rb") if info.isreg() else None
                archive.addfile(info, stream)
                if stream:
                    stream.close()
        return buffer.getvalue()

    def _set(self, info: tarfile.TarInfo, side: Side) -> None:
        info.mtime = side.now if self.times else EPOCH
        info.uid = info.gid = side.uid if self.owners else 0
        info.uname = info.gname = side.user if self.names else "root"
        if self.modes:
            info.mode = (0o777 if info.isdir() else 0o666) & ~int(side.umask, 8)
        if self.hosts and info.isreg():
            info.name = f"{info.name}.{side.host}"
        if self.numbered and info.isreg():
            info.name = f"{info.name}.{side.serial:032x}"


LAYER = Layer()


def gzipped(tree: Path, side: Side) -> bytes:
    return gzip.compress(LAYER(tree, side), compresslevel=1, mtime=side.now)


def gzip_named(tree: Path, side: Side) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(f"layer-{side.serial}", "wb", 1, buffer, mtime=0) as stream:
        stream.write(LAYER(tree, side))
    return buffer.getvalue()


def gzip_blocks(tree: Path, side: Side) -> bytes:
    """As a compressor does that gives each thread a block."""
    data = LAYER(tree, side)
    size = len(data) // side.cpus + 1
    return b"".join(gzip.compress(data[n : n + size], mtime=0) for n in range(0, len(data), size))


def gzip_level(tree: Path, side: Side) -> bytes:
    return gzip.compress(LAYER(tree, side), compresslevel=6 if side.serial == 1 else 9, mtime=0)


def zipped(tree: Path, side: Side, *, when: int = EPOCH) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted((p for p in tree.rglob("*") if p.is_file()), reverse=side.reverse):
            info = zipfile.ZipInfo(str(path.relative_to(tree)), (1980 + when // (366 * DAY_S), 1, 1, 0, 0, 0))
            archive.writestr(info, path.read_bytes())
    return buffer.getvalue()


def zip_dated(tree: Path, side: Side) -> bytes:
    return zipped(tree, side, when=side.now)


def raw(tree: Path, side: Side) -> bytes:
    """The file itself."""
    return next(path for path in sorted(tree.rglob("*")) if path.is_file()).read_bytes()


def elf(tree: Path, side: Side) -> bytes:
    """A program with a build id that depends on something which is not in it."""
    note = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0" + bytes([side.serial]) * 20
    (tree / "usr" / "program").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57) + note + b"code" * 20)
    return deb(tree, side)


def _pyc(tree: Path, header: bytes, body: bytes) -> None:
    (tree / "usr" / "module.cpython-313.pyc").write_bytes(b"\xf3\x0d\x0d\x0a" + header + body)


def pyc_dated(tree: Path, side: Side) -> bytes:
    _pyc(tree, bytes(4) + side.now.to_bytes(4, "little") + b"\x10\0\0\0", b"\xe3code")
    return deb(tree, side)


def pyc_hashed(tree: Path, side: Side) -> bytes:
    words = ["alpha", "beta", "gamma"][:: 1 if side.serial == 1 else -1]
    _pyc(tree, b"\x03\0\0\0" + b"\1" * 8, b"\xe3\0>\3" + "\0".join(words).encode())
    return LAYER(tree, side)


def pyc_flags(tree: Path, side: Side) -> bytes:
    _pyc(tree, bytes([3 if side.serial == 1 else 1]) + bytes(11), b"\xe3code")
    return LAYER(tree, side)


def binary_time(order: str) -> Callable[[Path, Side], bytes]:
    def pack(tree: Path, side: Side) -> bytes:
        stamp = side.now.to_bytes(4, "little" if order == "little" else "big")
        (tree / "usr" / "index").write_bytes(b"\x89IDX\0" + stamp + b"\xff" * 40)
        return LAYER(tree, side)

    return pack


def buried(tree: Path, side: Side) -> bytes:
    """A tar in a gzip in a package."""
    (tree / "usr" / "inner.tar.gz").write_bytes(gzip.compress(Layer(times=True)(tree, side), mtime=0))
    return deb(tree, side)


def ar_dated(tree: Path, side: Side) -> bytes:
    """As dpkg-deb does without SOURCE_DATE_EPOCH."""
    data = deb(tree, side)
    return data.replace(f"{EPOCH:<12}".encode(), f"{side.now:<12}".encode())
