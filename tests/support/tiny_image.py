"""A small image as a release reads it: layers in a tar, a dpkg that knows two packages, a configuration."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xwhep_packaging.artefacts import rfc3339
from xwhep_packaging.definitions import Expects, Image
from xwhep_packaging.release.bills.contents import Entry, Tree, lay_over, read_layer
from xwhep_packaging.release.gates.structure import Subject

EPOCH = 1_800_000_000
STATUS = """Package: dash
Status: install ok installed
Maintainer: "A. Person" <a@b.invalid>
Architecture: amd64
Source: dash (0.5)
Version: 0.5+b1
Depends: libc6 (>= 2.41) | other

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: install ok installed
Maintainer: GNU <g@b.invalid>
Architecture: amd64
Source: glibc
Version: 2.41-12
Provides: libc (= 2)
"""
FILES: Mapping[str, str] = {
    "usr/bin/dash": "shell",
    "usr/lib/x/libc.so": "library",
    "usr/lib/x/module.py": "source",
    "usr/lib/x/__pycache__/module.cpython-313.pyc": "byte code",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/diversions": "/usr/lib/x/old\n/usr/lib/x/new\nother\n",
    "var/lib/dpkg/info/dash.list": "/.\n/usr\n/bin\n/bin/dash\n",
    "var/lib/dpkg/info/libc6:amd64.list": "/usr/lib/x/libc.so\n/usr/lib/x/module.py\n/usr/lib/x/old\n",
    "usr/lib/x/new": "diverted",
}
ROW = {"name": "server", "version": "1.0", "epoch": EPOCH, "digest": f"sha256:{'a' * 64}"}
LABELS = {
    "org.opencontainers.image.title": "grid-server",
    "org.opencontainers.image.revision": "c" * 40,
    "org.opencontainers.image.source": "local",
    "org.opencontainers.image.version": "1.0",
    "org.opencontainers.image.created": rfc3339(EPOCH),
}
EXPECTS = Expects(size_mb=1, ports=[4321], shells={"dash": "scripts of packages"})


@dataclass
class LayerMaker:
    """A tar in the making."""

    folder: Path
    members: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)

    def add(self, name: str, content: str = "", mode: int = 0o644, **fields: Any) -> LayerMaker:
        info = tarfile.TarInfo(name)
        info.mode, info.size = mode, len(content.encode())
        for key, value in fields.items():
            setattr(info, key, value)
        self.members.append((info, content.encode()))
        return self

    def link(self, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> LayerMaker:
        return self.add(name, mode=0o777, type=kind, linkname=target)

    def read(self) -> dict[str, Entry]:
        with tarfile.open(self.folder / "layer.tar", "w") as archive:
            for info, content in self.members:
                archive.addfile(info, io.BytesIO(content))
        return read_layer(self.folder / "layer.tar")


def base(folder: Path, **more: str) -> LayerMaker:
    made = LayerMaker(folder).link("bin", "usr/bin").add("tmp", mode=0o1777, type=tarfile.DIRTYPE)
    for name, content in {**FILES, **more}.items():
        made.add(name, content, 0o755 if name.startswith("usr/bin/") else 0o644)
    return made


def subject(*layers: LayerMaker, expects: Expects = EXPECTS, **config: Any) -> Subject:
    files: dict[str, Entry] = {}
    for layer in layers:
        lay_over(files, layer.read())
    whole = {"User": "990:990", "ExposedPorts": {"4321/tcp": {}}, "Labels": LABELS, **config}
    tree = Tree(files=files, config=whole, size=sum(entry.size for entry in files.values()) + 100)
    settings = Image(debs={"grid": ["grid-server"]}, entrypoint=["/x"], expects=expects)
    return Subject(name="server", settings=settings, tree=tree, row=ROW)
