"""What this machine gives a build: found by trying, once a run, and what is weaker where it gives less.

one attempt of all ── works ──> full strength
        │ fails
one attempt each: mounts, network, users, chroot ──> Powers ──> sentences for keys, manifests, labels, the verdict
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import msgspec

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output
from xwhep_packaging.command import Command
from xwhep_packaging.errors import PipelineError

ATTEMPT_S = 15.0
WEAKER = "weaker"  # the input of a key and the fact of a manifest
AS_USER = ("--user", "--map-root-user")
MOUNT = ("mount", "-t", "tmpfs", "xwhep-attempt", "/mnt")  # in namespaces that end with it
ALL = ("sh", "-c", "mount -t tmpfs xwhep-attempt /mnt && exec unshare --user -- true")

# Stage -> (the powers that it needs, what to say where it lacks one).
NEEDED = {
    "base": (("mounts", "network"), "root file systems were made without a network namespace and without /proc"),
    "debs": (("mounts", "network", "users"), "packages were built in a plain chroot: network not cut off, no /proc"),
    "lint": (("mounts", "network", "users"), "lintian ran in a plain chroot, without /proc"),
    "base_image": (("mounts", "network"), "the base image was baked without namespaces"),
    "images": (("mounts", "network"), "images were baked in a plain chroot: network not cut off, no /proc"),
    "bound": (("mounts", "network"), "bound images were baked in a plain chroot: network not cut off, no /proc"),
}
NEEDED["pedantic"] = NEEDED["lint"]


class Powers(msgspec.Struct, frozen=True, kw_only=True):
    """Whether these work here: mounts and networks of one's own in namespaces, user namespaces, chroot."""

    mounts: bool
    network: bool
    users: bool
    chroot: bool

    def lacking(self, needed: Iterable[str]) -> list[str]:
        return [name for name in needed if not getattr(self, name)]

    @property
    def containers(self) -> bool:
        """Whether podman and buildah can work as they do elsewhere."""
        return self.mounts and self.network


FULL = Powers(mounts=True, network=True, users=True, chroot=True)


def _works(argv: Sequence[str]) -> bool:
    try:
        return command.run(Command(argv=argv, timeout_s=ATTEMPT_S), check=False).returncode == 0
    except PipelineError:
        return False


def attempt(works: Callable[[Sequence[str]], bool], *, root: bool) -> Powers:
    """Every answer is that of a real attempt; a machine at full strength is asked once."""
    user = () if root else AS_USER
    if works(["unshare", *user, "--mount", "--net", "--", *ALL]):
        return Powers(mounts=True, network=True, users=True, chroot=root)
    return Powers(
        mounts=works(["unshare", *user, "--mount", "--", *MOUNT]),
        network=works(["unshare", *user, "--net", "--", "true"]),
        users=works(["unshare", "--user", "--", "true"]),
        chroot=root and works(["chroot", "--userspec=65534:65534", "/", "true"]),
    )


_one_at_a_time = threading.Lock()


def found() -> Powers:
    with _one_at_a_time:
        return _found()


@cache
def _found() -> Powers:
    return attempt(_works, root=os.geteuid() == 0)


def ahead() -> None:
    """Try beside what is done meanwhile; `found` waits for it."""
    threading.Thread(target=found).start()


def weaker(stage: str, powers: Powers | None = None) -> tuple[str, ...]:
    """What is to be said of all that a stage makes here; empty at full strength."""
    if stage not in NEEDED:
        return ()
    needed, sentence = NEEDED[stage]
    return (sentence,) if (powers or found()).lacking(needed) else ()


def all_weaker(stage: str, inputs: Iterable[Output]) -> tuple[str, ...]:
    """The same, and what was weaker in what it is made from."""
    said = [sentence for output in inputs for sentence in output.manifest.facts.get(WEAKER, ())]
    return tuple(dict.fromkeys([*said, *weaker(stage)]))


def storage_environment() -> dict[str, str]:
    """What buildah is told where it may make no namespaces. Being root, it would enter one of users first, as it does
    for an ordinary user; told that it is in it already, it works on folders alone, which the driver vfs keeps."""
    if found().containers or os.geteuid() != 0:
        return {}
    return {
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": "1",
        "_CONTAINERS_ROOTLESS_GID": "1",
        "STORAGE_DRIVER": "vfs",
    }
