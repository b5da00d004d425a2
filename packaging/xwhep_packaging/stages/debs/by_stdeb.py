"""Builder `stdeb`: a Python project without debian/ becomes a Debian source, then packages.

tree ──> wheel in the chroot ──> what it is (name, version, needs, commands) ──┐
                                                                               ├─ stdeb ──> debian/ ──┐
pipeline file: names, section, maintainer, depends ────────────────────────────┘                      │
overlay: units, conffiles, scripts, patches ──────────────────────────────────────────────────────────┤
tree ──> orig tarball (or the pinned sdist itself) ───────────────────────────────────────────────────┴──> .deb .dsc
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from xwhep_packaging.definitions import StdebSource
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs import by_debian, explain
from xwhep_packaging.stages.debs.job import Built, Job, extract, refuse_links_out
from xwhep_packaging.stages.debs.project import SHIM, Project, package_version, synopsis
from xwhep_packaging.stages.debs.stdeb_tree import DebianFolder

PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
INSPECT = Path(__file__).parent / "inspect_project.py"


def build(job: Job, source: StdebSource) -> Built:
    """Make the Debian source and build it.

    Raises:
        BuildError: it is no Python project, its wheel does not build, or a requirement has no Debian package.
    """
    tree = job.unpack(source.subfolder, job.work / ".tree")
    project = _inspected(job, tree)
    depends = debian_names(job.name, project, source)
    folder = tree.rename(job.work / project.debian_name)
    version = package_version(project, job.commit, job.overlay_epoch)
    ready = by_debian.Tree(folder=folder, package=project.debian_name, version=version, native=False)
    _run_stdeb(job, source, project, ready)
    debian = DebianFolder(
        tree=folder,
        project=project,
        package=binary_name(source, project),
        version=version,
        commit=job.commit,
        overrides=source.depends,
        homepage=source.homepage,
    )
    if job.overlay:
        overlay = job.work / ".overlay"
        extract(job.overlay, overlay, job.log, strip=len(Path(source.overlay).parts))
        refuse_links_out(overlay, sorted(overlay.glob("**/*")), job.name)
    pages = debian.finish(job.work / ".overlay" if job.overlay else None)
    steps = [] if _take_sdist(job, ready) else [by_debian.orig_script(ready, job.commit.epoch)]
    by_debian.run_build(job, ready, steps)
    facts = {"depends": depends, "man pages": pages, "python": {"name": project.name, "version": project.version}}
    return Built(package=ready.package, version=version, facts=facts)


def binary_name(source: StdebSource, project: Project) -> str:
    """The binary package's name: the setting's, else python3-NAME."""
    return source.package or f"python3-{project.debian_name}"


def _take_sdist(job: Job, ready: by_debian.Tree) -> bool:
    """A pinned sdist is its own orig tarball, byte for byte."""
    pristine = next(iter(sorted(job.archive.parent.glob("orig.tar.*"))), None)
    if pristine:
        shutil.copyfile(pristine, job.work / ready.orig_name(pristine.suffix[1:]))
    return pristine is not None


def debian_names(name: str, project: Project, source: StdebSource) -> dict[str, str]:
    """PyPI name -> Debian package for each requirement: the setting's, else the suite's own table.

    Raises:
        BuildError: some have neither.
    """
    chosen = {_plain(key): value for key, value in source.depends.items()}
    found = {key: chosen.get(_plain(key), value) for key, value in project.requires.items()}
    unknown = sorted(key for key, value in found.items() if not value)
    if unknown:
        raise BuildError(
            f"source {name!r} requires what no Debian package is known for",
            cause=", ".join(unknown),
            next_step=f'name it in [sources.{name}]: depends = {{ "{unknown[0]}" = "python3-..." }}',
        )
    return dict(sorted(found.items()))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _inspected(job: Job, tree: Path) -> Project:
    if (tree / "debian").exists():
        raise BuildError(f"source {job.name!r} has a debian/ folder", next_step='use builder = "debian"')
    if not any((tree / name).is_file() for name in PROJECT_FILES):
        raise BuildError(
            f"source {job.name!r} is no Python project",
            cause=f"none of {', '.join(PROJECT_FILES)} lies in it",
            next_step="correct `location` or `subfolder`, or choose another builder",
        )
    shutil.copyfile(INSPECT, job.work / ".inspect.py")
    argv = ["python3", "-I", "/build/.inspect.py", f"/build/{tree.name}", "/build/.project.json", SHIM]
    result = job.chroot.run(argv, "/build", job.log)
    if result.returncode != 0:
        raise _wheel_error(job, result.stdout)
    found = job.work / ".project.json"
    project = msgspec.json.decode(found.read_bytes(), type=Project)
    for path in (found, job.work / ".inspect.py"):
        path.unlink()
    return project


def _wheel_error(job: Job, output: str) -> BuildError:
    backend = re.search(r"Backend '([\w.]+)[^']*' is not available|No module named '([\w.]+)'", output)
    if backend:
        module = (backend[1] or backend[2]).split(".")[0]
        return BuildError(
            f"source {job.name!r} needs the Python module {module!r} to build",
            cause="the chroot lacks it",
            next_step=f'[sources.{job.name}] build_packages = ["python3-{module.replace("_", "-")}"]',
            log=job.log,
        )
    text = "\n".join(line for line in output.splitlines() if "CalledProcessError" not in line)
    return BuildError(
        f"the Python project of source {job.name!r} does not build",
        cause=explain.relevant_lines(text),
        next_step="mend what it names; python3 -m build --wheel shows the same",
        log=job.log,
    )


def _run_stdeb(job: Job, source: StdebSource, project: Project, ready: by_debian.Tree) -> None:
    """stdeb reads a setup.py; it gets one that says in so many words what the wheel's metadata say."""
    folder = job.work / ".stdeb"
    folder.mkdir()
    (folder / "setup.py").write_text(setup_for_stdeb(project), encoding="utf-8")
    (folder / "ours.cfg").write_text(stdeb_settings(job, source, project, ready), encoding="utf-8")
    own = ready.folder / "stdeb.cfg"
    if own.is_file():  # read after ours, so that the project's word stands
        shutil.copyfile(own, folder / "stdeb.cfg")
    argv = ["python3", "setup.py", "--command-packages=stdeb.command", "debianize", "--extra-cfg-file=ours.cfg"]
    result = job.chroot.run(argv, f"/build/{folder.name}", job.log)
    if result.returncode != 0:
        raise BuildError(
            f"stdeb cannot make a Debian source of {job.name!r}",
            cause=explain.relevant_lines(result.stdout),
            next_step="mend what it names",
            log=job.log,
        )
    (folder / "debian").rename(ready.folder / "debian")


def setup_for_stdeb(project: Project) -> str:
    """An extension module of any name tells stdeb that the package is bound to an architecture."""
    extension = "" if project.pure else ", ext_modules=[Extension('any', [])]"
    return (
        "from setuptools import Extension, setup\n\n"
        f"setup(name={project.debian_name!r}, version={project.version!r}, description={synopsis(project)!r}, "
        f"long_description='', url={project.homepage!r}, packages=[]{extension})\n"
    )


def stdeb_settings(job: Job, source: StdebSource, project: Project, ready: by_debian.Tree) -> str:
    """stdeb's own settings file."""
    fields = {
        "Source": ready.package,
        "Package3": binary_name(source, project),
        "Maintainer": source.maintainer or job.settings.product.maintainer,
        "Section": source.section,
    }
    return "[DEFAULT]\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
