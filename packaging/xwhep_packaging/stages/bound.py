"""Stage bound: a role image and a conf package become an image that works with no further argument, for one grid.

role image + xwhep-ROLE-conf.deb ──> buildah, one small layer ──> DATEDNAME_TIME, labelled org.xwhep.private=true
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from xwhep_packaging import containerfile, powers
from xwhep_packaging.artefacts import Output, dated, digests_of, rfc3339
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, remove_tree

STAGE = "bound"
BAKING = ("baking", "containerfile", "layers", "plain_bake", "plain_root")  # the modules that make an image


def recipe(settings: Settings, name: str, upstream: dict[str, str]) -> Recipe:
    """What decides a bound image: role image, conf package, name, and this code."""
    own = Path(__file__)
    code = digests_of(own, *(own.parents[1] / f"{module}.py" for module in BAKING))
    inputs = {"dated name": settings.dated_name(name), **upstream}
    return Recipe(stage=STAGE, name=name, inputs=inputs, files={"code": code})


def make_bound(settings: Settings, role_image: Output, conf: Output, draft: Draft) -> None:
    """Bake it. Its time is that of the later of both, so that a renewed secret gives another name.

    Raises:
        BakeError: the conf package cannot be installed.
    """
    from xwhep_packaging import layers
    from xwhep_packaging.baking import Bake, baked

    draft.folder.chmod(0o700)
    name, facts = role_image.manifest.name, role_image.manifest.facts
    epoch = max(int(facts["epoch"]), int(conf.manifest.facts["epoch"]))
    context = draft.folder / "context"
    context.mkdir()
    for deb in conf.matching(".deb"):
        shutil.copyfile(deb, context / deb.name)
    deployment = str(conf.manifest.facts["deployment"])
    user = json.loads(role_image.path("config.json").read_bytes())["config"].get("User", "")
    text = containerfile.render_bound(f"{settings.product.name}-{name}", deployment, user or "0")
    (draft.folder / "Containerfile").write_text(text, encoding="utf-8")
    bake = Bake(
        context=context,
        file=draft.folder / "Containerfile",
        tags=(f"{settings.dated_name(name)}_{dated(epoch)}:latest",),
        epoch=epoch,
        arguments={
            "ROLE_IMAGE": facts["digest"].removeprefix("sha256:"),
            "SOURCE_DATE_EPOCH": str(epoch),
            "CREATED": rfc3339(epoch),
        },
        id_file=draft.folder / "id",
        below=layers.below(role_image),
        weaker=powers.all_weaker(STAGE, [role_image, conf]),
    )
    own = {"version": facts["version"], "epoch": epoch, "private": True, "deployment": deployment}
    draft.facts.update({**baked(bake, name, draft), **own, "conf": conf.manifest.facts["version"]})
    remove_tree(context)
