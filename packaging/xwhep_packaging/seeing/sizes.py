"""What takes the room in a root file system: the bytes of each package's files as they are, by dpkg's own lists.

root.tar ──one pass──> size of each member ─┬──> bytes by package, and what no package owns
          var/lib/dpkg/info/*.list ─────────┘
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

INFO = "var/lib/dpkg/info/"
STATUS = "var/lib/dpkg/status"
OTHERS = "in no package"  # made when packages are installed: dpkg's records, certificates, caches


@dataclass(frozen=True, kw_only=True)
class Part:
    """A package's bytes; `section` is Debian's word for its kind."""

    name: str
    size: int
    section: str = ""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle of a treemap, in per cent of the whole."""

    part: Part
    left: float
    top: float
    width: float
    height: float


def packages_of(tarball: Path) -> list[Part]:
    """Every package of a root file system, the largest first, and what belongs to none."""
    sizes: dict[str, int] = {}
    owners: dict[str, str] = {}
    sections: dict[str, str] = {}
    with tarfile.open(tarball) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            sizes[path] = member.size if member.isreg() else 0
            if path.startswith(INFO) and path.endswith(".list"):
                name = path.removeprefix(INFO).removesuffix(".list").partition(":")[0]
                owners.update({_real(line): name for line in _text(archive, member).splitlines()})
            elif path == STATUS:
                sections = _sections(_text(archive, member))
    counted: Counter[str] = Counter()
    for path, size in sizes.items():
        counted[_owner(path, owners)] += size
    parts = [Part(name=name, size=size, section=sections.get(name, "")) for name, size in counted.items()]
    return sorted(parts, key=lambda part: (-part.size, part.name))


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = archive.extractfile(member)
    return stream.read().decode("utf-8", "replace") if stream else ""


def _real(path: str) -> str:
    """Where a listed file lies: packages may name /bin and /lib, which are links to /usr."""
    relative = path.strip().lstrip("/")
    return f"usr/{relative}" if relative.partition("/")[0] in ("bin", "sbin", "lib", "lib64") else relative


def _owner(path: str, owners: dict[str, str]) -> str:
    """Byte code belongs to whom its source belongs."""
    parts = PurePosixPath(path)
    if parts.parent.name == "__pycache__":
        path = str(parts.parent.parent / f"{parts.name.partition('.')[0]}.py")
    return owners.get(path, OTHERS)


def _sections(status: str) -> dict[str, str]:
    blocks = [dict(re.findall(r"^(Package|Section): (.*)$", block, re.M)) for block in status.split("\n\n")]
    return {block["Package"]: block.get("Section", "") for block in blocks if "Package" in block}


def shortened(parts: Sequence[Part], count: int) -> list[Part]:
    """The largest `count`, and one more for all others together."""
    rest = sum(part.size for part in parts[count:])
    more = [Part(name=f"{len(parts) - count} smaller ones", size=rest)] if rest else []
    return [*parts[:count], *more]


def treemap(parts: Sequence[Part], ratio: float) -> list[Tile]:
    """Squarified: rectangles in order of size, as near to squares as can be on a ground `ratio` times as wide as high.

    Bruls, Huizing, van Wijk: Squarified Treemaps, 2000.
    """
    whole = sum(part.size for part in parts)
    tiles: list[Tile] = []
    x, y, width, height = 0.0, 0.0, 100.0 * ratio, 100.0
    rest = [part for part in parts if part.size > 0]
    while rest:
        side = min(width, height)
        scale = width * height / sum(part.size for part in rest)
        row = _row(rest, side, scale)
        thick = sum(part.size for part in row) * scale / side
        along = 0.0
        for part in row:
            long = part.size * scale / thick
            left, top, wide, high = (x, y + along, thick, long) if height <= width else (x + along, y, long, thick)
            tiles.append(Tile(part=part, left=left / ratio, top=top, width=wide / ratio, height=high))
            along += long
        x, y, width, height = (
            (x + thick, y, width - thick, height) if height <= width else (x, y + thick, width, height - thick)
        )
        rest = rest[len(row) :]
    return tiles if whole else []


def _row(parts: Sequence[Part], side: float, scale: float) -> list[Part]:
    """As many of the first parts as make the row's worst rectangle no worse."""
    count = 1
    while count < len(parts) and _worst(parts[: count + 1], side, scale) <= _worst(parts[:count], side, scale):
        count += 1
    return list(parts[:count])


def _worst(parts: Sequence[Part], side: float, scale: float) -> float:
    areas = [part.size * scale for part in parts]
    whole = sum(areas)
    return max(max(side**2 * area / whole**2, whole**2 / (side**2 * area)) for area in areas)
