"""A way to run a grid, as files that its own tools read.

packaging/deploy/WAY/... ──┐
[deploy] ──────────────────┼── every $word replaced ──> _build/deploy/WAY/...
names of the images ───────┘
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

import msgspec

from xwhep_packaging.artefacts import Image
from xwhep_packaging.definitions import Deploy
from xwhep_packaging.store import remove_tree, write_durably

TEMPLATES = Path(__file__).parents[2] / "deploy"
ROLES = ("server", "worker", "client")
SECRETS = "secrets"  # of a way's folder: what is in it stays when the files are written again
PODMAN_OWNED = ":U"  # podman gives a new volume to the image's user only when asked; docker does it unasked


def values(deploy: Deploy, images: Mapping[str, Image], engine: str) -> dict[str, str]:
    """What the words of the templates stand for."""
    chosen = {name: str(value) for name, value in msgspec.structs.asdict(deploy).items()}
    outside = [deploy.address] if deploy.address else []
    names = {
        "server_names": ",".join(["server", *outside]),
        "kubernetes_names": ",".join(["xwhep-server", f"xwhep-server.{deploy.name}.svc", *outside]),
    }
    own = {f"{role}_image": images[role].tags[0] for role in ROLES}
    for role in ROLES:
        repository, _, own[f"{role}_tag"] = images[role].tags[0].rpartition(":")
        own[f"{role}_repository"] = deploy.registry + repository
        own[f"{role}_published"] = f"{own[f'{role}_repository']}:{own[f'{role}_tag']}"
    return {**chosen, **names, **own, "owned": PODMAN_OWNED if engine == "podman" else ""}


def write(way: str, words: Mapping[str, str], folder: Path) -> Path:
    """Write the files of a way into `folder`, which holds afterwards no others but its secrets."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.is_dir() and old.name != SECRETS:
            remove_tree(old)
        elif old.is_file():
            old.unlink()
    for template in sorted((TEMPLATES / way).rglob("*")):
        if template.is_file():
            target = folder / template.relative_to(TEMPLATES / way)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_durably(target, rendered(template, words).encode())
    return folder


def rendered(template: Path, words: Mapping[str, str]) -> str:
    """A template with its words replaced; a program is copied as it is.

    Raises:
        KeyError: it has a word that stands for nothing.
    """
    text = template.read_text(encoding="utf-8")
    return string.Template(text).substitute(words) if template.suffix == ".yaml" else text
