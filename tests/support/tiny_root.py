"""A root file system of a shell and a few tools, made of packages that this checkout's lock names: small and quick."""

from __future__ import annotations

import subprocess
from pathlib import Path

from clones import REPOSITORY
from workshop import LOCK
from xwhep_packaging import lockfile, settings
from xwhep_packaging.debcache import DebCache

PACKAGES = (
    "coreutils",
    "dash",
    "hostname",
    "libacl1",
    "libattr1",
    "libc6",
    "libgmp10",
    "libpcre2-8-0",
    "libselinux1",
    "libssl3t64",
    "libsystemd0",
    "libzstd1",
    "zlib1g",
)
LEFT_OUT = ("./usr/share/*", "./usr/lib/*/gconv/*", "./usr/lib/*/ossl-modules/*")
LINKS = ("bin", "sbin", "lib", "lib64")


def make_tiny_root(folder: Path) -> Path:
    """Fill `folder`, which is new; returns it."""
    known = lockfile.read(LOCK)
    assert known is not None
    cache = DebCache(settings.load(REPOSITORY / "packaging" / "pipeline.toml", {}).cache_folder)
    debs = [known.debs[name] for name in PACKAGES]
    assert cache.missing(debs) == [], "doit packages fills it"
    for link in LINKS:
        (folder / "usr" / link).mkdir(parents=True)
        (folder / link).symlink_to(f"usr/{link}")
    excluded = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    for deb in debs:
        content = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", cache.path(deb.sha256)], check=True, capture_output=True
        )
        argv = ["tar", "-C", str(folder), "--keep-directory-symlink", *excluded, "-x"]
        subprocess.run(argv, input=content.stdout, check=True)
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    (folder / "etc" / "resolv.conf").write_text("")
    return folder
