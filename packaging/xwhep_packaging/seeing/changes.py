"""What is different from the build before: versions, digests, Debian packages, and the inputs that decided it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xwhep_packaging.seeing.places import Places

SHOWN = 60  # rows of one table; a move to another suite changes hundreds of packages
ROOTS = ("base:rootfs", "base:chroot")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing, as it was and as it is; either may be empty, and `more` says what else."""

    name: str
    before: str
    after: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Against the previous build; `known` is False when this one is the first."""

    known: bool = False
    commit: str = ""
    date: str = ""
    steps: tuple[Change, ...] = ()
    debs: tuple[Change, ...] = ()
    images: tuple[Change, ...] = ()
    packages: tuple[Change, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.steps or self.debs or self.images or self.packages)


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any], places: Places) -> Changes:
    """Both are builds as latest.json has them; what the store no longer has of the older one is left out."""
    if before is None:
        return Changes()
    return Changes(
        known=True,
        commit=before["commit"],
        date=before.get("date", ""),
        steps=tuple(_steps(before["keys"], after["keys"], places)),
        debs=tuple(_rows(_debs(before), _debs(after))),
        images=tuple(_rows(_images(before), _images(after))),
        packages=tuple(_packages(before["keys"], after["keys"], places)),
    )


def _steps(before: Mapping[str, str], after: Mapping[str, str], places: Places) -> Iterable[Change]:
    """Only where it begins: a step that differs merely because one that it needs does is not named."""
    for name, key in after.items():
        if before.get(name) == key:
            continue
        new, old = places.inputs(key), places.inputs(before.get(name, ""))
        if new is None:  # not made, as endurance by a build
            continue
        if old is None:
            yield Change(name=name, before="", after="new, or the older one is no longer kept")
            continue
        own = [word for word in sorted({*new, *old}) if new.get(word) != old.get(word) and word not in after]
        if own:
            yield Change(name=name, before="", after=", ".join(own))
    yield from (Change(name=name, before="", after="no longer a step") for name in before if name not in after)


def _debs(build: Mapping[str, Any]) -> dict[str, tuple[str, str, int]]:
    return {row["package"]: (row["version"], row["sha256"], row["size"]) for row in build["debs"]}


def _images(build: Mapping[str, Any]) -> dict[str, tuple[str, str, int]]:
    return {row["name"]: (row["digest"][7:19], row["digest"], row["size"]) for row in build["images"]}


def _rows(before: Mapping[str, tuple[str, str, int]], after: Mapping[str, tuple[str, str, int]]) -> Iterable[Change]:
    """Of (word, digest, size): whatever has another digest."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old and new and old[1] == new[1]:
            continue
        grown = ""
        if old and new:
            grown = f"{new[2] - old[2]:+,} bytes".replace(",", " ") if new[2] != old[2] else "same size"
        yield Change(name=name, before=old[0] if old else "", after=new[0] if new else "", more=grown)


def _packages(before: Mapping[str, str], after: Mapping[str, str], places: Places) -> Iterable[Change]:
    for root in ROOTS:
        old, new = places.installed(before.get(root, "")), places.installed(after.get(root, ""))
        if not old or not new:
            continue
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield Change(name=name, before=old.get(name, ""), after=new.get(name, ""), more=root)
