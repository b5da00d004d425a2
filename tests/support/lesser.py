"""A machine that gives less: a container of a private docker daemon, as CI runners give one. Root, docker's own seccomp
profile and capabilities, no network; the tools are this machine's, read-only."""

from __future__ import annotations

import io
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clones import REPOSITORY, Clone
from xwhep_packaging import settings
from xwhep_packaging.docker_build import find_client

SHOWN = ("/usr", "/etc", "/var/lib/dpkg")
LINKS = ("bin", "sbin", "lib", "lib64")
FOLDERS = ("root", "tmp", "proc", "sys", "dev", "run", "mnt", "home", "var/tmp", "var/log", "var/cache", "var/lib")
LIMIT_S = 900


@dataclass(frozen=True, kw_only=True)
class Lesser:
    """`name` is the container's; `folder` the clone in it; `environment` what each `doit` there is given."""

    address: str
    name: str
    folder: Path
    environment: tuple[str, ...]
    limit_s: float = LIMIT_S

    def doit(self, *words: str, code: int = 0) -> str:
        argv = [str(self.folder / "scripts" / "doit"), *words]
        return self.run("env", *self.environment, *argv, code=code)

    def run(self, *words: str, code: int = 0) -> str:
        argv = [find_client(), "--host", self.address, "exec", self.name, *words]
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=self.limit_s, check=False
        )
        assert done.returncode == code, done.stdout
        return done.stdout


def cache() -> Path:
    return settings.load(REPOSITORY / "packaging" / "pipeline.toml", {}).cache_folder


def tiny_root() -> bytes:
    """A root with folders and links, and no file: what a container needs before the machine's are shown in it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in FOLDERS:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
            archive.addfile(member)
        for name in LINKS:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(member)
    return content.getvalue()


def shown(clone: Clone) -> list[str]:
    """What is mounted read-only: the system, the pipeline's own Python and what it stands on, the packages."""
    venv = (REPOSITORY / ".venv").resolve()
    python = (venv / "bin" / "python").resolve().parents[1]
    places = [*SHOWN, str(venv), str(cache()), *([] if python.is_relative_to("/usr") else [str(python)])]
    return [part for place in places for part in ("--volume", f"{place}:{place}:ro")]


@contextmanager
def lesser_machine(address: str, clone: Clone) -> Iterator[Lesser]:
    """A container with the clone in it, until the block ends."""
    client, name = [find_client(), "--host", address], f"lesser-{secrets.token_hex(4)}"
    made = subprocess.run([*client, "import", "-", name], input=tiny_root(), check=True, capture_output=True)
    own = ["--volume", f"{clone.folder}:{clone.folder}"]
    argv = [*client, "run", "--detach", "--name", name, "--network=none", *shown(clone), *own, name]
    subprocess.run([*argv, "/usr/bin/sleep", "infinity"], check=True, capture_output=True)
    try:
        yield Lesser(address=address, name=name, folder=clone.folder, environment=(f"XWHEP_CACHE={cache()}",))
    finally:
        subprocess.run([*client, "rm", "--force", "--volumes", name], check=True, capture_output=True)
        subprocess.run([*client, "rmi", made.stdout.decode().strip()], check=True, capture_output=True)
