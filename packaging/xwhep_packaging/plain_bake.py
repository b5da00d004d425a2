"""A Containerfile baked where nothing can be mounted: buildah writes layers and configuration, RUN is a plain chroot.

Containerfile without its RUN ── buildah build ──> configuration, and what COPY and ADD bring
base ── buildah from, a folder (vfs) ── that, then each RUN by chroot ── buildah commit ──> one layer

The layers are equal to those that buildah makes elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xwhep_packaging import command, plain_root, powers
from xwhep_packaging.command import DEBIAN_PATH, Command
from xwhep_packaging.docker_build import MOUNT_TARGET, apply_layer
from xwhep_packaging.errors import BakeError
from xwhep_packaging.temporary import temporary_folder

OPTIONS = ("--format=docker", "--omit-history", "--identity-label=false")
ROOT_USERS = ("0", "0:0", "root", "root:root")
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
BIND = re.compile(r"--mount=type=bind,source=\.,target=\S+\s+")


@dataclass(frozen=True, kw_only=True)
class PlainBake:
    """As docker_build.DockerBuild; `base` empty: none."""

    context: Path
    file: Path
    base: str
    epoch: int
    arguments: Mapping[str, str]
    log: Path
    what: str

    def run(self) -> tuple[str, dict[str, Any]]:
        """(id of the image in buildah's storage, the configuration that it is to have).

        Raises:
            BakeError: the Containerfile fails, or wants more than this machine can do.
        """
        steps = list(instructions(self.file.read_text(encoding="utf-8")))
        self._check(steps)
        with temporary_folder("bake") as folder:
            still = folder / "Containerfile"
            still.write_text("".join(f"{name} {rest}\n" for name, rest in steps if name != "RUN"), encoding="utf-8")
            hollow = self._hollow(folder / "hollow") if self.base and "RUN" in dict(steps) else ""
            described = self._build(still, folder / "described", hollow)
            config = json.loads(json.loads(self._buildah("inspect", "--type=image", described))["Config"])
            runs = [rest for name, rest in steps if name == "RUN"]
            if not runs:
                return described, config
            copies = any(name in ("COPY", "ADD") for name, _ in steps)
            brought = self._top_layer(described, folder) if copies else None
            made = self._run(runs, (brought, config), folder)
        self._buildah("rmi", described, *([hollow] if hollow else []))
        return made, config

    def _check(self, steps: Sequence[tuple[str, str]]) -> None:
        names = [name for name, _ in steps]
        users = [rest for name, rest in steps[: _last(names, "RUN")] if name == "USER"]
        problem = ""
        if names.count("FROM") > 1:
            problem = "it has several stages"
        elif "RUN" in names and {"COPY", "ADD"} & {*names[names.index("RUN") :]}:
            problem = "it copies files after a RUN"
        elif users and users[-1] not in ROOT_USERS:
            problem = f"a RUN is to be made as {users[-1]}"
        if problem:
            raise BakeError(
                f"{self.what}: {problem}, which this machine cannot do",
                cause="nothing can be mounted here, so each RUN is a plain chroot after all files were copied",
                next_step="scripts/doit doctor says what this machine lacks; another one bakes it",
            )

    def _hollow(self, folder: Path) -> str:
        """An image with the base's configuration and no file: nothing of the base is copied to read on from it."""
        known = json.loads(json.loads(self._buildah("inspect", "--type=image", self.base))["Config"])
        # A history that nobody else has: a bake beside this one removes its own, and no other.
        history = [{"comment": folder.parent.name}]
        config = json.dumps({**known, "history": history, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
        digest = hashlib.sha256(config).hexdigest()
        about = {"mediaType": CONFIG_TYPE, "size": len(config), "digest": f"sha256:{digest}"}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": about, "layers": []}
        folder.mkdir()
        (folder / "version").write_text("Directory Transport Version: 1.1\n")
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / digest).write_bytes(config)
        self._buildah("pull", "--quiet", f"dir:{folder}")
        return digest

    def _build(self, file: Path, id_file: Path, hollow: str) -> str:
        told = {**self.arguments, **({"BASE": hollow, "ROLE_IMAGE": hollow} if hollow else {})}
        pairs = [part for name, value in sorted(told.items()) for part in ("--build-arg", f"{name}={value}")]
        plain = ["--layers=false", "--pull=never", "--isolation=chroot", "--http-proxy=false", "--no-hosts"]
        ending = ["--dns=none", f"--timestamp={self.epoch}", f"--iidfile={id_file}", f"--file={file}"]
        self._buildah("build", *OPTIONS, *plain, *ending, *pairs, str(self.context))
        return id_file.read_text().strip()

    def _run(self, runs: Sequence[str], described: tuple[Path | None, dict[str, Any]], folder: Path) -> str:
        """One layer on the base: the files that it is brought, if any, then what each RUN changes."""
        brought, config = described
        container = self._buildah("from", "--pull-never", self.base or "scratch").strip()
        try:
            root = Path(self._buildah("mount", container).strip())
            if brought:
                apply_layer(brought, root, self.log)
            plain_root.furnish(root)
            for one in runs:
                self._step(root, one, config)
            plain_root.unfurnish(root)
            (root / str(config["config"].get("WorkingDir") or "").lstrip("/")).mkdir(parents=True, exist_ok=True)
            self._buildah("umount", container)
            ending = (f"--timestamp={self.epoch}", f"--iidfile={folder / 'id'}", container)
            self._buildah("commit", "--quiet", *OPTIONS, *ending)
        finally:
            command.run(Command(argv=["buildah", "rm", container], env=self._storage(), log=self.log), check=False)
        return (folder / "id").read_text().strip()

    def _top_layer(self, image: str, folder: Path) -> Path:
        place = folder / "layers"
        self._buildah("push", "--quiet", "--disable-compression", image, f"dir:{place}")
        manifest = json.loads((place / "manifest.json").read_bytes())
        return place / str(manifest["layers"][-1]["digest"]).removeprefix("sha256:")

    def _step(self, root: Path, run: str, config: dict[str, Any]) -> None:
        """One RUN; the places where it wants the context are filled before, and taken away after it."""
        places = [root / target.lstrip("/") for target in MOUNT_TARGET.findall(run)]
        made = [next(folder for folder in (place, *place.parents) if folder.parent.exists()) for place in places]
        for place in places:
            shutil.copytree(self.context, place, symlinks=True)
        declared = dict(entry.split("=", 1) for entry in config["config"].get("Env") or ())
        variables = {"PATH": DEBIAN_PATH, **self.arguments, **declared}
        argv = plain_root.entered(root, "0:0", variables, ["/bin/sh", "-c", BIND.sub("", run)])
        command.run(Command(argv=argv, error=BakeError, log=self.log, what=self.what, next_step="read the log"))
        for place in made:
            shutil.rmtree(place)

    @staticmethod
    def _storage() -> dict[str, str]:
        return powers.storage_environment()

    def _buildah(self, *words: str) -> str:
        return command.run(
            Command(argv=["buildah", *words], env=self._storage(), error=BakeError, what=self.what)
        ).stdout


def _last(names: Sequence[str], name: str) -> int:
    """The place of the last one of that name; 0 where there is none."""
    return max((place for place, one in enumerate(names) if one == name), default=0)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(name, the rest) of each instruction; lines that go on are joined, comments left out."""
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not (joined or line.strip()):
            continue
        joined += line
        if joined.rstrip().endswith("\\"):
            joined = joined.rstrip()[:-1]
            continue
        name, _, rest = joined.strip().partition(" ")
        yield name.upper(), rest.strip()
        joined = ""
