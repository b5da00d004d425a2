"""One package more in an apt repository of 10 000, published with a signature. Prints one flat JSON object.

    PYTHONPATH=packaging python tests/bench/release_figures.py [--packages 10000]

repo_publish_10k_s           indexes read, one package added, all written, compressed, hashed and signed
peer_apt_ftparchive_10k_s    the same by apt-ftparchive with a warm cache, gzip and gpg

Both start from the same pool, whose indexes apt-ftparchive wrote before; its packages hold one small file each.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packaging"))

from xwhep_packaging.release.repository import About, Index, write_suite
from xwhep_packaging.release.signing import Key, key_of

EPOCH = 1_800_000_000
ABOUT = About(origin="bench", label="bench", suite="stable", architecture="amd64", epoch=EPOCH)
CACHED = ("--db", "cache.db")


def tar_of(files: dict[str, str]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(whole.getvalue(), mtime=0)


def write_deb(folder: Path, name: str) -> Path:
    """As dpkg-deb would, which takes a hundred times as long."""
    control = f"Package: {name}\nVersion: 1\nArchitecture: amd64\nSection: misc\nMaintainer: A <a@b.invalid>\n"
    control += f"Depends: libc6\nDescription: package {name}\n One of very many, each with a description\n"
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar_of({"control": control}),
        "data.tar.gz": tar_of({f"usr/share/doc/{name}/copyright": "none\n"}),
    }
    path = folder / f"{name}_1_amd64.deb"
    with path.open("wb") as stream:
        stream.write(b"!<arch>\n")
        for member, content in parts.items():
            stream.write(f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            stream.write(content + b"\n" * (len(content) % 2))
    return path


def archive(folder: Path, *words: str) -> bytes:
    return subprocess.run(["apt-ftparchive", *words], cwd=folder, check=True, capture_output=True).stdout


def publish_by_apt(folder: Path, key: Key) -> None:
    """What a careful administrator's script does, with all the caches that apt-ftparchive has."""
    suite = folder / "dists" / "stable"
    indexes = {
        "main/binary-amd64/Packages": archive(folder, *CACHED, "packages", "pool"),
        "main/Contents-amd64": archive(folder, *CACHED, "contents", "pool"),
    }
    for name, content in indexes.items():
        (suite / name).parent.mkdir(parents=True, exist_ok=True)
        (suite / name).write_bytes(content)
        (suite / f"{name}.gz").write_bytes(gzip.compress(content, 6, mtime=0))
    release = archive(suite, "release", ".").decode()
    (suite / "Release").write_text(release)
    (suite / "InRelease").write_text(key.clear_signed(release, EPOCH))
    (suite / "Release.gpg").write_text(key.detached(release, EPOCH))


def seconds_by_apt(folder: Path, key: Key) -> float:
    write_deb(folder / "pool", "one-more")
    began = time.perf_counter()
    publish_by_apt(folder, key)
    return time.perf_counter() - began


def seconds_by_us(folder: Path, key: Key) -> float:
    deb = write_deb(folder / "pool", "another")
    suite = folder / "dists" / "stable"
    began = time.perf_counter()
    index = Index.read(suite, "amd64")
    index.add_deb(deb, f"pool/{deb.name}")
    write_suite(suite, index, ABOUT, key)
    spent = time.perf_counter() - began
    assert ("another", "1") in Index.read(suite, "amd64").packages
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=int, default=10_000)
    count = parser.parse_args().packages
    folder = Path(tempfile.mkdtemp(prefix="xwhep-bench-"))
    try:
        (folder / "pool").mkdir()
        for number in range(count):
            write_deb(folder / "pool", f"package-{number:05}")
        with key_of("", folder / "key" / "secret.asc", lambda line: None) as key:
            publish_by_apt(folder, key)
            os.sync()
            found = {
                "peer_apt_ftparchive_10k_s": seconds_by_apt(folder, key),
                "repo_publish_10k_s": seconds_by_us(folder, key),
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
