"""A bill of materials of each package and image, in both forms that programs read.

.deb ──────> control, every file ──────────────────────┐             ┌──> NAME.spdx.json   SPDX 2.3
                                                       ├──> Bill ────┤
image ─────> dpkg's packages, files that are no one's ─┘             └──> NAME.cdx.json    CycloneDX 1.6

A bill is a pure function of what it is about: the same bytes for the same package or image, times and identifiers too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xwhep_packaging.artefacts import sha256_file
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.bills.contents import Entry, file_entry, link_entry
from xwhep_packaging.release.bills.installed import Package, needed, package_of, paragraphs
from xwhep_packaging.release.gates.structure import Subject
from xwhep_packaging.verify import unpack

SYMLINK, FILE = "2", "0\0"  # tar's types


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file that a bill names. `reason`: why it is in an image although no package owns it."""

    path: str
    entry: Entry
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What something is made of. `subject` is the package itself, or stands for the image; `sha256` of the .deb, or the
    image's digest. `needs`: by package name, what of `parts` it depends on. `sums`: sha256 of a part's .deb by name and
    version, as far as known. `epoch`: UTC seconds of the source."""

    name: str
    is_image: bool
    subject: Package
    sha256: str
    epoch: int
    parts: Sequence[Package]
    needs: Mapping[str, Sequence[str]]
    files: Sequence[Listed]
    sums: Mapping[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class About:
    """What bills of one release have in common. `product`: its name, whose packages are not Debian's; `epoch`: UTC
    seconds; `sums`: sha256 of each known .deb by name and version; `own`: names of the product's packages."""

    product: str
    maintainer: str
    version: str
    epoch: int
    sums: Mapping[tuple[str, str], str]
    own: frozenset[str]

    def labelled(self, package: Package) -> Package:
        return replace(package, namespace=self.product) if package.name in self.own else package


def of_deb(deb: Path, about: About) -> Bill:
    """What a package holds, and what it says that it needs.

    Raises:
        ReleaseError: it is no package.
    """
    control, files = _opened(deb)
    package = about.labelled(control)
    wishes = sorted({clause[0] for clause in package.clauses})
    return Bill(
        name=package.name,
        is_image=False,
        subject=package,
        sha256=sha256_file(deb),
        epoch=about.epoch,
        parts=[about.labelled(Package(name=name, version="", architecture="")) for name in wishes],
        needs={package.name: wishes},
        files=files,
        sums=about.sums,
    )


def of_image(image: Subject, reasons: Mapping[str, str], about: About) -> Bill:
    """The packages of an image, and its other files with their reasons."""
    title, tree = f"{about.product}-{image.name}", image.tree
    subject = Package(name=title, version=about.version, architecture="", maintainer=about.maintainer)
    return Bill(
        name=f"{title}-image",
        is_image=True,
        subject=subject,
        sha256=str(image.row["digest"]).removeprefix("sha256:"),
        epoch=about.epoch,
        parts=[about.labelled(package) for package in tree.packages],
        needs=needed(tree.packages),
        files=[Listed(path=path, entry=tree.files[path], reason=reason) for path, reason in sorted(reasons.items())],
        sums=about.sums,
    )


def _opened(deb: Path) -> tuple[Package, list[Listed]]:
    inner = {
        part.name.partition(".tar")[0]: unpack.members(unpack.decompressed(part.content) or part.content)
        for part in unpack.members(deb.read_bytes()) or []
    }
    control = next((part.content for part in inner.get("control") or [] if part.name == "control"), None)
    data = inner.get("data")
    if control is None or data is None:
        raise ReleaseError(f"{deb.name} is no package", next_step="scripts/doit debs")
    files = [Listed(path=posixpath.normpath(f"/{part.name}"), entry=entry) for part in data if (entry := _entry(part))]
    return package_of(next(paragraphs(control.decode()))), sorted(files, key=lambda one: one.path)


def _entry(part: unpack.Part) -> Entry | None:
    mode = int(part.about["mode"], 8)
    if part.about["type"] == SYMLINK:
        return link_entry(part.about["link"], mode)
    return file_entry(part.content, mode) if part.about["type"] in FILE else None
