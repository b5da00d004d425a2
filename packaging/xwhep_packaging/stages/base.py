"""Stage base: two root file systems from exactly the locked .debs, by mmdebstrap, with no network to reach.

debs.json ──> cache ──> closed repository (tmpfs) ── mmdebstrap ──> root.tar ──> installed = locked? ──> published
                                                                       ├── chroot   builds run in it
                                                                       └── rootfs   images stand on it
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xwhep_packaging import command, lockfile, powers
from xwhep_packaging.artefacts import Output, digests_of, sha256_file
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BaseError, LockError
from xwhep_packaging.lockfile import DebSet
from xwhep_packaging.settings import RootFs, Settings
from xwhep_packaging.store import Draft, Recipe
from xwhep_packaging.temporary import temporary_folder

if TYPE_CHECKING:
    from xwhep_packaging.debcache import DebCache

STAGE = "base"
TARBALL = "root.tar"
PACKAGES = "packages.tsv"
DEBS = "debs.json"  # as the stage packages wrote it
METAPACKAGE = "pipeline-build-dependencies"
TMPFS = Path("/dev/shm")  # noqa: S108 - memory, checked for room, and a private folder is made in it
TMPFS_NEEDED_BYTES = 2 * 1024**3
# Left by apt, dpkg and the linker's cache: times and orders of one run, the mirror's name; of no use in a root.
RESIDUE = (
    "/etc/*-",
    "/etc/.pwd.lock",
    "/etc/apt/sources.list",
    "/etc/machine-id",
    "/var/cache/apt/*",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/var/lib/apt/lists/*",
    "/var/lib/dpkg/*-old",
    "/var/log/*",
)
EMPTIED = ("/etc/hostname", "/etc/resolv.conf")  # mmdebstrap copies the building machine's
SHA256_ONLY = tuple(f"-oAPT::FTPArchive::{name}=false" for name in ("MD5", "SHA1", "SHA512"))


def mmdebstrap_command(settings: Settings, rootfs: RootFs, repository: Path, tarball: Path) -> list[str]:
    """The whole call. Excluded files never reach the disk; what names this machine or run is emptied at the end."""
    return [
        *without_network(),
        "mmdebstrap",
        *without_mounts(),
        "--variant=essential",
        f"--architectures={settings.suite.architecture}",
        f"--include={','.join(rootfs.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in rootfs.exclude),
        *(f"--dpkgopt=path-include={pattern}" for pattern in rootfs.include),
        f"--customize-hook=rm -rf {_below_root((*RESIDUE, *rootfs.remove))}",
        f"--customize-hook=: | tee {_below_root(EMPTIED)} && chmod 644 {_below_root(EMPTIED)}",
        "",  # a flat repository has no suite
        str(tarball),
        apt_line(repository),
    ]


def without_network() -> list[str]:
    """A namespace without interfaces, so that nothing but the closed repository can answer, and one for mounts, which
    go with a killed mmdebstrap; only root may make them beside mmdebstrap's own. A machine that gives none is told of
    in powers.py."""
    return ["unshare", "--net", "--mount", "--"] if os.geteuid() == 0 and not powers.weaker(STAGE) else []


def without_mounts() -> list[str]:
    """mmdebstrap can do without mounts, but must be told not to ask for them."""
    return ["--mode=root", "--skip=check/canmount"] if os.geteuid() == 0 and powers.weaker(STAGE) else []


def apt_line(repository: Path) -> str:
    """Trusted, because each of its files was compared with the lock when it was put there."""
    return f"deb [trusted=yes] copy:{repository} ./"


def _below_root(paths: Iterable[str]) -> str:
    """Shell words for `paths` in the root that mmdebstrap gives a hook as its first argument."""
    return " ".join(f'"$1"{path}' for path in paths)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a root is made of: the exact packages, and the output of the stage that has them in the cache."""

    debs: DebSet
    cache: DebCache

    @classmethod
    def of(cls, settings: Settings, packages: Output) -> Made:
        from xwhep_packaging.debcache import DebCache

        return cls(debs=lockfile.read_set(packages.path(DEBS)), cache=DebCache(settings.cache_folder))

    def repository(self, folder: Path, log: Path) -> Path:
        """A closed repository with these packages alone, checked file by file; returns its folder.

        Raises:
            LockError: a cached file is missing or was changed.
        """
        place = folder / "repository"
        place.mkdir(mode=0o755)
        self.cache.copy(self.debs.debs, place)
        index = command.run(Command(argv=["apt-ftparchive", *SHA256_ONLY, "packages", "."], cwd=place, error=BaseError))
        (place / "Packages").write_text(index.stdout)
        digest = f" {hashlib.sha256(index.stdout.encode()).hexdigest()} {len(index.stdout.encode())} Packages"
        (place / "Release").write_text(f"Date: Wed, 01 Jan 2025 00:00:00 +0000\nSHA256:\n{digest}\n")
        return place


def recipe(settings: Settings, kind: str, debs: str) -> Recipe:
    """What decides a root file system: `debs`, the digest of its packages, and how they are put together."""
    rootfs = settings.chroot if kind == "chroot" else settings.base
    return Recipe(
        stage=STAGE,
        name=kind,
        inputs={
            "packages": debs,
            "asked for": " ".join(sorted(rootfs.packages)),
            "exclude": " ".join(rootfs.exclude),
            "include": " ".join(rootfs.include),
            "remove": " ".join(rootfs.remove),
        },
        files={"code": digests_of(Path(__file__))},
    )


def make_base(settings: Settings, kind: str, packages: Output, draft: Draft) -> None:
    """Make root.tar and packages.tsv (name, version, architecture, sorted) in the draft.

    Raises:
        LockError: a cached package was changed, or what is installed is not what is locked.
        BaseError: mmdebstrap fails.
    """
    rootfs = settings.chroot if kind == "chroot" else settings.base
    made = Made.of(settings, packages)
    with temporary_folder("base", _roomy_place()) as folder:
        folder.chmod(0o755)  # mmdebstrap's unprivileged apt user must be able to enter
        repository = made.repository(folder, draft.log)
        argv = mmdebstrap_command(settings, rootfs, repository, draft.folder / TARBALL)
        _run(argv, folder, made.debs.epoch, (kind, draft.log))
    if kind == "rootfs":
        drop_devices(draft.folder / TARBALL)
    _record(draft, [deb.row for deb in made.debs.debs], {"kind": kind, "epoch": made.debs.epoch})


def _run(argv: Sequence[str], folder: Path, epoch: int, told: tuple[str, Path]) -> None:
    """Call mmdebstrap; `told` are the words for an error: which root, and the log."""
    kind, log = told
    environment = {"TMPDIR": str(folder), "SOURCE_DATE_EPOCH": str(epoch)}
    made = command.run(Command(argv=argv, env=environment, log=log), check=False)
    if made.returncode != 0:
        relevant = "\n".join([line for line in made.stdout.splitlines() if re.match(r"(E|Err|W):?\s?", line)][-6:])
        raise BaseError(
            f"cannot make the {kind} root file system",
            cause=relevant or command.last_lines(made.stdout),
            next_step="read the log",
            log=log,
        )


def drop_devices(tarball: Path) -> None:
    """Whoever runs an image gives it a /dev; an ordinary user cannot unpack device files, so his image would differ.
    mmdebstrap puts them first. Cut out by hand: `tar --delete` leaves a damaged archive (GNU tar 1.34)."""
    import tarfile

    with tarfile.open(tarball) as archive:
        first = itertools.takewhile(lambda member: member.name.startswith("./dev"), archive)
        devices = [(member.offset, member.offset_data) for member in first if member.ischr() or member.isblk()]
    rest = tarball.with_name(f"{tarball.name}.rest")
    with tarball.open("rb") as source, rest.open("wb") as target:
        for start, end in devices:
            target.write(source.read(start - source.tell()))
            source.seek(end)
        shutil.copyfileobj(source, target)
    rest.replace(tarball)


def _record(draft: Draft, rows: Iterable[str], facts: dict[str, object]) -> None:
    """List what is installed, and compare it with what is locked.

    Raises:
        LockError: they differ; the packages are named.
    """
    tarball = draft.folder / TARBALL
    installed = _installed_packages(tarball)
    (draft.folder / PACKAGES).write_text("".join(f"{row}\n" for row in installed))
    locked = sorted(rows)
    if installed != locked:
        more, less = sorted({*installed} - {*locked}), sorted({*locked} - {*installed})
        raise LockError(
            f"the {facts['kind']} root file system is not what the lock says",
            cause="\n".join(
                [*(f"not locked: {row}" for row in more), *(f"not there: {row}" for row in less)][:12]
            ).replace("\t", " "),
            next_step="scripts/doit lock",
            log=draft.log,
        )
    draft.facts.update({**facts, "packages": len(installed), "size": tarball.stat().st_size})


class Additions(msgspec.Struct, frozen=True, kw_only=True):
    """What a derived chroot has beyond the shared one: packages by name, and dependency clauses for apt to satisfy."""

    packages: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.packages or self.clauses)


def derived_recipe(shared_key: str, more: Additions, debs: str) -> Recipe:
    """What decides a chroot that stands on the shared one; sources that need the same share it."""
    digest = hashlib.sha256(repr(more).encode()).hexdigest()
    return Recipe(
        stage=STAGE,
        name=f"chroot-{digest[:8]}",
        inputs={
            "shared chroot": shared_key,
            "packages": debs,
            "asked for": " ".join(more.packages),
            "build dependencies": ", ".join(more.clauses),
        },
        files={"code": digests_of(Path(__file__))},
    )


def derived_command(settings: Settings, shared: Path, repositories: Sequence[Path], tarball: Path) -> list[str]:
    """Install the metapackage into the shared root. Only mmdebstrap itself calls apt: one called from a hook without
    the right options would install into this machine."""
    return [
        *without_network(),
        "mmdebstrap",
        *without_mounts(),
        "--variant=custom",
        f"--architectures={settings.suite.architecture}",
        f"--include={METAPACKAGE}",
        f'--setup-hook=tar -C "$1" -xf {shlex.quote(str(shared))}',
        f"--customize-hook=rm -rf {_below_root(RESIDUE)}",
        f"--customize-hook=: | tee {_below_root(EMPTIED)} && chmod 644 {_below_root(EMPTIED)}",
        "",
        str(tarball),
        *(apt_line(repository) for repository in repositories),
    ]


def metapackage_control(more: Additions) -> str:
    """A package that depends on all of it, so that apt itself resolves versions and alternatives."""
    return (
        f"Package: {METAPACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: pipeline <pipeline@localhost>\n"
        f"Depends: {', '.join([*more.packages, *more.clauses])}\nDescription: what one source needs to be built\n"
    )


def make_derived(settings: Settings, inputs: Derived, draft: Draft) -> None:
    """Make root.tar and packages.tsv from the shared root and what comes on top.

    Raises:
        LockError: a cached package was changed, or what is installed is not what is locked.
        BaseError: mmdebstrap fails.
    """
    made, tarball = Made.of(settings, inputs.packages), draft.folder / TARBALL
    epoch = max(made.debs.epoch, inputs.shared.manifest.facts["epoch"])
    with temporary_folder("base", _roomy_place()) as folder:
        folder.chmod(0o755)
        asked = folder / "metapackage"
        _write_repository(asked, metapackage_control(inputs.more), draft.log)
        repositories = [made.repository(folder, draft.log), asked]
        argv = derived_command(settings, inputs.shared.path(TARBALL), repositories, tarball)
        _run(argv, folder, epoch, ("chroot", draft.log))
    below = lockfile.read_set(inputs.beside.path(DEBS)).debs
    rows = {deb.name: deb.row for deb in (*below, *made.debs.debs)}
    _record(draft, [*rows.values(), f"{METAPACKAGE}\t1\tall"], {"kind": "chroot", "epoch": epoch})


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """A chroot on top of the shared one: that root, both sets of packages, and what was asked for."""

    shared: Output
    beside: Output
    packages: Output
    more: Additions


def make_extra(settings: Settings, packages: Output, draft: Draft) -> None:
    """Put the .debs that one image has beside the base into the draft.

    Raises:
        LockError: a cached package is missing or was changed.
    """
    made = Made.of(settings, packages)
    made.cache.copy(made.debs.debs, draft.folder)
    draft.facts.update({"packages": sorted(deb.name for deb in made.debs.debs), "epoch": made.debs.epoch})


def extra_recipe(name: str, debs: str) -> Recipe:
    """What decides the packages of one image beside the base."""
    files = {"code": digests_of(Path(__file__))}
    return Recipe(stage=STAGE, name=f"packages-{name}", inputs={"packages": debs}, files=files)


def _write_repository(folder: Path, control: str, log: Path) -> None:
    """A flat apt repository that holds the metapackage alone."""
    debian = folder / "tree" / "DEBIAN"
    debian.mkdir(parents=True)
    (debian / "control").write_text(control)
    deb = folder / f"{METAPACKAGE}.deb"
    command.run(
        Command(argv=["dpkg-deb", "--root-owner-group", "--build", folder / "tree", deb], error=BaseError, log=log)
    )
    shutil.rmtree(folder / "tree")
    index = f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256_file(deb)}\n\n"
    (folder / "Packages").write_text(index)
    digest = f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} Packages"
    (folder / "Release").write_text(f"Date: Wed, 01 Jan 2025 00:00:00 +0000\nSHA256:\n{digest}\n")


def _installed_packages(tarball: Path) -> list[str]:
    listing = command.run(Command(argv=["tar", "-xOf", tarball, "./var/lib/dpkg/status"], error=BaseError)).stdout
    fields = [
        dict(re.findall(r"^(Package|Version|Architecture): (.*)$", block, re.M)) for block in listing.split("\n\n")
    ]
    return sorted("\t".join((f["Package"], f["Version"], f["Architecture"])) for f in fields if f)


def _roomy_place() -> Path | None:
    """tmpfs when it has room: dpkg's many small writes take a third of the time there."""
    return TMPFS if TMPFS.is_dir() and shutil.disk_usage(TMPFS).free > TMPFS_NEEDED_BYTES else None
