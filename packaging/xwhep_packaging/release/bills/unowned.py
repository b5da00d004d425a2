"""Why an image holds files that no package owns. A file without a reason has no place in a release.

What packages of Debian write while they are configured is known here; what a product's own Containerfile adds is said
in the pipeline file: [images.NAME.expects] files.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

from xwhep_packaging.errors import ReleaseError

SHOWN = 8
# Shell patterns, in which * also matches a slash; the first that fits gives the reason.
REASONS: Mapping[str, tuple[str, ...]] = {
    "state of dpkg": ("/var/lib/dpkg/*",),
    "state of apt": ("/var/lib/apt/extended_states", "/var/lib/apt/lists/lock"),
    "answers to debconf's questions": ("/var/cache/debconf/*",),
    "paths that dpkg leaves out, so that no later package brings them": ("/etc/dpkg/dpkg.cfg.d/99mmdebstrap",),
    "which alternative is in use, a link of update-alternatives": ("/etc/alternatives/*",),
    "a command by the name that all its alternatives share": (
        "/usr/bin/awk",
        "/usr/bin/nawk",
        "/usr/bin/nc",
        "/usr/bin/netcat",
        "/usr/bin/pager",
        "/usr/bin/which",
        "/usr/sbin/rmt",
    ),
    "users and groups, written by base-passwd and systemd-sysusers": (
        "/etc/passwd",
        "/etc/group",
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/subuid",
        "/etc/subgid",
    ),
    "name, hosts and name server: the engine puts its own there": ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf"),
    "network names, written by netbase": ("/etc/networks",),
    "the streams of a process, for those who name them by path": (
        "/dev/fd",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
    ),
    "default of base-files": (
        "/etc/dpkg/origins/default",
        "/etc/inputrc",
        "/etc/motd",
        "/etc/nsswitch.conf",
        "/etc/profile",
        "/root/.bashrc",
        "/root/.profile",
        "/usr/local/man",
        "/usr/share/info/dir",
        "/var/spool/mail",
    ),
    "the bundle of certificate authorities, made by ca-certificates": (
        "/etc/ca-certificates.conf",
        "/etc/ssl/certs/*",
    ),
    "the time zone, UTC": ("/etc/localtime", "/etc/timezone"),
    "an empty table, written by mmdebstrap": ("/etc/environment", "/etc/fstab"),
    "the linker's cache": ("/etc/ld.so.cache",),
    "the login stack, composed by pam-auth-update": ("/etc/pam.d/common-*", "/var/lib/pam/*", "/etc/security/opasswd"),
    "the list of shells, made by debianutils": ("/etc/shells", "/var/lib/shells.state"),
    "which Python is installed": ("/etc/python3/debian_config", "/var/lib/python/*"),
    "a unit that its package has enabled": (
        "/etc/systemd/system/*.wants/*",
        "/var/lib/systemd/deb-systemd-helper-enabled/*",
        "/var/lib/systemd/deb-systemd-user-helper-enabled/*",
    ),
}


def reasons_of(image: str, paths: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """The reason of each path. `own`: patterns of the image's settings, with theirs.

    Raises:
        ReleaseError: some have none; they are named.
    """
    table = [*own.items(), *((pattern, reason) for reason, patterns in REASONS.items() for pattern in patterns)]
    found = {path: next((why for pattern, why in table if fnmatch.fnmatchcase(path, pattern)), "") for path in paths}
    if unknown := [path for path, reason in found.items() if not reason]:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise ReleaseError(
            f"image {image} holds files that no package owns, for no reason that is known",
            cause="\n".join(unknown[:SHOWN]) + more,
            next_step=f'remove them, or say why they are there: [images.{image}.expects] files = {{ "PATH" = "WHY" }}',
        )
    return found
