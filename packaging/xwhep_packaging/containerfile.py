"""The Containerfiles that the pipeline writes: of an image that the pipeline file describes, and of a bound image."""

from __future__ import annotations

import json
import re
import shlex

from xwhep_packaging.definitions import Image

# What dpkg leaves behind: times and backups of one run.
RESIDUE = (
    "/var/log/dpkg.log",
    "/var/log/alternatives.log",
    "/var/lib/dpkg/*-old",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
)
LABELS = (("revision", "REVISION"), ("source", "SOURCE"), ("version", "VERSION"), ("created", "CREATED"))


def render(title: str, image: Image) -> str:
    """One thin layer on the base: the packages beside the Containerfile, folders for the volumes, and how it runs."""
    user, group = owner(image.user)
    folders = [f"install -d -o {user} -g {group} -m 0700 {shlex.quote(volume)}" for volume in image.volumes]
    steps = ["dpkg --install /run/debs/*.deb", *folders, f"rm -rf {' '.join(RESIDUE)}"]
    lines = [
        "ARG BASE",
        "FROM ${BASE}",
        "ARG SOURCE_DATE_EPOCH",  # reaches the RUN, where /etc/shadow and byte code would else hold today's time
        f"RUN --mount=type=bind,source=.,target=/run/debs {' && '.join(steps)}",
        *(f"ENV {name}={quoted(value)}" for name, value in sorted(image.environment.items())),
        f"USER {user}:{group}",
        *(f"VOLUME {json.dumps([volume])}" for volume in image.volumes),
        *([f"WORKDIR {image.volumes[0]}"] if image.volumes else []),
        *(f"EXPOSE {port}" for port in image.ports),
        "STOPSIGNAL SIGTERM",
        *_health(image),
        *([f"ENTRYPOINT {json.dumps(image.entrypoint)}"] if image.entrypoint else []),
        *([f"CMD {json.dumps(image.command)}"] if image.command else []),
        *(f"ARG {argument}" for _, argument in LABELS),
        f"LABEL org.opencontainers.image.title={quoted(title)}",
        *(f'LABEL org.opencontainers.image.{label}="${{{argument}}}"' for label, argument in LABELS),
    ]
    return "\n".join(lines) + "\n"


def render_bound(title: str, deployment: str, user: str) -> str:
    """One small layer on a role's image: its conf package, which lies beside the Containerfile. `user` is the role
    image's own; everything else that says how it runs is inherited."""
    lines = [
        "ARG ROLE_IMAGE",
        "FROM ${ROLE_IMAGE}",
        "ARG SOURCE_DATE_EPOCH",
        "USER 0:0",
        f"RUN --mount=type=bind,source=.,target=/run/debs dpkg --install /run/debs/*.deb && rm -rf {' '.join(RESIDUE)}",
        f"USER {user}",
        "ARG CREATED",
        f'LABEL org.xwhep.private="true" org.xwhep.deployment={quoted(deployment)}',
        f"LABEL org.opencontainers.image.title={quoted(title + ' of ' + deployment)}",
        'LABEL org.opencontainers.image.created="${CREATED}"',
    ]
    return "\n".join(lines) + "\n"


def owner(user: str) -> tuple[str, str]:
    """(user, group) as numbers; the group is the user's unless it is named."""
    number, _, group = user.partition(":")
    return number, group or number


def quoted(text: str) -> str:
    """A word of a Containerfile that stands for `text` itself: nothing in it is expanded."""
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def _health(image: Image) -> list[str]:
    check = image.health
    if check is None:
        return []
    times = f"--interval={check.interval_s}s --timeout={check.timeout_s}s --start-period={check.start_s}s"
    return [f"HEALTHCHECK {times} --retries={check.retries} CMD {json.dumps(check.command)}"]
