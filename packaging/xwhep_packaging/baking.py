"""A Containerfile and its context become an image whose digest no run decides, whoever runs its steps: buildah, or
docker (docker_build.py)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xwhep_packaging import command, layers, powers
from xwhep_packaging.command import Command
from xwhep_packaging.docker_build import DockerBuild
from xwhep_packaging.errors import BakeError
from xwhep_packaging.layers import Below
from xwhep_packaging.leftovers import owner_option, remove_leftovers
from xwhep_packaging.plain_bake import PlainBake
from xwhep_packaging.store import Draft, remove_tree

# No history: it names tags and build arguments, so two ways to one image would differ.
# Docker's format: OCI's has no health check.
BUILDAH_OPTIONS = (
    "--layers=false",
    "--format=docker",
    "--omit-history",
    "--identity-label=false",
    "--pull=never",
)
# A RUN sees nothing of the machine but what it needs: buildah would show it the machine's hosts, resolver and proxies.
ALONE = ("--http-proxy=false", "--no-hosts", "--dns=none", "--uts=host")
# How a RUN is kept from the machine; oci wants a runtime, and crun fails under some control groups.
ISOLATIONS = {
    "chroot": ("--isolation=chroot",),
    "oci": ("--isolation=oci", "--runtime=runc", "--network=host"),  # the host's is the empty one of NAMESPACES
}
# No network, and a host name that says nothing, in namespaces that buildah is started in.
NAMESPACES = ("unshare", "--net", "--uts", "--", "sh", "-c", 'hostname "$0" && exec "$@"')
DOCKER = "docker"
WEAKER_LABEL = "org.xwhep.weaker"
LAYER = "layer.tar"
UNCOMPRESSED = "application/vnd.docker.image.rootfs.diff.tar"
# All else that docker's format keeps is of the container that an image was made in, or of the tool that made it.
CONFIG_PARTS = ("architecture", "author", "config", "created", "os", "rootfs", "variant")
CONFIG_RESIDUE = frozenset({"Hostname", "Image", "ArgsEscaped"})


@dataclass(frozen=True, kw_only=True)
class Bake:
    """One bake: context folder, Containerfile, time and build arguments; `tags` are given afterwards. `docker` is the
    address of the daemon that runs the steps where the isolation is "docker", `below` the image that it stands on,
    `weaker` what the image is to say of how it was made."""

    context: Path
    file: Path
    tags: tuple[str, ...]
    epoch: int
    arguments: dict[str, str]
    id_file: Path
    isolation: str = "chroot"
    host: str = "build"
    docker: str = ""
    below: Below = field(default_factory=Below)
    weaker: tuple[str, ...] = ()

    def command(self) -> list[str]:
        arguments = [
            part for name, value in sorted(self.arguments.items()) for part in ("--build-arg", f"{name}={value}")
        ]
        time = [f"--timestamp={self.epoch}", f"--iidfile={self.id_file}"]
        return [
            *(() if os.geteuid() == 0 else ("buildah", "unshare", "--")),
            *NAMESPACES,
            self.host,
            "buildah",
            "build",
            *BUILDAH_OPTIONS,
            *ALONE,
            *ISOLATIONS[self.isolation],
            *((owner_option(),) if self.isolation == "chroot" else ()),
            *time,
            *arguments,
            f"--file={self.file}",
            str(self.context),
        ]


def canonical_config(config: dict[str, Any]) -> bytes:
    """An image configuration with nothing of the run that made it: docker's format records the build container's id and
    host name, at random. What is empty says nothing, and each tool leaves out other parts of it. Keys are sorted, so
    that equal images have equal digests."""
    kept = {name: config[name] for name in CONFIG_PARTS if name in config}
    kept["config"] = {
        name: value
        for name, value in config["config"].items()
        if value and name not in CONFIG_RESIDUE and (name, value) != ("WorkingDir", "/")
    }
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def labelled(config: dict[str, Any], weaker: Sequence[str]) -> dict[str, Any]:
    """With a label that says what was weaker, where something was: an image goes where its manifest does not."""
    if not weaker:
        return config
    labels = {**(config["config"].get("Labels") or {}), WEAKER_LABEL: "; ".join(weaker)}
    return {**config, "config": {**config["config"], "Labels": labels}}


def baked(bake: Bake, name: str, draft: Draft) -> dict[str, Any]:
    """Bake, name, and give the facts of a manifest; config.json is left in the draft.

    Raises:
        BakeError: the Containerfile fails.
    """
    remove_leftovers(draft.log)
    made, by_docker = _made(bake, f"cannot bake image {name!r}", draft.log)
    inspected = json.loads(_buildah("inspect", "--type=image", made))
    manifest, by_buildah = json.loads(inspected["Manifest"]), json.loads(inspected["Config"])
    _canonical_top(bake, made, (manifest, by_buildah), draft)
    own = {part: by_buildah[part] for part in ("created", "rootfs")}
    config = canonical_config(labelled({**by_docker, **own} if by_docker else by_buildah, bake.weaker))
    digest = _stored(manifest, config, draft)
    for tag in bake.tags:
        _buildah("tag", digest, tag)
    if made != digest:  # nobody needs it; it may stay while another bake on this machine looks through the storage
        command.run(
            Command(argv=["buildah", "rmi", made], env=powers.storage_environment(), log=draft.log), check=False
        )
    (draft.folder / "config.json").write_bytes(config)
    sizes = [layer["size"] for layer in manifest["layers"]]
    return {
        "digest": digest,
        "tags": list(bake.tags),
        "layers": json.loads(config)["rootfs"]["diff_ids"],
        "layer_sizes": sizes,
        "size": sum(sizes),
    }


def _made(bake: Bake, what: str, log: Path) -> tuple[str, dict[str, Any]]:
    """The image's id in buildah's storage, and the configuration that docker gave it, where docker made it."""
    if bake.isolation == DOCKER:
        return DockerBuild(
            context=bake.context,
            file=bake.file,
            base=bake.arguments.get("BASE", ""),
            epoch=bake.epoch,
            arguments=bake.arguments,
            address=bake.docker,
            log=log,
            what=what,
        ).run()
    if powers.weaker("images"):
        return PlainBake(
            context=bake.context,
            file=bake.file,
            base=bake.arguments.get("BASE", bake.arguments.get("ROLE_IMAGE", "")),
            epoch=bake.epoch,
            arguments=bake.arguments,
            log=log,
            what=what,
        ).run()
    command.run(Command(argv=bake.command(), error=BakeError, log=log, what=what, next_step="read the log"))
    made = bake.id_file.read_text().strip()
    bake.id_file.unlink()
    return made, {}


def _canonical_top(bake: Bake, made: str, records: tuple[dict[str, Any], dict[str, Any]], draft: Draft) -> None:
    """Have the top layer without what this storage put there, in `records`: manifest and configuration."""
    manifest, config = records
    diff_ids = config["rootfs"]["diff_ids"]
    lower = bake.below.under(diff_ids)
    layer = layers.canonical_layer(made, diff_ids, lower, draft.folder / LAYER)
    diff_ids[-1] = layer.digest
    manifest["layers"][-1] = {"mediaType": UNCOMPRESSED, "size": layer.size, "digest": layer.digest}
    layers.write_folders(draft.folder / layers.FOLDERS, {**lower, **layers.folders_of(layer.file)})


def _stored(manifest: dict[str, Any], config: bytes, draft: Draft) -> str:
    """Put `config` over layers that the storage has already; the image's id is the config's digest.

    Only the configuration and the top layer are copied: buildah asks the storage for each layer first (0.03 s).
    """
    sha256 = hashlib.sha256(config).hexdigest()
    manifest["config"] |= {"size": len(config), "digest": f"sha256:{sha256}"}
    folder = draft.folder / "directory"
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / sha256).write_bytes(config)
    (draft.folder / LAYER).rename(folder / manifest["layers"][-1]["digest"].removeprefix("sha256:"))
    _buildah("pull", "--quiet", f"dir:{folder}")
    remove_tree(folder)
    return f"sha256:{sha256}"


def _buildah(*words: str) -> str:
    argv = ["buildah", *words]
    return command.run(Command(argv=argv, env=powers.storage_environment(), error=BakeError)).stdout
