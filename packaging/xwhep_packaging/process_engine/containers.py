"""Containers, networks and volumes as the docker SDK knows them, made of folders, addresses and processes.

A network is a /24 of the loopback, a container has one address in it; names are written in each container's /etc/hosts.
A volume lies in the root of the one container that has it, and outlives it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xwhep_packaging.command import DEBIAN_PATH
from xwhep_packaging.process_engine import running
from xwhep_packaging.process_engine.images import Images
from xwhep_packaging.process_engine.running import Output, Place, Program

FIRST_HOST = 2
STOP_GRACE_S = 10


class Refused(Exception):
    """An answer with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(kw_only=True)
class Network:
    id: str
    name: str
    prefix: str  # "127.7.1"
    labels: dict[str, str]
    used: set[str] = field(default_factory=set)

    def take(self, wanted: str) -> str:
        """An address, the wanted one if there is one."""
        free = (f"{self.prefix}.{host}" for host in range(FIRST_HOST, 255))
        address = wanted or next(one for one in free if one not in self.used)
        if address in self.used or not address.startswith(f"{self.prefix}."):
            raise Refused(400, f"the address {address} is not free in {self.name}")
        self.used.add(address)
        return address

    def shown(self) -> dict[str, Any]:
        ranges = [{"Subnet": f"{self.prefix}.0/24"}]
        return {
            "Id": self.id,
            "Name": self.name,
            "Driver": "loopback",
            "Labels": self.labels,
            "IPAM": {"Config": ranges},
        }


@dataclass(kw_only=True)
class Volume:
    name: str
    folder: Path
    labels: dict[str, str]
    owner: str = ""  # the container that has it

    def shown(self) -> dict[str, Any]:
        return {"Name": self.name, "Driver": "local", "Labels": self.labels, "Mountpoint": str(self.folder)}


@dataclass(kw_only=True)
class Execution:
    """A further program in a container."""

    box: Box
    body: dict[str, Any]
    exit_code: int | None = None

    def start(self) -> tuple[Program, Output]:
        place = self.box.place(self.body.get("Env") or (), self.body.get("User") or "", self.body.get("WorkingDir"))
        output = Output()
        return self.box.further(
            lambda: Program(place, self.body["Cmd"], output, tty=bool(self.body.get("Tty")))
        ), output


@dataclass(kw_only=True)
class Box:
    """A container."""

    id: str
    name: str
    body: dict[str, Any]
    image: dict[str, Any]
    root: Path
    mark: int
    network: Network | None
    address: str
    given: Mapping[str, str]  # the environment of [images.NAME] as_process
    volumes: dict[str, Volume] = field(default_factory=dict)  # path in the root -> volume
    output: Output = field(default_factory=Output)
    program: Program | None = None
    others: list[Program] = field(default_factory=list)  # what was started in it later
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_ending: bool = False
    exit_code: int = 0
    started_at: str = ""
    finished_at: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def hostname(self) -> str:
        return str(self.body.get("Hostname") or self.id[:12])

    @property
    def tty(self) -> bool:
        return bool(self.body.get("Tty"))

    @property
    def is_running(self) -> bool:
        return self.program is not None and not self.ended.is_set()

    def place(self, more: Any = (), user: str = "", folder: str | None = None) -> Place:
        """Where its programs run. What the caller says goes before what the settings say, and that before the image."""
        names = {"address": self.address or "127.0.0.1", "hostname": self.hostname}
        given = {name: value.format_map(names) for name, value in self.given.items()}
        ids = self._ids(user or self.body.get("User") or self.image.get("User") or "0")
        said = dict(row.split("=", 1) for row in (self.image.get("Env") or ()))
        own = dict(row.split("=", 1) for row in [*(self.body.get("Env") or ()), *more] if "=" in row)
        # tini looks after what loses its parent, though it is not the first process here.
        base = {"PATH": DEBIAN_PATH, "HOSTNAME": self.hostname, "HOME": "/", "TINI_SUBREAPER": ""}
        return Place(
            root=self.root,
            user=ids,
            mark=self.mark,
            folder=folder or self.body.get("WorkingDir") or self.image.get("WorkingDir") or "/",
            environment={**base, **said, **given, **own},
        )

    def _ids(self, user: str) -> tuple[int, int]:
        name, _, group = user.partition(":")
        if not name.isdigit():
            rows = [row.split(":") for row in (self.root / "etc" / "passwd").read_text().splitlines()]
            name, group = next(((row[2], group or row[3]) for row in rows if row[0] == name), ("65534", "65534"))
        return int(name), int(group or name)

    def start(self) -> None:
        if self.is_running:
            return
        entry = self.body.get("Entrypoint")
        entrypoint = self.image.get("Entrypoint") or [] if entry is None else entry
        asked = self.body.get("Cmd") or ([] if entry is not None else self.image.get("Cmd") or [])
        self.ended.clear()
        self.is_ending = False
        self.started_at, self.output.ended = now(), False
        program = self.program = Program(self.place(), [*entrypoint, *asked], self.output, tty=self.tty)
        threading.Thread(target=self._watch, args=(program,), daemon=True).start()

    def _watch(self, program: Program) -> None:
        """When the first process ends, all others do."""
        code = program.process.wait()
        self.finished_at = now()
        with self.lock:
            self.is_ending = True
        self._kill_all()
        program.wait()
        self.exit_code = 128 - code if code < 0 else code
        self.ended.set()

    def further(self, begin: Callable[[], Program]) -> Program:
        """One more program in it, which ends with it, even when the end comes between the two."""
        with self.lock:
            program = begin()
            self.others = [one for one in self.others if one.process.poll() is None] + [program]
            if self.is_ending:
                program.process.kill()
        return program

    def _kill_all(self) -> None:
        """By their numbers too: a process that is only just being started has no mark yet."""
        with self.lock:
            for program in (self.program, *self.others):
                if program is not None:
                    program.process.kill()
        running.kill_marked(self.mark)

    def end(self) -> None:
        """At once."""
        if self.is_running:
            self._kill_all()
            self.ended.wait()

    def kill(self, name: str) -> None:
        if not self.is_running or self.program is None:
            raise Refused(409, f"{self.name} is not running")
        number = int(name) if name.isdigit() else signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        if number == signal.SIGKILL:
            self._kill_all()
        else:
            self.program.process.send_signal(number)

    def stop(self, grace_s: float) -> None:
        if not self.is_running:
            return
        self.kill(str(self.body.get("StopSignal") or self.image.get("StopSignal") or "SIGTERM"))
        if not self.ended.wait(grace_s):
            self.end()

    def shown(self) -> dict[str, Any]:
        """As `docker inspect` shows it."""
        network, status = self.network, "running" if self.is_running else "exited" if self.finished_at else "created"
        address = {"NetworkID": network.id, "IPAddress": self.address} if network else {}
        keys = ("Healthcheck", "Env", "Entrypoint", "Cmd", "User", "StopSignal", "WorkingDir")
        config = {
            **{key: self.image.get(key) for key in keys},
            **{k: v for k, v in self.body.items() if k in keys and v},
        }
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": self.started_at,
            "Image": self.image["Id"],
            "State": {
                "Status": status,
                "Running": self.is_running,
                "Pid": self.program.process.pid if self.program and self.is_running else 0,
                "ExitCode": self.exit_code,
                "StartedAt": self.started_at,
                "FinishedAt": self.finished_at,
            },
            "Config": {**config, "Hostname": self.hostname, "Tty": self.tty, "Labels": self.body.get("Labels") or {}},
            "NetworkSettings": {"Networks": {network.name: address} if network else {}},
        }


@dataclass(kw_only=True)
class Host:
    """All that one engine has. `given`: name of an image -> the environment that its programs get as processes."""

    folder: Path
    images: Images
    given: Mapping[str, Mapping[str, str]]
    boxes: dict[str, Box] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    made: int = 0  # boxes so far

    def box(self, name: str) -> Box:
        found = self.boxes.get(name) or next((box for box in self.boxes.values() if box.name == name), None)
        if found is None:
            raise Refused(404, f"No such container: {name}")
        return found

    def network(self, name: str) -> Network:
        found = self.networks.get(name) or next((one for one in self.networks.values() if one.name == name), None)
        if found is None:
            raise Refused(404, f"network {name} not found")
        return found

    def add_network(self, body: dict[str, Any]) -> Network:
        """Addresses that other engines on this machine do not use: by the process id, then by number."""
        wanted = [row.get("Subnet", "") for row in (body.get("IPAM") or {}).get("Config") or ()]
        used = {network.prefix for network in self.networks.values()}
        free = (f"127.{1 + os.getpid() % 254}.{number}" for number in range(1, 255))
        prefix = wanted[0].rpartition(".")[0] if wanted and wanted[0] else next(one for one in free if one not in used)
        if prefix in used or not prefix.startswith("127."):
            raise Refused(400, f"the range {wanted[0] if wanted else prefix} is not free on the loopback")
        made = Network(id=secrets.token_hex(32), name=body["Name"], prefix=prefix, labels=body.get("Labels") or {})
        self.networks[made.id] = made
        return made

    def add_volume(self, body: dict[str, Any]) -> Volume:
        name = body.get("Name") or secrets.token_hex(16)
        if name not in self.volumes:
            folder = self.folder / "volumes" / name
            self.volumes[name] = Volume(name=name, folder=folder, labels=body.get("Labels") or {})
        return self.volumes[name]

    def create(self, name: str, body: dict[str, Any]) -> Box:
        image = self.images.config(body["Image"])
        host = body.get("HostConfig") or {}
        ends = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        asked = next(iter(ends), "") or host.get("NetworkMode") or ""
        network = self.network(asked) if asked and asked not in ("default", "none", "host", "bridge") else None
        end = (ends.get(asked) or {}) if network else {}
        identity = secrets.token_hex(32)
        root = self.folder / "roots" / identity
        root.parent.mkdir(parents=True, exist_ok=True)
        self.images.root(body["Image"], root)
        with self.lock:
            self.made += 1
            box = Box(
                id=identity,
                name=name or identity[:12],
                body=body,
                image=image,
                root=root,
                mark=running.mark_of(os.getpid(), self.made),
                network=network,
                address=network.take((end.get("IPAMConfig") or {}).get("IPv4Address") or "") if network else "",
                given=next((self.given[name] for name in self.images.names(image["Id"]) if name in self.given), {}),
            )
            for bind in host.get("Binds") or ():
                self._lend(box, *bind.split(":")[:2])
            self.boxes[identity] = box
            self._write_hosts()
        return box

    def _lend(self, box: Box, name: str, path: str) -> None:
        volume, place = self.add_volume({"Name": name}), box.root / path.lstrip("/")
        if volume.owner or name.startswith("/"):
            raise Refused(501, f"{name} cannot be shared: this engine has no mounts")
        if volume.folder.exists():
            shutil.rmtree(place, ignore_errors=True)
            shutil.move(volume.folder, place)
        volume.owner, box.volumes[path] = box.id, volume

    def _write_hosts(self) -> None:
        """Containers of one network know one another by name."""
        for box in self.boxes.values():
            same = [other for other in self.boxes.values() if other.network is box.network and other.address]
            rows = [f"{other.address} {other.hostname} {other.name} {other.id[:12]}" for other in same]
            fresh = box.root / "etc" / ".hosts.new"
            fresh.write_text("\n".join(["127.0.0.1 localhost", *rows, ""]))
            fresh.replace(box.root / "etc" / "hosts")

    def remove(self, box: Box, *, force: bool) -> None:
        if box.is_running and not force:
            raise Refused(409, f"{box.name} is running")
        box.end()
        with self.lock:
            for path, volume in box.volumes.items():
                volume.folder.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(box.root / path.lstrip("/"), volume.folder)
                volume.owner = ""
            if box.network:
                box.network.used.discard(box.address)
            self.boxes.pop(box.id, None)
            self._write_hosts()
        shutil.rmtree(box.root, ignore_errors=True)

    def remove_volume(self, name: str) -> None:
        volume = self.volumes.get(name)
        if volume is None:
            raise Refused(404, f"no such volume: {name}")
        if volume.owner:
            raise Refused(409, f"{name} is in use")
        shutil.rmtree(volume.folder, ignore_errors=True)
        del self.volumes[name]

    def close(self) -> None:
        """End all that runs. The folder is its maker's, who removes it with all that is in it."""
        for box in list(self.boxes.values()):
            box.end()
