"""Stage images: .debs become images on one shared base layer.

root.tar ──> base image (its layer is made and stored once)
                  │
images/ROLE at the commit + ROLE.deb ──> buildah, one thin layer ──> PRODUCT-ROLE:VERSION and DATEDNAME_TIME
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xwhep_packaging import command, containerfile
from xwhep_packaging.artefacts import Image, Output, dated, rfc3339, sha256_file
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BakeError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, remove_tree

STAGE = "images"
BASE_STAGE = "base_image"
# No history: it names tags and build arguments, so two ways to one image would differ.
# Docker's format: OCI's has no health check.
BUILDAH_OPTIONS = (
    "--isolation=chroot",
    "--layers=false",
    "--format=docker",
    "--omit-history",
    "--identity-label=false",
    "--pull=never",
)
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

    def command(self) -> list[str]:
        arguments = [
            part for name, value in sorted(self.arguments.items()) for part in ("--build-arg", f"{name}={value}")
        ]
        time = [f"--timestamp={self.epoch}", f"--iidfile={self.id_file}"]
        return [
            "buildah",
            "build",
            *BUILDAH_OPTIONS,
            *time,
            *arguments,
            f"--file={self.file}",
            str(self.context),
        ]


def base_tag(settings: Settings, key: str) -> str:
    return f"localhost/{settings.product.name}-base:{key[:16]}"


def version_tag(version: str) -> str:
    """A Debian version as an image tag, which may hold neither ~ nor + nor a colon."""
    return version.translate(str.maketrans("~+:", "---"))


def base_recipe(rootfs_key: str, tools: dict[str, str]) -> Recipe:
    return Recipe(
        stage=BASE_STAGE, name="base", inputs={"rootfs": rootfs_key, "buildah": tools["buildah"], "code": _code()}
    )


def recipe(settings: Settings, name: str, upstream: dict[str, str]) -> Recipe:
    """What decides an image: its folder at the commit, its .debs, the base, its names and labels, and this code."""
    image = settings.images[name]
    inputs = {
        "product": settings.product.name,
        "debs": "; ".join(f"{source}: {' '.join(packages)}" for source, packages in image.debs.items()),
        "dated name": image.dated_name,
        "containerfile": "" if image.folder else containerfile.render(name, image),
        "code": _code(),
        **upstream,
    }
    return Recipe(stage=STAGE, name=name, inputs=inputs)


def _code() -> str:
    return sha256_file(Path(__file__))


def make_base_image(settings: Settings, rootfs: Output, draft: Draft) -> None:
    """Import root.tar as the base image; its one layer is shared by all that stand on it."""
    recipe_file = draft.folder / "Containerfile"
    recipe_file.write_text("FROM scratch\nADD root.tar /\n")
    bake = Bake(
        context=rootfs.folder,
        file=recipe_file,
        tags=(base_tag(settings, rootfs.manifest.key),),
        epoch=rootfs.manifest.facts["epoch"],
        arguments={},
        id_file=draft.folder / "id",
    )
    draft.facts.update(_baked(bake, "base", draft))


def make_image(settings: Settings, name: str, inputs: ImageInputs, draft: Draft) -> None:
    """Bake one image from the committed folder in `inputs.context`, or as described, and the .debs it names.

    Raises:
        BakeError: a .deb is missing, or the Containerfile fails.
    """
    image = settings.images[name]
    context = draft.folder / "context"
    context.mkdir()
    if inputs.context:
        strip = f"--strip-components={len(Path(image.folder).parts)}"
        argv = ["tar", "-C", str(context), strip, "-xf", str(inputs.context)]
        command.run(Command(argv=argv, error=BakeError, log=draft.log))
    else:
        rendered = containerfile.render(f"{settings.product.name}-{name}", image)
        (context / "Containerfile").write_text(rendered, encoding="utf-8")
    for deb in inputs.extra.matching(".deb") if inputs.extra else []:
        shutil.copyfile(deb, context / deb.name)
    for source, packages in image.debs.items():
        for package in packages:
            deb = _deb_of(inputs.debs[source], package, name)
            shutil.copyfile(deb, context / deb.name)
    version = str(inputs.debs[next(iter(image.debs))].manifest.facts["version"])
    bake = Bake(
        context=context,
        file=context / "Containerfile",
        tags=_tags(settings, name, version, inputs.epoch),
        epoch=inputs.epoch,
        arguments=_arguments(inputs, version),
        id_file=draft.folder / "id",
    )
    draft.facts.update({**_baked(bake, name, draft), "version": version, "epoch": inputs.epoch})
    remove_tree(context)


@dataclass(frozen=True, kw_only=True)
class ImageInputs:
    """`context` is a tar of the image's folder, if it has one; `epoch` the latest time of all inputs (UTC seconds);
    `extra` holds its Debian packages that the base lacks."""

    context: Path | None
    debs: dict[str, Output]
    base: Output
    epoch: int
    revision: str
    origin: str
    extra: Output | None = None


def image_of(output: Output) -> Image:
    """The typed face of an image's manifest."""
    facts = output.manifest.facts
    return Image(
        name=output.manifest.name,
        tags=tuple(facts["tags"]),
        digest=facts["digest"],
        size=facts["size"],
        layers=tuple(facts["layers"]),
    )


def _tags(settings: Settings, name: str, version: str, epoch: int) -> tuple[str, ...]:
    dated_name = settings.images[name].dated_name or f"{settings.product.name}-{name}"
    return (f"{settings.product.name}-{name}:{version_tag(version)}", f"{dated_name}_{dated(epoch)}:latest")


def _arguments(inputs: ImageInputs, version: str) -> dict[str, str]:
    return {
        "BASE": inputs.base.manifest.facts["tags"][0],
        "SOURCE_DATE_EPOCH": str(inputs.epoch),
        "VERSION": version,
        "REVISION": inputs.revision,
        "SOURCE": inputs.origin,
        "CREATED": rfc3339(inputs.epoch),
    }


def _deb_of(output: Output, package: str, image: str) -> Path:
    for path in output.matching(".deb"):
        if path.name.startswith(f"{package}_"):
            return path
    raise BakeError(
        f"image {image!r} wants the package {package!r}, which source {output.manifest.name!r} does not build",
        next_step=f"correct `debs` of [images.{image}], or debian/control",
    )


def canonical_config(config: dict[str, Any]) -> bytes:
    """An image configuration with nothing of the run that made it: docker's format records the build container's id and
    host name, at random. Keys are sorted, so that equal images have equal digests."""
    kept = {name: value for name, value in config.items() if name not in RUN_RESIDUE}
    kept["config"] = {name: value for name, value in config["config"].items() if name not in CONFIG_RESIDUE}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def _baked(bake: Bake, name: str, draft: Draft) -> dict[str, Any]:
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
    if made != digest:
        _buildah("rmi", made)
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
