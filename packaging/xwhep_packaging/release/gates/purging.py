"""The gate `purge`: what packages leave behind when they go.

an image's root without its packages ──> files ─┐
install an earlier version, upgrade, remove, purge ──> files ──> the same, but for what dpkg and users are allowed
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.bills.installed import package_of, paragraphs
from xwhep_packaging.release.gates.kept import Gate
from xwhep_packaging.release.gates.rooms import Room
from xwhep_packaging.temporary import temporary_folder

NAME = "purge"
EARLIER = "0~earlier"
SHOWN = 8
# What a purge may leave: a user stays, as Debian's policy has it, and so do the notes of dpkg and the linker.
LEFT = re.compile(
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|/etc/\.pwd\.lock|/etc/ld\.so\.cache|/var/lib/dpkg(/.*)?"
    r"|/var/log/(dpkg|alternatives)\.log|/var/cache/ldconfig(/aux-cache)?|/var/cache/debconf/.*"
)
SCRIPT = r"""
places="/bin /boot /etc /home /lib /lib64 /media /mnt /opt /root /sbin /srv /usr /var"
look() {
    find $places -xdev -printf '%y %m %U:%G %l\t%p\n' >"/build/$1"
    find $places -xdev -type f -exec sha256sum {} + | sed 's/  /\t/' >>"/build/$1"
}
look before
find /build/below /build/earlier -name '*.deb' -exec dpkg --install {} +
find /build/now -name '*.deb' -exec dpkg --install {} +
[ -z "$(dpkg --audit)" ]
dpkg --remove "$@"
dpkg --purge "$@"
look after
"""


def gate(pipeline: Pipeline) -> Gate:
    """Decided by the packages, which of them each image gets, and the root that they are tried in."""
    names = [name for name in pipeline.steps if name.startswith(("debs:", "base:packages-"))]
    chosen = {f"of {name}": json.dumps(image.debs) for name, image in pipeline.settings.images.items()}
    inputs = {**pipeline.keys("base:rootfs", *names), **chosen}
    return Gate(name=NAME, inputs=inputs, check=lambda: check(pipeline))


def check(pipeline: Pipeline) -> Sequence[str]:
    """The packages of each image, all at once; returns the images' names.

    Raises:
        ReleaseError: a step fails, or something is left.
    """
    for name in pipeline.settings.images:
        log = pipeline.store.log("purge", name)
        with temporary_folder("purge") as folder:
            names = _prepare(pipeline, name, folder, log)
            tarball = pipeline.output("base:rootfs").path("root.tar")
            room = Room(tarball=tarball, mountpoint=folder / "root", work=folder)
            done = room.run(["sh", "-euc", SCRIPT, "sh", *names], "/", log)
            if done.returncode != 0:
                raise ReleaseError(
                    f"the packages of the {name} image cannot be installed, upgraded and purged",
                    cause=command.last_lines(done.stdout),
                    next_step="mend what the log names; skip=purge goes without",
                    log=log,
                )
            _judge(name, left(_seen(folder / "before"), _seen(folder / "after")))
    return list(pipeline.settings.images)


def _judge(name: str, found: list[str]) -> None:
    if found:
        more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ReleaseError(
            f"the packages of the {name} image are purged, and something is left",
            cause="\n".join(found[:SHOWN]) + more,
            next_step="let postrm remove it, or the package own it; skip=purge goes without",
        )


def left(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What is there and was not, what is gone, what is another, in words."""

    def told() -> Iterator[str]:
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path) and not LEFT.fullmatch(path):
                word = "is left" if path not in before else "is gone" if path not in after else "was changed"
                yield f"{path} {word}"

    return list(told())


def _seen(file: Path) -> dict[str, str]:
    """What is said of each path: kind, mode, owner and where a link leads; then the sha256 of a file."""
    found: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        said, _, path = line.partition("\t")
        found[path] = f"{found.get(path, '')} {said}"
    return found


def _prepare(pipeline: Pipeline, image: str, folder: Path, log: Path) -> list[str]:
    """The packages now and in an earlier version, and those that the image has beside the base; the names of ours."""
    settings = pipeline.settings.images[image]
    for place in ("now", "earlier", "below"):
        (folder / place).mkdir()
    if settings.packages:
        _copy(pipeline.output(f"base:packages-{image}").matching(".deb"), folder / "below")
    for source, wanted in settings.debs.items():
        debs = pipeline.output(f"debs:{source}").matching(".deb")
        _copy([deb for deb in debs if deb.name.partition("_")[0] in wanted], folder / "now")
    for deb in sorted((folder / "now").iterdir()):
        earlier(deb, folder / "earlier" / deb.name, log)
    return sorted(deb.name.partition("_")[0] for deb in (folder / "now").iterdir())


def _copy(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        shutil.copyfile(file, folder / file.name)


def earlier(deb: Path, target: Path, log: Path) -> None:
    """The same package under a version that comes before any other."""
    with temporary_folder("earlier") as folder:
        tree = folder / "tree"
        command.run(Command(argv=["dpkg-deb", "--raw-extract", deb, tree], error=ReleaseError, log=log))
        control = tree / "DEBIAN" / "control"
        text = control.read_text(encoding="utf-8")
        version = package_of(next(paragraphs(text))).version
        control.write_text(text.replace(version, EARLIER), encoding="utf-8")
        argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(target)]
        command.run(Command(argv=argv, error=ReleaseError, log=log))
