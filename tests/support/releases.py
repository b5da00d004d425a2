"""The earlier releases in tests/releases, checked and unpacked."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "releases"
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())  # as their dates sort
PREVIOUS = VERSIONS[-1]


def packages(version: str) -> dict[str, Path]:
    """Package name -> .deb, after signature and sums were checked."""
    folder = FOLDER / version
    sums = folder / "SHA256SUMS"
    argv = ["gpgv", "--keyring", str(FOLDER / "key.gpg"), f"{sums}.asc", str(sums)]
    subprocess.run(argv, check=True, capture_output=True)
    listed = dict(reversed(line.split("  ")) for line in sums.read_text().splitlines())
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    assert found == listed
    return {name.partition("_")[0]: folder / name for name in listed}


def unpacked(version: str, folder: Path) -> dict[str, Path]:
    """Role -> the folder of its private tree: what Python has to import from."""
    folder.mkdir()
    trees = {}
    for package, deb in packages(version).items():
        subprocess.run(["dpkg-deb", "--extract", str(deb), str(folder / package)], check=True)
        trees[package.removeprefix("xwhep-")] = folder / package / "usr" / "share" / package
    return trees
