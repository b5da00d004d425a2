"""The tables of the pipeline file that describe what is built: sources, one form a builder, and their services.

builder = "debian"    a tree with debian/
builder = "stdeb"     a Python project without: a folder of a repository, or an sdist pinned by hash
builder = "command"   a tree that makes its own .debs
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.+-]*\Z", max_length=64)]
DebianPackage = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
# Part of a shell word in one of mmdebstrap's hooks, hence nothing that a shell takes for more than a pattern.
PathPattern = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._+*?@-]+)+\Z")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Reason = Annotated[str, Meta(min_length=8)]
Argv = Annotated[list[str], Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of the pipeline file: an unknown key is an error."""


class Surroundings(Section, frozen=True, kw_only=True):
    """What a build may see of the machine it runs on. None of it may decide a byte, hence none is part of a key;
    `doit verify` gives other values. `clock_days` shifts the clock, `image_prefix` keeps a rebuild's images apart."""

    host: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,40}\Z")] = "build"
    timezone: Annotated[str, Meta(pattern=r"^[A-Za-z0-9/+_-]+\Z")] = "UTC"
    locale: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@-]+\Z")] = "C.UTF-8"
    user: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*\Z")] = "build"
    umask: Annotated[str, Meta(pattern=r"^0?[0-7]{3}\Z")] = "0022"
    parallel: Annotated[int, Meta(ge=1, le=1024)] = 2
    clock_days: int = 0
    isolation: Literal["chroot", "oci", "docker"] = "chroot"
    image_prefix: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9-]*-)?\Z")] = ""


class Source(Section, frozen=True, kw_only=True, tag_field="builder", tag="none"):
    """What every source has. `ships` names the paths whose last commit gives version and time; empty: the whole tree.

    `build_packages` are Debian packages that this source's build needs beside those of [chroot].
    """

    location: str = "."
    ref: str = "HEAD"
    subfolder: str = ""
    ships: list[str] = []
    build_packages: list[DebianPackage] = []
    lint: bool = True

    @property
    def builder(self) -> str:
        return str(self.__struct_config__.tag)


class DebianSource(Source, frozen=True, kw_only=True, tag="debian"):
    """A tree with debian/. What its Build-Depends name and [chroot] lacks is added to its chroot by apt.

    `profiles` are build profiles (nodoc, nocheck ...), `check` runs the package's own build-time tests, `orig` is the
    upstream tarball where it lies in the tree; without, one is made from the tree.
    """

    profiles: list[Name] = []
    check: bool = False
    orig: str = ""


class StdebSource(Source, frozen=True, kw_only=True, tag="stdeb"):
    """A Python project without debian/.

    `package` is the binary package's name (python3-NAME when empty), `depends` maps PyPI names to Debian packages where
    the suite's own table is wrong or silent, `overlay` is a folder of the pipeline file's repository whose files join
    debian/. `sdist` is a path or URL, with its `sha256`, in place of a repository.
    """

    package: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9+.-]+)?\Z")] = ""
    section: Name = "python"
    maintainer: str = ""
    homepage: str = ""
    depends: dict[str, str] = {}
    overlay: str = ""
    sdist: str = ""
    sha256: Sha256 = ""


class Service(Section, frozen=True, kw_only=True):
    """What runs beside a command: it is started first, waited for until `ready` succeeds, and stopped at the end."""

    command: Argv
    ready: list[str] = []
    timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class CommandSource(Source, frozen=True, kw_only=True, tag="command"):
    """A tree that makes its own .debs: `command` in it, then those that the patterns `debs` match, from the tree's top.

    `twice` builds a second time under another host name, time zone and locale, and reports what differs.
    """

    command: Argv
    debs: Annotated[list[str], Meta(min_length=1)]
    services: list[Service] = []
    twice: bool = True
    lint: bool = False


class HealthCheck(Section, frozen=True, kw_only=True):
    """A command inside the container that ends with 0 while it is healthy; times in seconds."""

    command: Argv
    interval_s: Annotated[int, Meta(ge=1)] = 10
    timeout_s: Annotated[int, Meta(ge=1)] = 5
    start_s: Annotated[int, Meta(ge=0)] = 10
    retries: Annotated[int, Meta(ge=1)] = 3


class Expects(Section, frozen=True, kw_only=True):
    """What a release makes sure of. `size_mb`: the most that the image may have, uncompressed; 0: any. `ports`: exactly
    those it has to announce. `shells`: which it has, and why; `files`: patterns of those that no package owns, and why.
    """

    size_mb: Annotated[int, Meta(ge=0)] = 0
    ports: list[Port] = []
    shells: dict[Name, Reason] = {}
    files: dict[PathPattern, Reason] = {}


class Image(Section, frozen=True, kw_only=True):
    """One image: the .debs installed in it, and either a folder with a Containerfile or the settings that make one.

    `debs` maps a source to those of its packages that go in; the first source gives the image its version. `packages`
    are Debian packages beside those of [base]. `user` is a number or UID:GID; `volumes` are its folders, the first one
    is where it starts. `dated_name` begins the second, dated name; empty: PRODUCT-NAME. `expects` is part of no key.
    `as_process`: the environment that its program needs where it is run as a plain process; {address} and {hostname}
    are its own.
    """

    debs: dict[Name, list[DebianPackage]]
    folder: str = ""
    packages: list[DebianPackage] = []
    dated_name: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9.-]*)?\Z", max_length=64)] = ""
    user: Annotated[str, Meta(pattern=r"^[0-9]+(:[0-9]+)?\Z")] = "65534"
    ports: list[Port] = []
    volumes: list[Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._+-]+)+\Z")]] = []
    environment: dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")], str] = {}
    entrypoint: list[str] = []
    command: list[str] = []
    health: HealthCheck | None = None
    as_process: dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")], str] = {}
    expects: Expects = Expects()

    @property
    def described(self) -> list[str]:
        """The settings that a Containerfile of its own would say."""
        names = ("user", "ports", "volumes", "environment", "entrypoint", "command", "health")
        return [name for name in names if getattr(self, name) != getattr(EMPTY_IMAGE, name)]


class Deploy(Section, frozen=True, kw_only=True):
    """How a grid of several containers is laid out: what `doit deploy` writes for Compose, Swarm and Kubernetes.

    `address` is the name by which workers and clients elsewhere reach the server. Memory is in MiB, disks in GiB.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")] = "grid"
    address: Annotated[str, Meta(pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?\Z", max_length=253)] = ""
    port: Annotated[int, Meta(ge=1, le=65535)] = 4321
    registry: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9.:/_-]*/)?\Z")] = ""
    workers: Annotated[int, Meta(ge=1, le=10000)] = 1
    workers_max: Annotated[int, Meta(ge=1, le=10000)] = 10
    workers_per_node: Annotated[int, Meta(ge=1, le=1000)] = 2
    jobs_per_worker: Annotated[int, Meta(ge=1, le=1000)] = 4
    server_cpus: Annotated[float, Meta(gt=0, le=1024)] = 1.0
    server_memory_mb: Annotated[int, Meta(ge=64)] = 512
    server_disk_gb: Annotated[int, Meta(ge=1)] = 20
    worker_cpus: Annotated[float, Meta(gt=0, le=1024)] = 1.0
    worker_memory_mb: Annotated[int, Meta(ge=64)] = 2048
    worker_disk_gb: Annotated[int, Meta(ge=1)] = 10
    monitoring_namespace: Name = "monitoring"


EMPTY_IMAGE = Image(debs={})
AnySource = DebianSource | StdebSource | CommandSource
BUILDERS: tuple[type[Source], ...] = (DebianSource, StdebSource, CommandSource)
# What the stdeb builder itself runs in the chroot.
STDEB_PACKAGES = (
    "debhelper",
    "dh-python",
    "pybuild-plugin-pyproject",
    "python3-all",
    "python3-setuptools",
    "python3-stdeb",
)


def own_packages(source: Source) -> list[str]:
    """The packages that a source's chroot must have by its settings alone."""
    return sorted({*(STDEB_PACKAGES if source.builder == "stdeb" else ()), *source.build_packages})
