"""Failures that come back, by the words of the tools that report them: the cause for a person, and what to type next.

last lines of a log ──> first pattern that is found ──> cause, next command
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 16_000  # of a log's end
LAST_LINES = 20  # where a failing tool says why; what stands before may have been mended


@dataclass(frozen=True, kw_only=True)
class Known:
    """`pattern` is looked for in each of the last lines, as a regular expression without regard to case."""

    name: str
    pattern: str
    cause: str
    next_step: str


# The order decides: where limits on namespaces are reached, the kernel says "No space left on device" as well.
KNOWN: tuple[Known, ...] = (
    Known(
        name="no user namespaces",
        pattern=r"unshare failed|Creating new namespace failed|max_\*_namespaces"
        r"|No permissions to create (?:a )?new namespace"
        r"|cannot clone: (?:Operation not permitted|No space left)",
        cause="this machine allows no (more) user namespaces",
        next_step="as root: sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1; or build as root",
    ),
    Known(
        name="disk full",
        pattern=r"No space left on device|Disk quota exceeded|You don't have enough free space",
        cause="the disk, or the memory that holds temporary files, is full",
        next_step="df -h . /tmp /dev/shm; free some (scripts/doit prune; scripts/doit cache prune), then type it again",
    ),
    Known(
        name="missing subuid",
        pattern=r"no subuid ranges found|Found no [UG]ID ranges|/etc/subuid is empty|failed to parse /etc/subuid"
        r"|insufficient [UG]IDs available in user namespace",
        cause="this user has no range of subordinate user ids, which containers of ordinary users need",
        next_step='sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$USER"; podman system migrate',
    ),
    Known(
        name="clock skew",
        pattern=r"is not valid yet|is expired \(invalid since|certificate (?:is not yet valid|has expired)",
        cause="this machine's clock and the dates that others signed do not agree",
        next_step="date -u; set the clock (timedatectl set-ntp true), or take a mirror that is kept up to date",
    ),
    Known(
        name="hash mismatch",
        pattern=r"Hash Sum mismatch|File has unexpected size|DO NOT MATCH THE HASHES",
        cause="what was fetched is not what its index names: a mirror half updated, or a proxy that keeps old files",
        next_step="type it again in some minutes; if it stays so, use another mirror",
    ),
    Known(
        name="untrusted certificate",
        pattern=r"CERTIFICATE_VERIFY_FAILED|certificate verification failed|confirming the ssl certificate",
        cause="the other side's TLS certificate is not trusted here: a proxy of your network's own authority, often",
        next_step="name the authority's file: SSL_CERT_FILE=FILE scripts/doit build, and PIP_CERT=FILE for pip",
    ),
    Known(
        name="mirror unreachable",
        pattern=r"Could not connect to|Could not resolve|Temporary failure (?:in name resolution|resolving)"
        r"|Connection timed out|Network is unreachable|Name or service not known|Failed to establish a new connection",
        cause="a mirror or repository does not answer",
        next_step="check the network and http_proxy; see which mirrors this machine names: apt-cache policy",
    ),
    Known(
        name="port in use",
        pattern=r"address already in use|port is already allocated",
        cause="another program listens on the port that is needed",
        next_step="ss -ltnp shows which; stop it, or choose another port",
    ),
    Known(
        name="engine does not answer",
        pattern=r"Cannot connect to the Docker daemon|Cannot connect to Podman|unable to connect to Podman socket"
        r"|Error while fetching server API version",
        cause="the container engine does not answer at its address",
        next_step="echo $DOCKER_HOST; start the daemon (systemctl start docker), or take podman: XWHEP_ENGINE=podman",
    ),
    Known(
        name="out of memory",
        pattern=r"^\s*(?:\S+ line \d+:\s+\d+ |\S*:? ?\d* )?(?-i:Killed)\b"
        r"|Out of memory|Cannot allocate memory|MemoryError\b|was killed by SIGKILL"
        r"|virtual memory exhausted",
        cause="most likely there was not enough memory, so that the kernel killed a program",
        next_step="free -h; run fewer steps at once: scripts/doit -n 1 build",
    ),
    Known(
        name="permission denied",
        pattern=r"Permission denied|Read-only file system",
        cause="a file or folder may not be written or read by this user",
        next_step="see who owns the folder that is named: ls -ld FOLDER; build as the user that made _build",
    ),
)


def recognise(lines: Sequence[str]) -> Known | None:
    """The first entry of the table that fits one of these lines."""
    return next((known for known in KNOWN if any(re.search(known.pattern, line, re.I) for line in lines)), None)


def last_of(log: Path | None) -> list[str]:
    """The last lines of a log; none where it cannot be read."""
    if log is None:
        return []
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - READ_BYTES))
            return stream.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
    except OSError:
        return []
