"""A Containerfile built by docker's BuildKit, for an image with the same layers and configuration as buildah's own.

base ── docker load ──> FROM ── BuildKit, no network, no cache ──> docker save ──> what lies above the base
                                                                                        │ files and whiteouts
                                          buildah's storage <── committed by buildah <──┘

One hand writes all layers, so that equal files are equal bytes.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BakeError, MissingTool
from xwhep_packaging.leftovers import owner_option
from xwhep_packaging.temporary import temporary_folder

BUILTIN_UNTIL = 23  # docker's client of this version and later has BuildKit as a plugin
MOUNT_TARGET = re.compile(r"--mount=\S*?\btarget=([^,\s]+)")
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, kw_only=True)
class DockerBuild:
    """`base` names the image in buildah's storage that the Containerfile stands on; empty: none. `address` is the
    daemon's, `epoch` the time of everything (UTC seconds)."""

    context: Path
    file: Path
    base: str
    epoch: int
    arguments: Mapping[str, str]
    address: str
    log: Path
    what: str

    def run(self) -> tuple[str, dict[str, Any]]:
        """(id of the image in buildah's storage, docker's configuration of it).

        Raises:
            BakeError: the Containerfile fails, or docker cannot be used.
            MissingTool: no docker client has BuildKit.
        """
        with temporary_folder("docker") as folder:
            docker = Docker(client=find_client(), address=self.address, folder=folder, log=self.log)
            if self.base:
                docker.load(self.base)
            saved = docker.built(self)
            manifest = json.loads((saved / "manifest.json").read_bytes())[0]
            config = json.loads((saved / manifest["Config"]).read_bytes())
            layers = [saved / name for name in manifest["Layers"]]
            base, known = self.base, _layers_of(self.base)
            if config["rootfs"]["diff_ids"][: len(known)] != known:  # the Containerfile chose no base, or another
                base, known = "", []
            return self._committed(base, layers[len(known) :], folder), config

    def command(self, client: str, id_file: Path) -> list[str]:
        arguments = [
            part for name, value in sorted(self.arguments.items()) for part in ("--build-arg", f"{name}={value}")
        ]
        options = ("--network=none", "--no-cache", "--force-rm", "--progress=plain", f"--iidfile={id_file}")
        return [client, "build", *options, *arguments, f"--file={self.file}", str(self.context)]

    def _committed(self, base: str, layers: Sequence[Path], folder: Path) -> str:
        """The layers put over the base in a container of buildah's, and that committed as one layer."""
        container = _buildah("from", "--pull-never", owner_option(), base or "scratch").strip()
        try:
            root = Path(_buildah("mount", container).strip())
            targets = [root / path.lstrip("/") for path in MOUNT_TARGET.findall(self.file.read_text(encoding="utf-8"))]
            stubs = [target for target in targets if not target.exists()]
            for layer in layers:
                apply_layer(layer, root, self.log)
            for stub in stubs:  # BuildKit leaves the place of a mount behind
                if stub.is_dir() and not any(stub.iterdir()):
                    stub.rmdir()
            _buildah("umount", container)
            options = ("--quiet", "--format=docker", "--omit-history", "--identity-label=false")
            _buildah("commit", *options, f"--timestamp={self.epoch}", f"--iidfile={folder / 'id'}", container)
        finally:
            command.run(Command(argv=["buildah", "rm", container], log=self.log), check=False)
        return (folder / "id").read_text().strip()


@dataclass(frozen=True, kw_only=True)
class Docker:
    """The client, with settings of its own: the user's would pass his proxies on to a build."""

    client: str
    address: str
    folder: Path
    log: Path

    def _call(self, argv: Sequence[str], what: str) -> None:
        environment = {"DOCKER_HOST": self.address, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.folder)}
        step = "read the log; is the daemon well?"
        command.run(Command(argv=argv, env=environment, error=BakeError, log=self.log, what=what, next_step=step))

    def load(self, base: str) -> None:
        archive = self.folder / "base.tar"
        name = base if ":" in base.rpartition("/")[2] else f"{base}:latest"
        _buildah("push", "--quiet", base, f"docker-archive:{archive}:{name}")
        self._call([self.client, "load", f"--input={archive}"], f"docker does not take image {base}")
        archive.unlink()

    def built(self, build: DockerBuild) -> Path:
        """The folder of a saved image, which the daemon has forgotten again."""
        id_file, archive, saved = self.folder / "docker-id", self.folder / "image.tar", self.folder / "saved"
        self._call(build.command(self.client, id_file), build.what)
        made = id_file.read_text().strip()
        self._call([self.client, "save", f"--output={archive}", made], "docker does not save what it built")
        self._call([self.client, "rmi", made], "docker does not remove what it built")
        saved.mkdir()
        command.run(Command(argv=["tar", "-C", saved, "-xf", archive], error=BakeError, log=self.log))
        archive.unlink()
        return saved


def find_client() -> str:
    """A docker client that has BuildKit, built in or as its plugin.

    Raises:
        MissingTool: none on the system's path has.
    """
    for folder in command.SYSTEM_PATH.split(":"):
        client = shutil.which("docker", path=folder)
        if client and _has_buildkit(client):
            return client
    raise MissingTool("no docker client with BuildKit is installed", next_step="install docker's client, and buildx")


def _has_buildkit(client: str) -> bool:
    version = re.search(r"version (\d+)", command.run(Command(argv=[client, "--version"]), check=False).stdout)
    if version and int(version[1]) < BUILTIN_UNTIL:
        return True
    return command.run(Command(argv=[client, "buildx", "version"]), check=False).returncode == 0


def apply_layer(layer: Path, root: Path, log: Path) -> None:
    """Remove what a layer's whiteouts name, then unpack the rest over it."""
    with tarfile.open(layer) as archive:
        names = [Path(name) for name in archive.getnames()]
    for path in (root / name for name in names if name.name.startswith(WHITEOUT)):
        for hidden in _hidden(path):
            _remove(hidden)
    options = ["--numeric-owner", "--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"]
    argv: list[str | Path] = ["tar", "-C", root, *options, f"--exclude={WHITEOUT}*", "-xf", layer]
    command.run(Command(argv=argv, error=BakeError, log=log))


def _hidden(whiteout: Path) -> list[Path]:
    """What is not there any more: one path, or, where a folder has been made anew, all that was below its name."""
    if whiteout.name != OPAQUE:
        return [whiteout.with_name(whiteout.name.removeprefix(WHITEOUT))]
    return [*whiteout.parent.iterdir()] if whiteout.parent.is_dir() else [whiteout.parent]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _layers_of(base: str) -> list[str]:
    """The diff ids of an image in buildah's storage."""
    if not base:
        return []
    inspected = json.loads(_buildah("inspect", "--type=image", base))
    return list(json.loads(inspected["Config"])["rootfs"]["diff_ids"])


def _buildah(*words: str) -> str:
    return command.run(Command(argv=["buildah", *words], error=BakeError)).stdout
