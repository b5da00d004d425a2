"""The fixed samples of tests/golden, and the digests that they are known to give."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clones import REPOSITORY
from xwhep_packaging.baking import Bake, baked
from xwhep_packaging.store import Draft

GOLDEN = REPOSITORY / "tests" / "golden"
DIGESTS = GOLDEN / "digests.toml"
EPOCH = 1793620800  # 2026-11-02 12:00 UTC
NEXT = f"append a [[bump]] to {DIGESTS.relative_to(REPOSITORY)} with its number, `why`, the tools and the digests below"


@dataclass(frozen=True, kw_only=True)
class Bump:
    """One change of what the samples give, with the versions of the tools that decide it."""

    number: int
    why: str
    tools: dict[str, str]
    digests: dict[str, Any]


def bumps() -> list[Bump]:
    return [Bump(**row) for row in tomllib.loads(DIGESTS.read_text(encoding="utf-8"))["bump"]]


def complaint(last: Bump, found: dict[str, Any], tools: dict[str, str]) -> str:
    """Why what was found is not what is kept, and what to do; empty when it is. Other tools are no reason as long as
    the digests are the same."""
    unequal = sorted(name for name in found if found[name] != last.digests[name])
    if not unequal:
        return ""
    other = [f"{name} {tools[name]} instead of {last.tools[name]}" for name in tools if tools[name] != last.tools[name]]
    why = (
        f"they were made with {', '.join(other)}: another tool wrote these bytes"
        if other
        else "the tools are the same, so code that decides bytes has changed"
    )
    rows = "\n".join(f"  {name} = {found[name]!r}" for name in unequal)
    return f"the samples give other digests. {why}. If that is meant, {NEXT} (bump {last.number + 1}):\n{rows}"


def machine_version(package: str) -> str:
    argv = ["dpkg-query", "-W", "-f", "${Version}", package]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def bake_sample(folder: Path, context: Path, **how: Any) -> dict[str, Any]:
    """The facts of an image of a context with a Containerfile; the image stays."""
    folder.mkdir()
    bake = Bake(
        context=context,
        file=context / "Containerfile",
        tags=(),
        epoch=EPOCH,
        arguments={"SOURCE_DATE_EPOCH": str(EPOCH), "VERSION": "1.0", **how.pop("arguments", {})},
        id_file=folder / "id",
        **how,
    )
    return baked(bake, "sample", Draft(folder=folder, log=folder / "log"))


def golden_context(folder: Path) -> Path:
    """A copy of the sample's, with modes that no checkout's umask decided."""
    shutil.copytree(GOLDEN / "image", folder, symlinks=True)
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return folder


def remove_image(digest: str) -> None:
    subprocess.run(["buildah", "rmi", digest], check=False, capture_output=True)
