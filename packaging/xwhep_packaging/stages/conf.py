"""Stage conf: what a role must know of one deployment, as a private package.

deployments/NAME ── payload of the role ──┐
                                          ├── dpkg-deb, fixed times, owners and modes ──> xwhep-ROLE-conf_*.deb (0600)
debian/conf-packages ── scripts, control ─┘
"""

from __future__ import annotations

import os
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.artefacts import digests_below, digests_of
from xwhep_packaging.command import Command
from xwhep_packaging.deployment import payload as payloads
from xwhep_packaging.deployment.records import Deployment
from xwhep_packaging.errors import BuildError
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, remove_tree

STAGE = "conf"
TEMPLATES = Path(__file__).resolve().parents[3] / "debian" / "conf-packages"
SCRIPTS = ("postinst", "postrm")
# The client's files hold no secret, and every user of a machine must read them; it has no user of its own.
OPEN_ROLES = frozenset({"client"})
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


def recipe(settings: Settings, deployment: Deployment, role: str) -> Recipe:
    """What decides a conf package. Contents come in by a keyed digest: no secret can be guessed from it."""
    inputs = {
        "deployment": deployment.about.name,
        "contents": payloads.digest(deployment, role),
        "version": payloads.version(deployment, role),
        "epoch": str(payloads.epoch(deployment, role)),
        "server": deployment.about.server,
        "maintainer": settings.product.maintainer,
    }
    files = {"templates": digests_below(TEMPLATES), "code": digests_of(Path(__file__))}
    return Recipe(stage=STAGE, name=role, inputs=inputs, files=files)


def dpkg_command(tree: Path, deb: Path) -> list[str]:
    """One thread and xz: the same bytes on every machine with this dpkg."""
    return ["dpkg-deb", "--root-owner-group", "-Zxz", "-z6", "--threads-max=1", "--build", str(tree), str(deb)]


def make_conf(settings: Settings, deployment: Deployment, role: str, draft: Draft) -> None:
    """Make the role's conf package in the draft, for its owner's eyes alone.

    Raises:
        BuildError: dpkg-deb refuses.
    """
    draft.folder.chmod(PRIVATE_FOLDER)
    version, epoch = payloads.version(deployment, role), payloads.epoch(deployment, role)
    package = f"xwhep-{role}-conf"
    tree, deb = draft.folder / "tree", draft.folder / f"{package}_{version}_all.deb"
    _stage(tree, role, payloads.payload(deployment, role))
    _write_control(tree / "DEBIAN", settings, deployment, role)
    _set_times(tree, epoch)
    command.run(
        Command(
            argv=dpkg_command(tree, deb),
            env={"SOURCE_DATE_EPOCH": str(epoch)},
            error=BuildError,
            log=draft.log,
            what=f"cannot make the package {package}",
            next_step="read the log",
        )
    )
    remove_tree(tree)
    deb.chmod(PRIVATE_FILE)
    draft.facts.update({"package": package, "version": version, "epoch": epoch, "deployment": deployment.about.name})


def _stage(tree: Path, role: str, contents: dict[str, bytes]) -> None:
    """The files in their places. Every mode is set: none hangs on the caller's umask."""
    is_open = role in OPEN_ROLES
    place = tree / "etc" / "xwhep" / f"{role}-deployment"
    place.mkdir(parents=True)
    for folder in (tree, tree / "etc", tree / "etc" / "xwhep"):
        folder.chmod(0o755)
    place.chmod(0o755 if is_open else 0o750)
    for name, content in contents.items():
        file = place / name
        file.write_bytes(content)
        file.chmod(0o644 if is_open else 0o640)


def _write_control(folder: Path, settings: Settings, deployment: Deployment, role: str) -> None:
    words = {
        "@ROLE@": role,
        "@VERSION@": payloads.version(deployment, role),
        "@MAINTAINER@": settings.product.maintainer,
        "@DEPLOYMENT@": deployment.about.name,
        "@SERVER@": deployment.about.server,
    }
    folder.mkdir()
    folder.chmod(0o755)
    names = ["control", *([] if role in OPEN_ROLES else SCRIPTS)]
    for name in names:
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755 if name in SCRIPTS else 0o644)


def _set_times(tree: Path, epoch: int) -> None:
    """All alike, so that dpkg-deb, which only lowers times, has nothing to decide."""
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (epoch, epoch))
