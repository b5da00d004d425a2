"""docker, podman and plain processes behind one Protocol; all are driven through the docker SDK.

docker: a daemon that answers ─────────────────────────────┐
podman: no daemon; its own service on a private socket ────┼──> address for the SDK, valid inside `with`
process: no container at all; process_engine/ ─────────────┘
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from xwhep_packaging import command, powers
from xwhep_packaging.command import Command
from xwhep_packaging.errors import EngineError
from xwhep_packaging.settings import Settings
from xwhep_packaging.temporary import temporary_folder

DOCKER_SOCKET = "/var/run/docker.sock"
IMAGES_TRIED = 3
SERVICE_START_S = 15.0
PROCESS_SERVICE = "xwhep_packaging.process_engine.service"
PROCESS_GRACE_S = 20.0
# What tests may need of a container and a plain process has not: they name it by the marker `needs`.
PROCESS_LACKS = ("network", "mounts", "proc")
PROCESS_WEAKER = (
    "the network test ran the images' programs as plain processes of one machine: no namespaces of their own",
)
LOCAL = "localhost/"  # what podman and buildah put before a name without a registry
# Above this runc fails with EPERM on machines that withhold CAP_SYS_RESOURCE, whatever the hard limit says (measured).
SAFE_PROCESS_LIMIT = 32768


class Engine(Protocol):
    """What the stages need of an engine."""

    @property
    def name(self) -> str: ...

    @property
    def lacks(self) -> tuple[str, ...]:
        """What a container of its has not, by the words of the marker `needs`."""

    @property
    def weaker(self) -> tuple[str, ...]:
        """What is to be said of a verdict that it gave; empty at full strength."""

    def has_image(self, digest: str, tags: tuple[str, ...] = ()) -> bool:
        """Whether the image is there, and each of the names is its and no other's."""

    def take(self, digest: str, tags: tuple[str, ...], log: Path) -> None:
        """Make a baked image known to the engine under `tags`."""

    def check_health(self, address: str, container: str) -> None:
        """Have the health check of a container made now, where the engine makes none by itself."""

    def serving(self, log: Path) -> AbstractContextManager[str]:
        """An address that the docker SDK can talk to, for as long as the block lasts."""


class Service(Protocol):
    """A program that was started, and may have ended."""

    def poll(self) -> int | None: ...


def choose(settings: Settings, memory: Path) -> Engine:
    """The engine that the settings name; `auto`: docker when a daemon answers, else podman, else plain processes.

    `memory` is a folder for what is found out about this machine.

    Raises:
        EngineError: docker is forced and no daemon answers.
    """
    docker = DockerEngine(address=settings.docker_host or f"unix://{DOCKER_SOCKET}")
    if settings.engine.kind == "podman":
        return PodmanEngine(memory=memory)
    if settings.engine.kind == "process":
        return process_engine(settings)
    if docker.answers():
        return docker
    if settings.engine.kind == "docker":
        raise EngineError(
            f"no docker daemon answers at {docker.address}",
            next_step="start it, set DOCKER_HOST, or use podman, which needs no daemon: XWHEP_ENGINE=podman",
        )
    here = powers.found()
    return process_engine(settings) if here.chroot and not here.containers else PodmanEngine(memory=memory)


def _get(address: str, path: str) -> int | None:
    """The status of GET `path`, or None when nothing answers."""
    return _ask(address, path)[0]


def _ask(address: str, path: str) -> tuple[int | None, bytes]:
    """Status and body of GET `path`."""
    scheme, _, place = address.partition("://")
    if scheme == "unix" and not Path(place).exists():
        return None, b""
    from xwhep_packaging import engine_http

    return engine_http.get(scheme, place, path)


class DockerEngine(msgspec.Struct, frozen=True, kw_only=True):
    """A docker daemon, by its address."""

    address: str
    name: str = "docker"
    lacks: tuple[str, ...] = ()
    weaker: tuple[str, ...] = ()

    def answers(self) -> bool:
        return _get(self.address, "/_ping") == 200

    def has_image(self, digest: str, tags: tuple[str, ...] = ()) -> bool:
        return all(self._id_of(name) == digest for name in (digest, *tags))

    def _id_of(self, name: str) -> str:
        status, body = _ask(self.address, f"/images/{name}/json")
        return str(json.loads(body)["Id"]) if status == 200 else ""

    def take(self, digest: str, tags: tuple[str, ...], log: Path) -> None:
        """By an archive: buildah's own way into a daemon broke off with "read/write on closed pipe" (docker 20.10)."""
        import docker  # 0.2 s, paid only when an image is handed over
        import docker.errors

        with temporary_folder("image") as folder:
            archive = folder / "image.tar"
            argv = ["buildah", "push", digest, f"docker-archive:{archive}"]
            command.run(Command(argv=argv, log=log, error=EngineError, next_step="check the disk"))
            try:
                with (
                    contextlib.closing(docker.DockerClient(base_url=self.address)) as client,
                    archive.open("rb") as stream,
                ):
                    client.images.load(stream)
                    for tag in tags:
                        client.images.get(digest).tag(*tag.rsplit(":", 1))
            except (docker.errors.DockerException, OSError) as exc:
                raise EngineError(
                    f"docker does not take image {tags[0]}", cause=str(exc), next_step="check the daemon's disk and log"
                ) from exc

    def check_health(self, address: str, container: str) -> None:
        """Nothing to do: the daemon makes them in time."""

    @contextmanager
    def serving(self, log: Path) -> Iterator[str]:
        yield self.address


class PodmanEngine(msgspec.Struct, frozen=True, kw_only=True):
    """podman without a daemon: images lie in the storage that buildah bakes into."""

    memory: Path
    name: str = "podman"
    lacks: tuple[str, ...] = ()
    weaker: tuple[str, ...] = ()

    def has_image(self, digest: str, tags: tuple[str, ...] = ()) -> bool:
        names = stored_names().get(digest.removeprefix("sha256:"))
        return names is not None and {f"{LOCAL}{tag}" for tag in tags} <= names

    def take(self, digest: str, tags: tuple[str, ...], log: Path) -> None:
        """Nothing to do: buildah's storage is podman's."""

    def check_health(self, address: str, container: str) -> None:
        _get(address, f"/v4.0.0/libpod/containers/{container}/healthcheck")

    @contextmanager
    def serving(self, log: Path) -> Iterator[str]:
        """podman's own service on a private socket, with the settings that this machine was found to need."""
        configuration = self.configuration(log)
        with temporary_folder("podman") as folder:
            path = folder / "podman.sock"
            address = f"unix://{path}"
            argv = ["podman", "system", "service", "--time=0", address]
            environment = {"CONTAINERS_CONF": str(configuration)} if configuration else {}
            with command.background(Command(argv=argv, env=environment, log=log)) as service:
                _wait_for(address, service, "podman's service", log)
                yield address

    def configuration(self, log: Path) -> Path | None:
        """A containers.conf under which a container starts here; None when podman's own defaults do.

        Found by trying, weakest change first; the answer is remembered until the kernel or podman changes.
        """
        memory = self.memory / "podman.json"
        here = f"{os.uname().release} {command.run(Command(argv=['podman', '--version'])).stdout.strip()}"
        candidates = configurations()
        known = _remembered(memory, here)
        order = sorted(candidates, key=lambda name: name != known)
        for name in order:
            path = self.memory / f"{name}.conf"
            _replace(path, candidates[name])
            if _container_starts(path, log):
                _replace(memory, json.dumps({"machine": here, "works": name}))
                return path
        raise EngineError(
            "podman cannot start a container here",
            cause=f"tried the settings {', '.join(order)}",
            next_step="read the log; or start a docker daemon",
            log=log,
        )


class ProcessEngine(msgspec.Struct, frozen=True, kw_only=True):
    """No containers: programs of images as processes in unpacked root file systems, each on its own loopback address.

    `given`: by the name that begins an image's tag, the environment that its program needs where it shares a machine.
    """

    given: Mapping[str, Mapping[str, str]]
    name: str = "process"
    lacks: tuple[str, ...] = PROCESS_LACKS

    @property
    def weaker(self) -> tuple[str, ...]:
        rows = [(image, f"{name}={value}") for image, own in self.given.items() for name, value in own.items()]
        return (*PROCESS_WEAKER, *(f"the network test gave {image} {setting}" for image, setting in rows))

    def has_image(self, digest: str, tags: tuple[str, ...] = ()) -> bool:
        names = stored_names().get(digest.removeprefix("sha256:"))
        return names is not None and {f"{LOCAL}{tag}" for tag in tags} <= names

    def take(self, digest: str, tags: tuple[str, ...], log: Path) -> None:
        """Nothing to do: roots are unpacked from buildah's storage."""

    def check_health(self, address: str, container: str) -> None:
        """Nobody asks for it: a process has no health but that it runs."""

    @contextmanager
    def serving(self, log: Path) -> Iterator[str]:
        with temporary_folder("process") as folder:
            socket = folder / "engine.sock"
            given = json.dumps(self.given)
            argv = [sys.executable, "-s", "-m", PROCESS_SERVICE, str(socket), str(folder), given]
            environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
            with command.background(Command(argv=argv, env=environment, log=log, grace_s=PROCESS_GRACE_S)) as service:
                _wait_for(f"unix://{socket}", service, "the engine `process`", log)
                yield f"unix://{socket}"


def process_engine(settings: Settings) -> ProcessEngine:
    """The one that needs root and nothing else.

    Raises:
        EngineError: this user may not enter another root file system.
    """
    if not powers.found().chroot:
        raise EngineError(
            "no container starts here, and this user may not enter an unpacked root file system either",
            cause="neither a docker daemon, nor namespaces, nor chroot(2) is there",
            next_step="be root in the container, or use a machine with rootless podman; see scripts/doit doctor",
        )
    product = settings.product.name
    return ProcessEngine(given={f"{product}-{name}": image.as_process for name, image in settings.images.items()})


def _wait_for(address: str, service: Service, what: str, log: Path) -> None:
    """Until a service answers.

    Raises:
        EngineError: it does not.
    """
    deadline = time.monotonic() + SERVICE_START_S
    while _get(address, "/_ping") != 200:
        if service.poll() is not None or time.monotonic() > deadline:
            raise EngineError(f"{what} does not start", next_step="read the log", log=log)
        time.sleep(0.02)


def _replace(path: Path, text: str) -> None:
    """Write by rename: another run may be reading the file now."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as exc:
        raise EngineError(f"cannot write {path}", cause=str(exc), next_step="free disk space") from exc


def _remembered(memory: Path, here: str) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        answer = json.loads(memory.read_bytes())
        if answer["machine"] == here:
            return str(answer["works"])
    return ""


def configurations() -> dict[str, str]:
    """Contents of containers.conf to try, by name: what a usual host wants, then what restricted ones need."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = min(limit for limit in (resource.getrlimit(resource.RLIMIT_NPROC)[1], SAFE_PROCESS_LIMIT) if limit > 0)
    limits = f'default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
    common = 'events_logger = "file"\n'
    plain = f"[containers]\n[engine]\n{common}"
    limited = f"[containers]\n{limits}[engine]\n{common}"
    cgroupfs = f'{limited}cgroup_manager = "cgroupfs"\n'
    return {"plain": plain, "limited": limited, "cgroupfs": cgroupfs, "runc": f'{cgroupfs}runtime = "runc"\n'}


def _container_starts(configuration: Path, log: Path) -> bool:
    """Whether a container starts under this configuration: of the newest image, or of one shortly before it, since
    another run may be about to remove the newest, and an image without /bin/true says nothing."""
    images = stored_images()[-IMAGES_TRIED:]
    if not images:
        raise EngineError("podman has no image to try", next_step="scripts/doit images")
    argv = ["podman", "run", "--rm", "--network=none", "--image-volume=ignore", "--entrypoint=/bin/true"]
    tried = [
        Command(argv=[*argv, image], env={"CONTAINERS_CONF": str(configuration)}, log=log, timeout_s=60)
        for image in reversed(images)
    ]
    return any(command.run(one, check=False).returncode == 0 for one in tried)


class _Stored(msgspec.Struct, frozen=True):
    """What is read of an image in the storage's list, which holds much more."""

    id: str
    names: list[str] | None = None


def stored_images() -> list[str]:
    """Ids of the images in buildah's and podman's storage, the newest last."""
    return list(stored_names())


def stored_names() -> dict[str, set[str]]:
    """Id and full names of each image in that storage, read from its own list: `podman images` takes 100 ms."""
    found: dict[str, set[str]] = {}
    for listing in sorted(storage_root().glob("*-images/images.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            entries = msgspec.json.decode(listing.read_bytes(), type=list[_Stored])
            found |= {entry.id: set(entry.names or ()) for entry in entries}
    return found


def is_stored(digest: str, names: Iterable[str]) -> bool:
    """Whether that storage has an image, and under each of these full names."""
    known = stored_names().get(digest.removeprefix("sha256:"))
    return known is not None and {*names} <= known


def storage_root() -> Path:
    """Where containers' storage lies by default: root's, or the user's own."""
    if os.geteuid() == 0 and not powers.storage_environment():
        return Path("/var/lib/containers/storage")
    return Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local/share"))) / "containers/storage"
