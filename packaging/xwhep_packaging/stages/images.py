"""Stage images: .debs become images on one shared base layer.

root.tar ──> base image (its layer is made and stored once)
                  │
images/ROLE at the commit + ROLE.deb ──> buildah, one thin layer ──> PRODUCT-ROLE:VERSION and DATEDNAME_TIME
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from xwhep_packaging import command, containerfile, powers
from xwhep_packaging.artefacts import Image, Output, dated, digests_of, rfc3339
from xwhep_packaging.command import Command
from xwhep_packaging.engines import DOCKER_SOCKET
from xwhep_packaging.errors import BakeError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, remove_tree

STAGE = "images"
BASE_STAGE = "base_image"
BAKING = (
    "baking",
    "containerfile",
    "docker_build",
    "layers",
    "plain_bake",
    "plain_root",
)  # the modules that make an image


def base_tag(settings: Settings, key: str) -> str:
    return f"localhost/{settings.product.name}-base:{key[:16]}"


def version_tag(version: str) -> str:
    """A Debian version as an image tag, which may hold neither ~ nor + nor a colon."""
    return version.translate(str.maketrans("~+:", "---"))


def base_recipe(rootfs_key: str) -> Recipe:
    return Recipe(stage=BASE_STAGE, name="base", inputs={"rootfs": rootfs_key}, files={"code": _code()})


def recipe(settings: Settings, name: str, upstream: dict[str, str], origins: Mapping[str, str] | None = None) -> Recipe:
    """What decides an image: its folder at the commit, its .debs, the base, its names and labels, and this code."""
    image = settings.images[name]
    inputs = {
        "product": settings.product.name,
        "debs": "; ".join(f"{source}: {' '.join(packages)}" for source, packages in image.debs.items()),
        "dated name": image.dated_name,
        "containerfile": "" if image.folder else containerfile.render(name, image),
        **upstream,
    }
    return Recipe(stage=STAGE, name=name, inputs=inputs, files={"code": _code()}, origins=origins or {})


def _code() -> dict[str, str]:
    own = Path(__file__)
    return digests_of(own, *(own.parents[1] / f"{name}.py" for name in BAKING))


def make_base_image(settings: Settings, rootfs: Output, draft: Draft) -> None:
    """Import root.tar as the base image; its one layer is shared by all that stand on it."""
    from xwhep_packaging import layers
    from xwhep_packaging.baking import Bake, baked

    recipe_file = draft.folder / "Containerfile"
    recipe_file.write_text("FROM scratch\nADD root.tar /\n")
    bake = Bake(
        context=rootfs.folder,
        file=recipe_file,
        tags=(base_tag(settings, rootfs.manifest.key),),
        epoch=rootfs.manifest.facts["epoch"],
        arguments={},
        id_file=draft.folder / "id",
        weaker=powers.all_weaker(BASE_STAGE, [rootfs]),
    )
    draft.facts.update(baked(bake, "base", draft))
    layers.write_folders(draft.folder / layers.FOLDERS, layers.folders_of(rootfs.path("root.tar")))


def make_image(settings: Settings, name: str, inputs: ImageInputs, draft: Draft) -> None:
    """Bake one image from the committed folder in `inputs.context`, or as described, and the .debs it names.

    Raises:
        BakeError: a .deb is missing, or the Containerfile fails.
    """
    from xwhep_packaging import layers
    from xwhep_packaging.baking import Bake, baked

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
        tags=_tags(settings, name, version, inputs),
        epoch=inputs.epoch,
        arguments=_arguments(inputs, version),
        id_file=draft.folder / "id",
        isolation=settings.surroundings.isolation,
        host=settings.surroundings.host,
        below=layers.below(inputs.base),
        docker=settings.docker_host or f"unix://{DOCKER_SOCKET}",
        weaker=powers.all_weaker(STAGE, [inputs.base, *inputs.debs.values()]),
    )
    draft.facts.update({**baked(bake, name, draft), "version": version, "epoch": inputs.epoch})
    remove_tree(context)


class ImageInputs(msgspec.Struct, frozen=True, kw_only=True):
    """`context` is a tar of the image's folder, if it has one; `epoch` the latest time of all inputs (UTC seconds);
    `extra` holds its Debian packages that the base lacks, `bound` tells that a bound image stands on this one."""

    context: Path | None
    debs: dict[str, Output]
    base: Output
    epoch: int
    revision: str
    origin: str
    extra: Output | None = None
    bound: bool = False


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


def _tags(settings: Settings, name: str, version: str, inputs: ImageInputs) -> tuple[str, ...]:
    """By version and by time; the second name belongs to the bound image where there is one (decision 12)."""
    prefix = settings.surroundings.image_prefix
    by_version = f"{prefix}{settings.product.name}-{name}:{version_tag(version)}"
    return (
        (by_version,)
        if inputs.bound
        else (by_version, f"{prefix}{settings.dated_name(name)}_{dated(inputs.epoch)}:latest")
    )


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
