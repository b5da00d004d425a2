"""A release's images in a registry: the very manifests of its layout, so digests stay.

RELEASES/VERSION/oci ──skopeo──> REGISTRY/xwhep-server:VERSION, and :CHANNEL for each channel that shows this version

Credentials are those of the usual file (`skopeo login REGISTRY`); none is given on a command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.channels import CHANNELS, Channels
from xwhep_packaging.release.layout import NAME

REGISTRY = re.compile(r"[a-z0-9]([a-z0-9.:/_-]*[a-z0-9])?", re.I)
REFUSED = re.compile(r"unauthorized|authentication required|denied", re.I)
UNREACHABLE = re.compile(r"connection refused|no such host|timeout|server gave HTTP response|certificate", re.I)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """`address`: a host, perhaps a port and a path. `insecure`: plain HTTP, or a certificate nobody vouches for."""

    address: str
    insecure: bool = False

    def __post_init__(self) -> None:
        if not REGISTRY.fullmatch(self.address):
            raise ReleaseError(
                f"{self.address!r} is no registry", next_step="scripts/doit release:push registry=HOST[:PORT][/PATH]"
            )


def push(channels: Channels, version: str, registry: Registry, say: Callable[[str], None]) -> None:
    """Copy every image of a release that is there.

    Raises:
        ReleaseError: the registry does not answer, or refuses.
    """
    folder = channels.folder / version
    for name, target in wanted(channels, version):
        place = f"{registry.address}/{target}"
        argv = ["skopeo", "copy", "--quiet", "--all", f"--dest-tls-verify={str(not registry.insecure).lower()}"]
        done = command.run(Command(argv=[*argv, f"oci:{folder / 'oci'}:{name}", f"docker://{place}"]), check=False)
        if done.returncode != 0:
            raise _explained(registry, place, done.stderr or done.stdout)
        say(f"{place}@{digest(folder / 'oci', name)}")


def wanted(channels: Channels, version: str) -> Iterator[tuple[str, str]]:
    """(name in the layout, name and tag in the registry) of each image, once for each of its tags there."""
    shown = {channel for channel in CHANNELS if channels.current(channel) == version}
    for name in names(channels.folder / version / "oci"):
        image, colon, tag = name.rpartition(":")
        if colon and (tag in shown or tag not in CHANNELS):
            yield name, f"{image}:{tag}"


def names(layout: Path) -> list[str]:
    return [entry["annotations"][NAME] for entry in _entries(layout)]


def digest(layout: Path, name: str) -> str:
    """Of the manifest that a name stands for."""
    return next(str(entry["digest"]) for entry in _entries(layout) if entry["annotations"][NAME] == name)


def _entries(layout: Path) -> list[dict[str, dict[str, str]]]:
    entries: list[dict[str, dict[str, str]]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return entries


def _explained(registry: Registry, place: str, output: str) -> ReleaseError:
    next_step = "check the address, then type it again: what is there already is not sent again"
    if REFUSED.search(output):
        next_step = f"skopeo login {registry.address.partition('/')[0]}"
    elif UNREACHABLE.search(output) and not registry.insecure:
        next_step = "check the address; insecure=1 is for a registry without a certificate that this machine knows"
    return ReleaseError(f"cannot push {place}", cause=command.last_lines(output, 3), next_step=next_step)
