"""Versions of the tools that decide bytes, for the keys of what they make.

tool's file ──stat──> known already? ──yes──> version
                           │ no
                      dpkg's word for its package, or the file's own digest ──> remembered under (path, size, times)
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from xwhep_packaging import command
from xwhep_packaging.artefacts import sha256_file
from xwhep_packaging.command import Command
from xwhep_packaging.errors import MissingTool
from xwhep_packaging.store import Recipe

PYTHON = "python"
RUNNER = "runner"  # the module that starts all of them: it gives them their environment
# Tool -> the Debian package that it comes in.
PACKAGES = {
    "apt-ftparchive": "apt-utils",
    "apt-get": "apt",
    "buildah": "buildah",
    "bwrap": "bubblewrap",
    "dpkg-deb": "dpkg",
    "git": "git",
    "mmdebstrap": "mmdebstrap",
    "tar": "tar",
}
# Stage -> the tools of this machine that decide its bytes. What runs in a chroot is decided by that chroot's own key.
DECIDING = {
    "source": ("git", "tar", PYTHON),
    "base": ("apt-ftparchive", "apt-get", "dpkg-deb", "mmdebstrap", "tar"),
    "debs": ("bwrap", "tar", PYTHON),
    "base_image": ("buildah", PYTHON),
    "images": ("buildah", "tar", PYTHON),
    "conf": ("dpkg-deb", PYTHON),
    "bound": ("buildah", PYTHON),
}


def with_tools(recipe: Recipe, found: Callable[[], Mapping[str, str]]) -> Recipe:
    """The recipe with the version of each tool that decides its bytes; `found` is asked when there is one.

    Raises:
        MissingTool: one of them is not installed.
    """
    deciding = (*DECIDING[recipe.stage], RUNNER) if recipe.stage in DECIDING else ()
    tools = {f"tool {name}": found().get(name) or command.find_tool(name) for name in deciding}
    return replace(recipe, inputs={**recipe.inputs, **tools})


def versions(memory: Path) -> dict[str, str]:
    """The version of every tool that this machine has; `memory` is the file that keeps those found before. A container
    that makes packages alone has not all of them."""
    files = {name: place for name in PACKAGES if (place := _place(name))}
    prints = {name: _fingerprint(path) for name, path in files.items()}
    known = _remembered(memory)
    fresh = {name: _version(name, files[name]) for name in files if prints[name] not in known}
    found = {name: fresh.get(name) or known[prints[name]] for name in files}
    if fresh:
        _remember(memory, {prints[name]: version for name, version in found.items()})
    return {**found, PYTHON: sys.version.split()[0], RUNNER: sha256_file(Path(command.__file__))}


def _place(name: str) -> Path | None:
    try:
        return Path(command.find_tool(name))
    except MissingTool:
        return None


def _fingerprint(path: Path) -> str:
    """A changed file has another one: no tool can set the change time back."""
    stat = path.stat()
    return f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _version(name: str, path: Path) -> str:
    """dpkg's, where the file is its; a tool from elsewhere is known by its content."""
    if path.parent in (Path("/usr/bin"), Path("/bin"), Path("/usr/sbin"), Path("/sbin")):
        argv = ["dpkg-query", "-W", "-f", "${Version}", PACKAGES[name]]
        answer = command.run(Command(argv=argv), check=False)
        if answer.returncode == 0 and answer.stdout:
            return answer.stdout
    return f"sha256:{sha256_file(path)}"


def _remembered(memory: Path) -> dict[str, str]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(memory: Path, known: Mapping[str, str]) -> None:
    """By rename: another run may be reading the file now. Where nothing can be written, each run asks anew."""
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
        temporary.replace(memory)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
