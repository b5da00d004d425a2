"""One call of buildah: a Containerfile and its context become an image whose digest no run decides."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BakeError
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
# How a RUN is kept from the machine; oci wants a runtime, and crun fails under some control groups.
ISOLATIONS = {"chroot": ("--isolation=chroot",), "oci": ("--isolation=oci", "--runtime=runc")}
# What docker's format keeps of the container that an image was made in.
RUN_RESIDUE = frozenset({"container", "container_config", "docker_version", "history"})
CONFIG_RESIDUE = frozenset({"Hostname", "Image"})


@dataclass(frozen=True, kw_only=True)
class Bake:
    """One call of buildah: context folder, Containerfile, time and build arguments; `tags` are given afterwards."""

    context: Path
    file: Path
    tags: tuple[str, ...]
    epoch: int
    arguments: dict[str, str]
    id_file: Path
    isolation: str = "chroot"

    def command(self) -> list[str]:
        arguments = [
            part for name, value in sorted(self.arguments.items()) for part in ("--build-arg", f"{name}={value}")
        ]
        time = [f"--timestamp={self.epoch}", f"--iidfile={self.id_file}"]
        return [
            "buildah",
            "build",
            *BUILDAH_OPTIONS,
            *ISOLATIONS[self.isolation],
            *time,
            *arguments,
            f"--file={self.file}",
            str(self.context),
        ]


def canonical_config(config: dict[str, Any]) -> bytes:
    """An image configuration with nothing of the run that made it: docker's format records the build container's id and
    host name, at random. Keys are sorted, so that equal images have equal digests."""
    kept = {name: value for name, value in config.items() if name not in RUN_RESIDUE}
    kept["config"] = {name: value for name, value in config["config"].items() if name not in CONFIG_RESIDUE}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def baked(bake: Bake, name: str, draft: Draft) -> dict[str, Any]:
    """Bake, name, and give the facts of a manifest; config.json is left in the draft.

    Raises:
        BakeError: the Containerfile fails.
    """
    argv = bake.command()
    what = f"cannot bake image {name!r}"
    command.run(Command(argv=argv, error=BakeError, log=draft.log, what=what, next_step="read the log"))
    made = bake.id_file.read_text().strip()
    bake.id_file.unlink()
    inspected = json.loads(_buildah("inspect", "--type=image", made))
    manifest = json.loads(inspected["Manifest"])
    config = canonical_config(json.loads(inspected["Config"]))
    digest = _stored(manifest, config, draft)
    for tag in bake.tags:
        _buildah("tag", digest, tag)
    if made != digest:  # nobody needs it; it may stay while another bake on this machine looks through the storage
        command.run(Command(argv=["buildah", "rmi", made], log=draft.log), check=False)
    (draft.folder / "config.json").write_bytes(config)
    sizes = [layer["size"] for layer in manifest["layers"]]
    return {
        "digest": digest,
        "tags": list(bake.tags),
        "layers": json.loads(config)["rootfs"]["diff_ids"],
        "layer_sizes": sizes,
        "size": sum(sizes),
    }


def _stored(manifest: dict[str, Any], config: bytes, draft: Draft) -> str:
    """Put `config` over layers that the storage has already; the image's id is the config's digest.

    Only the configuration is copied: buildah asks the storage for each layer first (0.03 s, measured).
    """
    sha256 = hashlib.sha256(config).hexdigest()
    manifest["config"] |= {"size": len(config), "digest": f"sha256:{sha256}"}
    folder = draft.folder / "directory"
    folder.mkdir()
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / sha256).write_bytes(config)
    _buildah("pull", "--quiet", f"dir:{folder}")
    remove_tree(folder)
    return f"sha256:{sha256}"


def _buildah(*words: str) -> str:
    return command.run(Command(argv=["buildah", *words], error=BakeError)).stdout
