"""Measures what DESIGN.md's figures name, as a user would see them, beside what the same user would do by hand.

    figures.py GROUP OUTPUT --runs N      GROUP: pipeline | platform | worker | scale | release | peers

Every figure is the median of N runs of a whole command, in seconds unless its name says otherwise. Pipeline and peers
are measured in a clone elsewhere, on the machine's own mirror. OUTPUT is one flat JSON object; other groups' figures in
it are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@example.invalid", "-c", "commit.gpgsign=false")
DEBIAN_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
EPOCH = "1735689600"


@dataclass
class Figures:
    """Samples by name. The medians are written to `output` after every sample: what was measured outlives a stop."""

    output: Path
    runs: int
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)
        self._save()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.add(name, time.monotonic() - started)
        print(f"  {name:<32} {self.samples[name][-1]:8.3f}", flush=True)

    def _save(self) -> None:
        """Other groups' figures in the file are kept."""
        known = json.loads(self.output.read_text()) if self.output.is_file() else {}
        machine = {"machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"}
        stamp = {"measured_on": time.strftime("%Y-%m-%d", time.gmtime()), "runs": self.runs}
        medians = {name: round(statistics.median(values), 4) for name, values in self.samples.items()}
        flat = {**known, **machine, **stamp, **medians}
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(json.dumps(flat, indent=1, sort_keys=True) + "\n")


def run(argv: list[str | Path], **options: Any) -> str:
    """A command that must succeed; what it printed is shown when it does not."""
    done = subprocess.run(
        [str(part) for part in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options
    )
    if done.returncode != 0:
        sys.exit(f"{argv[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


@dataclass(frozen=True)
class Clone:
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Clone:
        run(["git", "clone", "--quiet", REPOSITORY, folder])
        return cls(folder)

    def doit(self, *words: str) -> str:
        return run([self.folder / "scripts/doit", *words])

    def latest(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder / "_build/latest.json").read_text())
        return report

    def commit_change(self, *files: str) -> None:
        for file in files:
            with (self.folder / file).open("a") as stream:
                stream.write(f"# {time.time_ns()}\n")
        run(["git", *IDENTITY, "commit", "--quiet", "--all", "--message", "bench"], cwd=self.folder)

    def forget(self, stage: str) -> None:
        shutil.rmtree(self.folder / "_build" / stage)


def measure_pipeline(figures: Figures, runs: int) -> None:
    """Cold: fresh clone, no .venv, empty store. Warm: a commit that touches all three roles."""
    with tempfile.TemporaryDirectory(prefix="xwhep-bench-") as folder:
        clone = _cold_build(figures, Path(folder) / "clone")
        _image_figures(figures, clone.latest())
        for _ in range(runs):
            _measure_warm(figures, clone)
        for _ in range(runs - 1):
            shutil.rmtree(_cold_build(figures, Path(folder) / "again").folder)


def _cold_build(figures: Figures, folder: Path) -> Clone:
    clone = Clone.at(folder)
    with figures.timed("build_cold_s"):
        clone.doit("build")
    return clone


def _measure_warm(figures: Figures, clone: Clone) -> None:
    roles = [f"src/xwhep/{role}/main.py" for role in ("server", "worker", "client")]
    clone.commit_change(*roles)
    with figures.timed("build_warm_s"):
        clone.doit("build")
    for name, value in clone.latest()["timings"].items():
        figures.add(name, value)
    with figures.timed("build_noop_s"):
        clone.doit("build")
    clone.commit_change(roles[1])
    with figures.timed("rebuild_worker_s"):
        clone.doit("build")
    clone.forget("images")
    with figures.timed("bake_three_s"):
        clone.doit("images")
    clone.forget("network_test")
    with figures.timed("network_test_s"):
        clone.doit("network_test")


def _image_figures(figures: Figures, report: dict[str, Any]) -> None:
    sizes = {image["name"]: image["size"] for image in report["images"]}
    for name, size in sizes.items():
        figures.add(f"image_{name}_mb", size / 1e6)
    pairs = [pair for image in report["images"] for pair in zip(image["layers"], image["layer_sizes"], strict=True)]
    layers = dict(pairs)
    figures.add("shared_bytes_ratio", 1 - sum(layers.values()) / sum(sizes.values()))


def measure_peers(figures: Figures, runs: int) -> None:
    """The same work with the plain tools: what a careful administrator would type without this pipeline."""
    with tempfile.TemporaryDirectory(prefix="xwhep-bench-") as folder:
        clone = Clone.at(Path(folder) / "clone")
        clone.doit("build")
        for _ in range(runs):
            _peer_mmdebstrap(figures, clone, Path(folder))
            _peer_dpkg_buildpackage(figures, clone, Path(folder))
            _peer_docker_build(figures, clone, Path(folder))


def _log_of(clone: Clone, name: str) -> str:
    return (clone.folder / "_build/logs" / f"{name}.log").read_text()


def _peer_mmdebstrap(figures: Figures, clone: Clone, folder: Path) -> None:
    """mmdebstrap with the same packages and sources, as its manual page shows it: no tmpfs, nothing left out."""
    sys.path.insert(0, str(REPOSITORY / "packaging"))
    from xwhep_packaging import archive, settings  # noqa: PLC0415 - only this group needs the pipeline's own

    loaded = settings.load(clone.folder / "packaging/pipeline.toml")
    include = f"--include={','.join(loaded.base.packages)}"
    target = folder / "peer.tar"
    with figures.timed("peer_mmdebstrap_s"):
        run(["mmdebstrap", "--variant=apt", include, loaded.suite.name, target, *archive.apt_lines(loaded)])
    figures.add("peer_mmdebstrap_mb", target.stat().st_size / 1e6)
    target.unlink()


def _peer_dpkg_buildpackage(figures: Figures, clone: Clone, folder: Path) -> None:
    """Unpack the build root, copy the tree in, dpkg-buildpackage, lintian: what a pbuilder call does each time."""
    root = folder / "root"
    chroot = next(path for path in clone.folder.glob("_build/base/*/root.tar") if _is_chroot(path))
    with figures.timed("peer_dpkg_buildpackage_s"):
        root.mkdir()
        run(["tar", "-C", root, "-xf", chroot, "--exclude=./dev/*"])
        run(["git", "clone", "--quiet", clone.folder, root / "build"])
        environment = {"PATH": DEBIAN_PATH, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": EPOCH}
        run(["chroot", root, "sh", "-c", "cd /build && dpkg-buildpackage -us -uc -b"], env=environment)
        run(["chroot", root, "sh", "-c", "lintian --allow-root /*.changes || true"], env=environment)
    shutil.rmtree(root)


def _is_chroot(tarball: Path) -> bool:
    return bool(json.loads((tarball.parent / "manifest.json").read_text())["name"] == "chroot")


def _peer_docker_build(figures: Figures, clone: Clone, folder: Path) -> None:
    """Three plain Dockerfiles on the same base, built one after the other by a docker daemon started before."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
    from daemon import private_dockerd  # noqa: PLC0415 - only this group needs a daemon

    place = Path(tempfile.mkdtemp(prefix="dockerd-", dir=folder))
    with private_dockerd(place) as address:
        environment = {**os.environ, "DOCKER_HOST": address, "DOCKER_BUILDKIT": "0"}
        docker = "/usr/bin/docker"
        base = next(path for path in clone.folder.glob("_build/base/*/root.tar") if not _is_chroot(path))
        run([docker, "import", base, "peer-base"], env=environment)
        contexts = [_docker_context(clone, place, row["path"]) for row in clone.latest()["debs"][:3]]
        with figures.timed("peer_docker_build_three_s"):
            for context in contexts:
                run([docker, "build", "--no-cache", "--tag", context.name, context], env=environment)
    shutil.rmtree(place, ignore_errors=True)


def _docker_context(clone: Clone, folder: Path, deb: str) -> Path:
    context = folder / Path(deb).name.partition("_")[0]
    context.mkdir()
    shutil.copy(deb, context)
    (context / "Dockerfile").write_text("FROM peer-base\nCOPY *.deb /tmp/\nRUN dpkg -i /tmp/*.deb\n")
    return context


def measure_platform(figures: Figures, runs: int) -> None:
    """The server alone, without containers; what its figures mean stands in server_figures.py."""
    _measure_script(figures, runs, "server_figures.py")


def measure_worker(figures: Figures, runs: int) -> None:
    """A server and real workers, without containers; what its figures mean stands in worker_figures.py."""
    _measure_script(figures, runs, "worker_figures.py")


def measure_scale(figures: Figures, runs: int) -> None:
    """A server with very much to do; what its figures mean stands in scale_figures.py."""
    _measure_script(figures, runs, "scale_figures.py")


def measure_release(figures: Figures, runs: int) -> None:
    """A repository of 10 000 packages; what its figures mean stands in release_figures.py."""
    _measure_script(figures, runs, "release_figures.py")


def _measure_script(figures: Figures, runs: int, name: str) -> None:
    script = Path(__file__).with_name(name)
    for _ in range(runs):
        for figure, value in json.loads(run([sys.executable, script])).items():
            figures.add(figure, value)
            print(f"  {figure:<32} {value:8.3f}", flush=True)


GROUPS: dict[str, Callable[[Figures, int], None]] = {
    "pipeline": measure_pipeline,
    "platform": measure_platform,
    "worker": measure_worker,
    "scale": measure_scale,
    "release": measure_release,
    "peers": measure_peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=sorted(GROUPS))
    parser.add_argument("output", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    GROUPS[options.group](Figures(options.output, options.runs), options.runs)


if __name__ == "__main__":
    main()
