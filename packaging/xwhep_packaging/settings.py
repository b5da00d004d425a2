"""pipeline.toml and the environment as one frozen Settings; the only reader of either.

Precedence, strongest first:
    1. the command line      doit build set='engine.kind=podman' (pipeline=path/to/other.toml names another file)
    2. the environment       XWHEP_SET='engine.kind=podman'; below it the short names: XWHEP_ENGINE=podman
    3. the pipeline file     packaging/pipeline.toml
    4. the defaults below
"""

from __future__ import annotations

import copy
import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from xwhep_packaging import overrides
from xwhep_packaging.definitions import (
    BUILDERS,
    AnySource,
    DebianPackage,
    Deploy,
    Expects,
    HealthCheck,
    Image,
    Name,
    PathPattern,
    Section,
    Service,
    StdebSource,
    Surroundings,
)
from xwhep_packaging.errors import SettingsError

MAIN_FILE = "packaging/pipeline.toml"
MAIN_STORE = "_build"
DEPLOYMENTS = "deployments"
VALUES_FILE = "packaging/xwconfigure.values"

SET = "XWHEP_SET"  # any setting: overrides.py
# Environment variable -> the setting it overrides.
OVERRIDES = {
    "XWHEP_ENGINE": ("engine", "kind"),
    "XWHEP_STORE": ("store", "folder"),
    "XWHEP_MIRROR": ("suite", "mirror"),
    "XWHEP_SECURITY_MIRROR": ("suite", "security_mirror"),
    "XWHEP_CACHE": ("cache", "folder"),
    "XWHEP_LOCKED": ("lock", "enforced"),
    "XWHEP_SNAPSHOT": ("lock", "snapshot"),
    "XWHEP_DEPLOYMENT": ("deployment", "name"),
}

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
SWITCHES = frozenset({"XWHEP_LOCKED"})  # of the above, those that are true or false


class Product(Section, frozen=True, kw_only=True):
    """What is built. `name` begins the image names; `maintainer` signs packages that have none of their own."""

    name: Name
    maintainer: str = "xwhep maintainers <maintainers@xwhep.invalid>"


class Store(Section, frozen=True, kw_only=True):
    """Where everything made is kept, relative to the pipeline file's repository. Empty: _build for that repository's
    packaging/pipeline.toml, _build/products/NAME for any other."""

    folder: str = ""
    keep_days: float = 30


class Suite(Section, frozen=True, kw_only=True):
    """The Debian suite. Empty mirrors: those of the machine's own apt configuration; an empty keyring: Debian's."""

    name: Name = "trixie"
    architecture: Name = "amd64"
    components: tuple[Name, ...] = ("main",)
    mirror: str = ""
    security_mirror: str = ""
    keyring: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._+@-]+)*\Z")] = ""


class Lock(Section, frozen=True, kw_only=True):
    """The exact packages. `file` is relative to the pipeline file's folder (empty: lock/SUITE-ARCHITECTURE.toml);
    `snapshot` is the address of an archive that keeps old versions; `enforced`: nothing but what is locked will do."""

    file: str = ""
    snapshot: str = ""
    enforced: bool = False


class Cache(Section, frozen=True, kw_only=True):
    """Where fetched packages are kept, for all builds of this user. Empty: xwhep below the user's own cache folder."""

    folder: str = ""


class Engine(Section, frozen=True, kw_only=True):
    """What runs containers. auto: docker when a daemon answers, else podman; where neither can start a container,
    process: the images' programs as plain processes, which is weaker."""

    kind: Literal["auto", "docker", "podman", "process"] = "auto"


class RootFs(Section, frozen=True, kw_only=True):
    """A root file system: its packages, and what of them is not wanted in it.

    `exclude` and `include` are dpkg's path patterns, obeyed while unpacking; `remove` are shell patterns for what their
    packages need while they are configured, and nobody later.
    """

    packages: list[DebianPackage]
    exclude: list[PathPattern] = []
    include: list[PathPattern] = []
    remove: list[PathPattern] = []


class NetworkTest(Section, frozen=True, kw_only=True):
    """The folder of pytest files that link the containers.

    Tests that carry the marker `endurance` are left out of every build's verdict and run in a step of their own; those
    that carry the marker `beside` run in a process of their own, at the same time as the others. Folders `apart` in it
    hold tests that are nobody's verdict: they are neither run nor part of a key.
    """

    folder: str = "tests/network"
    endurance: Annotated[str, Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?\Z")] = ""
    beside: Annotated[str, Meta(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?\Z")] = ""
    apart: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*\Z")], ...] = ()
    timeout_s: Annotated[int, Meta(ge=1)] = 600


class Deployment(Section, frozen=True, kw_only=True):
    """Which folder of deployments/ images and packages are bound to. Empty: the only one there, if there is one."""

    name: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9-]{0,39})?\Z")] = ""


class Release(Section, frozen=True, kw_only=True):
    """`key`: fingerprint of a secret key in gpg's keyring; empty: one of this store alone. `keys`: others that releases
    may have; neither: any. `url`: where the folder of releases is published, without a slash at its end; empty: not
    known. `vulnerabilities`: a database of them."""

    key: Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{40})?$")] = ""
    keys: list[Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{40}$")]] = []
    url: Annotated[str, Meta(pattern=r"^(https?://\S*[^/\s])?$")] = ""
    vulnerabilities: str = ""


class Settings(Section, frozen=True, kw_only=True):
    """Everything that is decided by configuration. `root` and `file` say where it was read."""

    product: Product
    chroot: RootFs
    base: RootFs
    sources: dict[Name, AnySource]
    images: dict[Name, Image]
    suite: Suite = Suite()
    lock: Lock = Lock()
    cache: Cache = Cache()
    engine: Engine = Engine()
    store: Store = Store()
    network_test: NetworkTest = NetworkTest()
    deploy: Deploy = Deploy()
    deployment: Deployment = Deployment()
    release: Release = Release()
    surroundings: Surroundings = Surroundings()
    root: str = "."
    file: str = ""

    @property
    def root_folder(self) -> Path:
        return Path(self.root)

    @property
    def store_folder(self) -> Path:
        if self.store.folder:
            return self.root_folder / self.store.folder
        main = Path(self.file).absolute() == self.root_folder / MAIN_FILE
        return self.root_folder / (MAIN_STORE if main else f"{MAIN_STORE}/products/{self.product.name}")

    def dated_name(self, image: str) -> str:
        """What an image's second name, which ends with its time, begins with."""
        return self.images[image].dated_name or f"{self.product.name}-{image}"

    @property
    def deployments_folder(self) -> Path:
        return self.root_folder / DEPLOYMENTS

    @property
    def lock_path(self) -> Path:
        name = self.lock.file or f"lock/{self.suite.name}-{self.suite.architecture}.toml"
        return Path(self.file).absolute().parent / name

    @property
    def cache_folder(self) -> Path:
        if self.cache.folder:
            return self.root_folder / Path(self.cache.folder).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xwhep"

    @property
    def docker_host(self) -> str:
        """Where a docker daemon listens, when the user says so; empty: the usual socket."""
        return os.environ.get("DOCKER_HOST", "")


def load(file: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read, override and check everything before anything is done.

    Raises:
        SettingsError: the file cannot be read or parsed, a key is unknown, a value has the wrong type or form.
    """
    given = (os.environ if environ is None else environ).get(SET, "")
    table = _read(file)
    for variable, (section, key) in OVERRIDES.items():
        value = (os.environ if environ is None else environ).get(variable)
        if value:
            _override(table, section, key, value.lower() in TRUE_WORDS if variable in SWITCHES else value)
    if given:
        _converted(file, str(file), copy.deepcopy(table))  # so that the error below names who is to blame
        overrides.apply(table, given, SET)
    settings = _converted(file, f"{SET} on {file}" if given else str(file), table)
    _check_references(file, settings)
    return settings


def give(text: str) -> None:
    """Have settings of this run's command line override all others, in pipelines that this one starts, too."""
    os.environ[SET] = f"{os.environ.get(SET, '')}{overrides.SEPARATOR}{text}"


def _converted(file: Path, origin: str, table: dict[str, Any]) -> Settings:
    for key in ("root", "file"):
        if key in table:
            raise SettingsError(f"{origin}: {key!r} is no setting", next_step="remove it")
    table |= {"root": str(repository_of(file)), "file": str(file)}
    try:
        return msgspec.convert(table, Settings)
    except msgspec.ValidationError as exc:
        raise _explained(origin, str(exc), table) from exc


def passed_on(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of the caller that change what a pipeline does, for one that is started from this one."""
    known = os.environ if environ is None else environ
    return {name: known[name] for name in (*OVERRIDES, SET, "DOCKER_HOST") if name in known}


def repository_of(file: Path) -> Path:
    """The folder that relative paths in `file` start from: the nearest above it that holds .git, else its own."""
    parents = file.absolute().parents
    return next((folder for folder in parents if (folder / ".git").exists()), parents[0])


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(
            f"cannot read {file}",
            cause=exc.strerror or str(exc),
            next_step="scripts/doit build pipeline=PATH/TO/pipeline.toml",
        ) from exc
    except (ValueError, RecursionError) as exc:  # ValueError: no TOML, no UTF-8, a number of 5000 digits
        raise SettingsError(f"{file} is not TOML", cause=str(exc), next_step="mend the named line") from exc


def _override(table: dict[str, Any], section: str, key: str, value: str | bool) -> None:
    inner = table.setdefault(section, {})
    if isinstance(inner, dict):
        inner[key] = value


def _explained(file: str, message: str, table: dict[str, Any]) -> SettingsError:
    found = re.search(r"unknown field `(.*?)`(?: - at `\$\.?(.*?)`)?$", message)
    if not found:
        hint = f"builder is one of {', '.join(_builder_keys())}" if "builder" in message else ""
        place = message.replace("`$.", "`")
        return SettingsError(f"{file}: {place}", next_step=hint or "docs/settings.md lists every setting")
    key, place = found.group(1), _named(found.group(2) or "", found.group(1), table)
    where = f"[{place}] " if place else ""
    return SettingsError(f"{file}: {where}has no setting {key!r}", next_step=_suggestion(key, place))


def _named(place: str, key: str, table: dict[str, Any]) -> str:
    """msgspec calls a member of a table of tables `sources[...]`; the one that holds the key is meant."""
    section, dots, rest = place.partition("[...]")
    inner = table.get(section)
    if not dots or not isinstance(inner, dict):
        return place
    holders = [name for name, value in inner.items() if isinstance(value, dict) and (rest or key in value)]
    return f"{section}.{holders[0]}{rest}" if holders else place


def _builder_keys() -> dict[str, set[str]]:
    """The settings that only some builders have, by builder."""
    fields = {str(form.__struct_config__.tag): set(form.__struct_fields__) for form in BUILDERS}
    common = set.intersection(*fields.values())
    return {builder: names - common for builder, names in fields.items()}


def _suggestion(key: str, place: str) -> str:
    owners = [builder for builder, names in _builder_keys().items() if key in names]
    if place.startswith("sources.") and owners:
        return f"it belongs to builder = {' or '.join(repr(owner) for owner in owners)}"
    near = difflib.get_close_matches(key, sorted(_known_keys()), n=1)
    return f"did you mean {near[0]!r}?" if near else "docs/settings.md lists every setting"


def _known_keys() -> set[str]:
    sections: tuple[type[Section], ...] = (
        Settings,
        Product,
        Store,
        Suite,
        Lock,
        Cache,
        Engine,
        RootFs,
        *BUILDERS,
        Service,
        Image,
        HealthCheck,
        Expects,
        NetworkTest,
        Deploy,
        Deployment,
        Release,
        Surroundings,
    )
    return {"builder", *(name for section in sections for name in section.__struct_fields__)} - {"root", "file"}


def _check_references(file: Path, settings: Settings) -> None:
    if settings.deploy.workers > settings.deploy.workers_max:
        raise SettingsError(
            f"{file}: [deploy] workers is larger than workers_max",
            next_step="workers_max is the most that the queue may call for",
        )
    if not settings.sources or not settings.images:
        raise SettingsError(f"{file}: needs at least one [sources.NAME] and one [images.NAME]")
    for name, source in settings.sources.items():
        if isinstance(source, StdebSource):
            _check_sdist(file, name, source)
    for name, image in settings.images.items():
        _check_sources(file, settings, name, image)
        _check_containerfile(file, settings, name, image)


def _check_containerfile(file: Path, settings: Settings, name: str, image: Image) -> None:
    """A folder with a Containerfile, or settings that make one; both at once would contradict each other."""
    if image.folder and image.described:
        raise SettingsError(
            f"{file}: [images.{name}] has both a folder and {', '.join(image.described)}",
            next_step="say them in the folder's Containerfile, or remove `folder`",
        )
    if not image.folder:
        if not image.entrypoint and not image.command:
            raise SettingsError(
                f"{file}: [images.{name}] says neither folder nor entrypoint",
                next_step="name a folder with a Containerfile, or describe the image: entrypoint, user, ports ...",
            )
        return
    folder = settings.root_folder / image.folder
    if not os.path.isfile(folder / "Containerfile"):  # noqa: PTH113 - pathlib's raises where a name is too long
        raise SettingsError(
            f"{file}: [images.{name}] folder {image.folder!r} holds no Containerfile",
            next_step="correct the folder, or write the Containerfile",
        )


def _check_sources(file: Path, settings: Settings, name: str, image: Image) -> None:
    if not image.debs:
        raise SettingsError(f"{file}: [images.{name}] debs is empty", next_step="name a source and its packages")
    for source in image.debs:
        if source not in settings.sources:
            near = difflib.get_close_matches(source, settings.sources, n=1)
            raise SettingsError(
                f"{file}: [images.{name}] takes packages of {source!r}, which is no source",
                next_step=f"did you mean {near[0]!r}?" if near else f"add [sources.{source}]",
            )


def _check_sdist(file: Path, name: str, source: StdebSource) -> None:
    if bool(source.sdist) == bool(source.sha256):
        return
    raise SettingsError(
        f"{file}: [sources.{name}] has {'sdist' if source.sdist else 'sha256'} alone; they go together",
        next_step="sha256sum FILE gives the hash of an sdist that you trust",
    )
