"""Stage base: two root file systems from Debian packages alone, by mmdebstrap.

apt's own configuration ──> mirrors ──┐
[chroot] packages ────────────────────┼── mmdebstrap (temporary folder on tmpfs) ──> chroot.tar   builds run in it
[base] packages, exclude ─────────────┘                                          └─> base.tar     images stand on it
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output, sha256_file
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BaseError, NetworkError, SettingsError
from xwhep_packaging.settings import RootFs, Settings
from xwhep_packaging.store import Draft, Recipe
from xwhep_packaging.temporary import temporary_folder

STAGE = "base"
TARBALL = "root.tar"
PACKAGES = "packages.tsv"
KINDS = ("chroot", "base")
METAPACKAGE = "pipeline-build-dependencies"
APT_SOURCES = Path("/etc/apt")
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
# A root made on one day must equal one made on another: mmdebstrap clamps times to this; the lock's epoch is for later.
FIXED_EPOCH = 1735689600  # 2025-01-01, older than any input, so that clamped times never lie in the future


def mmdebstrap_command(settings: Settings, rootfs: RootFs, tarball: Path) -> list[str]:
    """The whole call. Excluded files never reach the disk; what names this machine or run is emptied at the end."""
    return [
        "mmdebstrap",
        "--variant=essential",
        f"--architectures={settings.suite.architecture}",
        f"--include={','.join(rootfs.packages)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in rootfs.exclude),
        *(f"--dpkgopt=path-include={pattern}" for pattern in rootfs.include),
        f"--customize-hook=rm -rf {_below_root((*RESIDUE, *rootfs.remove))}",
        f"--customize-hook=: | tee {_below_root(EMPTIED)} && chmod 644 {_below_root(EMPTIED)}",
        settings.suite.name,
        str(tarball),
        *apt_lines(settings),
    ]


def _below_root(paths: Iterable[str]) -> str:
    """Shell words for `paths` in the root that mmdebstrap gives a hook as its first argument."""
    return " ".join(f'"$1"{path}' for path in paths)


def apt_lines(settings: Settings) -> list[str]:
    """The one-line apt sources of the suite: release, updates, security."""
    suite = settings.suite
    components = " ".join(suite.components)
    mirror, security = mirrors(settings)
    return [
        f"deb {mirror} {suite.name} {components}",
        f"deb {mirror} {suite.name}-updates {components}",
        f"deb {security} {suite.name}-security {components}",
    ]


def mirrors(settings: Settings, apt_folder: Path = APT_SOURCES) -> tuple[str, str]:
    """(archive, security archive): the settings', else those of the machine's own apt.

    Raises:
        SettingsError: neither says.
    """
    found = [address for address in configured_addresses(apt_folder) if "debian" in urlsplit(address).path]
    security = settings.suite.security_mirror or next((a for a in found if "security" in a), "")
    mirror = settings.suite.mirror or next((a for a in found if "security" not in a), "")
    if not mirror:
        raise SettingsError(
            "no Debian mirror is known",
            cause=f"[suite] mirror is empty and {apt_folder} names no Debian archive",
            next_step="set XWHEP_MIRROR (and XWHEP_SECURITY_MIRROR) to the address of one",
        )
    return mirror, security or re.sub(r"debian/?$", "debian-security", mirror)


def configured_addresses(apt_folder: Path) -> list[str]:
    """Every archive with a component `main` in apt's sources, one-line and deb822 form, in the order of their files.

    The component tells Debian's archive from those of other makers, whose addresses may end in /debian too.
    """
    parts = sorted((apt_folder / "sources.list.d").glob("*"))
    addresses: list[str] = []
    for file in [apt_folder / "sources.list", *parts]:
        if file.is_file() and file.suffix in (".list", ".sources"):  # apt reads no other names
            text = file.read_text(encoding="utf-8", errors="replace")
            addresses += _one_line_addresses(text) if file.suffix == ".list" else _deb822_addresses(text)
    return addresses


def _one_line_addresses(text: str) -> list[str]:
    found = re.findall(r"^deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+\S+\s+([^#\n]*)", text, re.M)
    return [address for address, components in found if "main" in components.split()]


def _deb822_addresses(text: str) -> list[str]:
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.M)
    addresses: list[str] = []
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = {
            name.lower(): value.split() for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)
        }
        is_wanted = "deb" in fields.get("types", []) and "main" in fields.get("components", [])
        if is_wanted and fields.get("enabled", ["yes"]) != ["no"]:
            addresses += fields.get("uris", [])
    return addresses


def recipe(settings: Settings, kind: str, tools: dict[str, str]) -> Recipe:
    """What decides a root file system, as far as it is known before the mirror is asked."""
    rootfs = settings.chroot if kind == "chroot" else settings.base
    return Recipe(
        stage=STAGE,
        name=kind,
        inputs={
            "suite": f"{settings.suite.name} {settings.suite.architecture} {' '.join(settings.suite.components)}",
            "packages": " ".join(sorted(rootfs.packages)),
            "exclude": " ".join(rootfs.exclude),
            "include": " ".join(rootfs.include),
            "remove": " ".join(rootfs.remove),
            "mmdebstrap": tools["mmdebstrap"],
            "code": sha256_file(Path(__file__)),
        },
    )


def make_base(settings: Settings, kind: str, draft: Draft) -> None:
    """Make root.tar and packages.tsv (name, version, architecture, sorted) in the draft.

    Raises:
        NetworkError: a mirror does not answer.
        BaseError: mmdebstrap fails for another reason.
    """
    rootfs = settings.chroot if kind == "chroot" else settings.base
    tarball = draft.folder / TARBALL
    with temporary_folder("base", _roomy_place()) as folder:
        folder.chmod(0o755)  # mmdebstrap's unprivileged apt user must be able to enter
        made = command.run(
            Command(
                argv=mmdebstrap_command(settings, rootfs, tarball),
                env={"TMPDIR": str(folder), "SOURCE_DATE_EPOCH": str(FIXED_EPOCH)},
                log=draft.log,
            ),
            check=False,
        )
    if made.returncode != 0:
        raise _explained(kind, made.stdout, draft.log)
    installed = _installed_packages(tarball)
    (draft.folder / PACKAGES).write_text("".join(f"{row}\n" for row in installed))
    draft.facts.update({"kind": kind, "packages": len(installed), "epoch": FIXED_EPOCH, "size": tarball.stat().st_size})


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What a derived chroot has beyond the shared one: packages by name, and dependency clauses for apt to satisfy."""

    packages: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.packages or self.clauses)


def derived_recipe(shared_key: str, more: Additions, tools: dict[str, str]) -> Recipe:
    """What decides a chroot that stands on the shared one; sources that need the same share it."""
    digest = hashlib.sha256(repr(more).encode()).hexdigest()
    return Recipe(
        stage=STAGE,
        name=f"chroot-{digest[:8]}",
        inputs={
            "shared chroot": shared_key,
            "packages": " ".join(more.packages),
            "build dependencies": ", ".join(more.clauses),
            "mmdebstrap": tools["mmdebstrap"],
            "code": sha256_file(Path(__file__)),
        },
    )


def derived_command(settings: Settings, shared: Path, repository: Path, tarball: Path) -> list[str]:
    """Install the metapackage into the shared root. Only mmdebstrap itself calls apt: one called from a hook without
    the right options would install into this machine."""
    return [
        "mmdebstrap",
        "--variant=custom",
        f"--architectures={settings.suite.architecture}",
        f"--include={METAPACKAGE}",
        f'--setup-hook=tar -C "$1" -xf {shlex.quote(str(shared))}',
        f"--customize-hook=rm -rf {_below_root(RESIDUE)}",
        f"--customize-hook=: | tee {_below_root(EMPTIED)} && chmod 644 {_below_root(EMPTIED)}",
        settings.suite.name,
        str(tarball),
        *apt_lines(settings),
        f"deb [trusted=yes] copy:{repository} ./",
    ]


def extra_recipe(name: str, rootfs_key: str, packages: list[str], tools: dict[str, str]) -> Recipe:
    """What decides the packages of one image beside the base."""
    inputs = {"rootfs": rootfs_key, "packages": " ".join(packages), "mmdebstrap": tools["mmdebstrap"]}
    return Recipe(stage=STAGE, name=f"packages-{name}", inputs={**inputs, "code": sha256_file(Path(__file__))})


def extra_command(settings: Settings, rootfs: Path, packages: list[str], folder: Path) -> list[str]:
    """Install the packages into a copy of the base that is thrown away, and keep the .debs that it took."""
    return [
        "mmdebstrap",
        "--variant=custom",
        "--format=null",
        f"--architectures={settings.suite.architecture}",
        f"--include={','.join(packages)}",
        f'--setup-hook=tar -C "$1" -xf {shlex.quote(str(rootfs))}',
        "--skip=essential/unlink,download/empty,cleanup/apt/cache",
        f"--customize-hook=sync-out /var/cache/apt/archives {shlex.quote(str(folder))}",
        settings.suite.name,
        "-",
        *apt_lines(settings),
    ]


def make_extra(settings: Settings, rootfs: Output, packages: list[str], draft: Draft) -> None:
    """Put the .debs of `packages`, and of what they need and the base lacks, into the draft.

    Raises:
        NetworkError: a mirror does not answer.
        BaseError: the suite has no such package.
    """
    with temporary_folder("base", _roomy_place()) as folder:
        folder.chmod(0o755)
        taken = folder / "taken"
        taken.mkdir()
        argv = extra_command(settings, rootfs.path(TARBALL), packages, taken)
        environment = {"TMPDIR": str(folder), "SOURCE_DATE_EPOCH": str(FIXED_EPOCH)}
        made = command.run(Command(argv=argv, env=environment, log=draft.log), check=False)
        if made.returncode != 0:
            raise _explained("image's", made.stdout, draft.log)
        found = sorted(taken.glob("*.deb"))
        for deb in found:
            shutil.copyfile(deb, draft.folder / deb.name)
    draft.facts.update({"packages": [deb.name for deb in found]})


def metapackage_control(more: Additions) -> str:
    """A package that depends on all of it, so that apt itself resolves versions and alternatives."""
    return (
        f"Package: {METAPACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: pipeline <pipeline@localhost>\n"
        f"Depends: {', '.join([*more.packages, *more.clauses])}\nDescription: what one source needs to be built\n"
    )


def make_derived(settings: Settings, shared: Output, more: Additions, draft: Draft) -> None:
    """Make root.tar and packages.tsv from the shared root and `more`.

    Raises:
        NetworkError: a mirror does not answer.
        BaseError: the suite cannot satisfy what is asked for.
    """
    tarball = draft.folder / TARBALL
    with temporary_folder("base", _roomy_place()) as folder:
        folder.chmod(0o755)
        repository = folder / "metapackage"
        _write_repository(repository, metapackage_control(more), draft.log)
        made = command.run(
            Command(
                argv=derived_command(settings, shared.path(TARBALL), repository, tarball),
                env={"TMPDIR": str(folder), "SOURCE_DATE_EPOCH": str(FIXED_EPOCH)},
                log=draft.log,
            ),
            check=False,
        )
    if made.returncode != 0:
        raise _unsatisfied(made.stdout, draft) or _explained("chroot", made.stdout, draft.log)
    installed = _installed_packages(tarball)
    (draft.folder / PACKAGES).write_text("".join(f"{row}\n" for row in installed))
    draft.facts.update({"kind": "chroot", "packages": len(installed), "epoch": FIXED_EPOCH})


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


def _unsatisfied(output: str, draft: Draft) -> BaseError | None:
    found = re.search(rf"{METAPACKAGE} : (Depends: .*(?:\n +Depends: .*)*)", output)
    if found is None:
        return None
    return BaseError(
        "the suite cannot give what the build asks for",
        cause="\n".join(line.strip() for line in found[1].splitlines()),
        next_step="correct Build-Depends in debian/control or build_packages in the pipeline file",
        log=draft.log,
    )


def _explained(kind: str, output: str, log: Path) -> BaseError | NetworkError:
    relevant = "\n".join([line for line in output.splitlines() if re.match(r"(E|Err|W):?\s?", line)][-6:])
    if re.search(r"Could not (resolve|connect)|Temporary failure|Failed to fetch|Unable to connect", output):
        return NetworkError(
            f"cannot fetch packages for the {kind} root file system",
            cause=relevant,
            next_step="check the network and the mirror in the machine's apt configuration, then type it again",
            log=log,
        )
    missing = re.search(r"Unable to locate package (\S+)", output)
    what = f"the suite has no package {missing.group(1)!r}" if missing else f"cannot make the {kind} root file system"
    return BaseError(what, cause=relevant or command.last_lines(output), next_step="read the log", log=log)


def _installed_packages(tarball: Path) -> list[str]:
    listing = command.run(Command(argv=["tar", "-xOf", tarball, "./var/lib/dpkg/status"], error=BaseError)).stdout
    fields = [
        dict(re.findall(r"^(Package|Version|Architecture): (.*)$", block, re.M)) for block in listing.split("\n\n")
    ]
    return sorted("\t".join((f["Package"], f["Version"], f["Architecture"])) for f in fields if f)


def _roomy_place() -> Path | None:
    """tmpfs when it has room: dpkg's many small writes take a third of the time there."""
    return TMPFS if TMPFS.is_dir() and shutil.disk_usage(TMPFS).free > TMPFS_NEEDED_BYTES else None
