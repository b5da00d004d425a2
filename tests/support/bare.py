"""A bare Debian in a container of a private docker daemon, as a CI runner starts one of the image `debian:trixie`: apt,
git and certificates, and no more of what a build needs. How it reaches mirrors is this machine's own configuration."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clones import REPOSITORY
from daemon import outgoing_dockerd
from lesser import Lesser
from xwhep_packaging import archive, settings
from xwhep_packaging.docker_build import find_client

INSTALLED = ("ca-certificates", "git")  # by hand: git to have the repository, the rest is for addresses with https
# As the makers of the image leave it: no services start, dpkg does not sync each file.
AS_IN_IMAGES = (
    'echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"',
    'printf "#!/bin/sh\\nexit 101\\n" > "$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"',
)
OF_APT = ("/etc/apt/apt.conf.d", "/etc/apt/auth.conf.d")
OF_PIP = ("/etc/pip.conf", "/etc/xdg/pip")
AUTHORITIES = "/usr/local/share/ca-certificates"
SERVED, CHECKOUT, HOME = "/served.git", "/builds/group/xwhep", "/builds/home"
RUNNER = "1001:1001"
LIMIT_S = 3600


def debian_image(folder: Path) -> Path:
    """The root file system of such an image, and git."""
    ours = settings.load(REPOSITORY / "packaging" / "pipeline.toml", {})
    root = folder / "root.tar"
    hooks = [*AS_IN_IMAGES, *(f"copy-in {place} /etc/apt" for place in OF_APT if Path(place).is_dir())]
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(INSTALLED)}"]
    argv += [f"--customize-hook={hook}" for hook in hooks]
    argv += [ours.suite.name, str(root), *archive.apt_lines(ours)]
    subprocess.run(argv, check=True, capture_output=True)
    return root


def shown() -> list[str]:
    """What is mounted read-only: how pip is set up, and whose certificates are trusted."""
    places = [place for place in (*OF_PIP, AUTHORITIES) if Path(place).exists()]
    return [part for place in places for part in ("--volume", f"{place}:{place}:ro")]


@contextmanager
def bare_machine(root: Path, served: Path) -> Iterator[Lesser]:
    """A container with the clone that a runner makes in it of the repository `served`, until the block ends."""
    # containerd takes no longer path of a socket than 104 characters
    with (
        tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as short,
        outgoing_dockerd(Path(short)) as address,
    ):
        client, name = [find_client(), "--host", address], f"bare-{secrets.token_hex(4)}"
        subprocess.run([*client, "import", str(root), name], check=True, capture_output=True)
        argv = [*client, "run", "--detach", "--name", name, "--network=host", *shown()]
        argv += ["--volume", f"{served}:{SERVED}:ro", name, "sleep", "infinity"]
        subprocess.run(argv, check=True, capture_output=True)
        machine = Lesser(
            address=address, name=name, folder=Path(CHECKOUT), environment=(f"HOME={HOME}",), limit_s=LIMIT_S
        )
        try:
            machine.run("update-ca-certificates")
            # As runners do: checkout and home are another user's, and anyone may clean up after the job.
            machine.run("sh", "-c", f"umask 0000 && mkdir -p {HOME} && git clone --quiet {SERVED} {CHECKOUT}")
            machine.run("chown", "--recursive", RUNNER, CHECKOUT, HOME)
            yield machine
        finally:
            subprocess.run([*client, "rm", "--force", "--volumes", name], check=True, capture_output=True)
