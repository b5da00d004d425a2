"""Builder `debian`: any tree with debian/, native or quilt, format 3.0 or 1.0.

tree ──> changelog entry (version, date of the commit) ──┐
orig tarball: committed, or made from the tree ──────────┴──> dpkg-buildpackage ──> .deb .dsc .buildinfo .changes
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import msgspec

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.definitions import DebianSource
from xwhep_packaging.errors import BuildError
from xwhep_packaging.stages.debs import control, explain
from xwhep_packaging.stages.debs.job import Built, Job

NATIVE, QUILT, OLD = "3.0 (native)", "3.0 (quilt)", "1.0"
LISTED = re.compile(r"^ [0-9a-f]{32} \d+ \S+ \S+ (\S+)$", re.M)  # the field Files of .changes
ORIG = re.compile(r"\.orig(-[\w-]+)?\.tar\.\w+$")
TAR_NAME = re.compile(r"\.tar\.(gz|xz|bz2|lzma)$")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A Debian source tree under work/, ready but for its orig tarball."""

    folder: Path
    package: str
    version: str
    native: bool

    @property
    def upstream(self) -> str:
        """The version without epoch and revision, as file names carry it."""
        return re.sub(r"^\d+:", "", self.version).rpartition("-")[0]

    def orig_name(self, suffix: str = "gz") -> str:
        return f"{self.package}_{self.upstream}.orig.tar.{suffix}"


def build(job: Job, source: DebianSource) -> Built:
    """Build every binary package of the tree.

    Raises:
        BuildError: it is no Debian source, a build dependency is missing, or the build fails.
    """
    folder = job.unpack(source.subfolder, job.work / job.name)
    tree = _prepared(job, source, folder)
    has_orig = tree.native or _take_orig(job, source, tree)
    steps = [] if has_orig else [orig_script(tree, job.commit.epoch)]
    run_build(job, tree, steps)
    return Built(package=tree.package, version=tree.version, facts={"format": read_format(folder)})


def run_build(job: Job, tree: Tree, steps: list[str]) -> None:
    """Run `steps` in /build, then dpkg-buildpackage in the tree."""
    # A chroot without build-essential is meant so: gcc is half of its size.
    lean = "" if "build-essential" in job.chroot.packages else " --ignore-builtin-builddeps"
    # The one place where dpkg writes the day of the build; .changes, which comes after, holds the file's hash.
    date = formatdate(job.chroot.epoch).replace("-0000", "+0000")
    hook = shlex.quote(f"--hook-changes=sed -i 's/^Build-Date: .*/Build-Date: {date}/' ../*.buildinfo")
    name = shlex.quote(tree.folder.name)
    # Source tarballs keep modes, which were made under the umask of whoever unpacked and wrote.
    modes = f"chmod --recursive u=rwX,go=rX {name}"
    build = f"{modes} && cd {name} && exec dpkg-buildpackage -us -uc --build=full{lean} {hook}"
    before = _files(job.work)
    result = job.chroot.shell("\n".join([*steps, build]), "/build", job.log)
    if result.returncode != 0:
        raise explain.failed_build(job.name, result.stdout, job.log)
    _refuse_strays(job, _files(job.work) - before)


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.is_dir() or path.is_symlink()}


def _refuse_strays(job: Job, made: set[str]) -> None:
    """All that lies beside the tree is published: only what .changes names, itself, and the orig tarball may.

    Raises:
        BuildError: the build put something else there.
    """
    listed = {name for file in job.work.glob("*.changes") for name in LISTED.findall(file.read_text(encoding="utf-8"))}
    strays = {name for name in made - listed if not name.endswith(".changes") and not ORIG.search(name)}
    if strays:
        raise BuildError(
            f"source {job.name!r} writes outside its folder: {', '.join(sorted(strays))}",
            cause="the build left it beside the tree, and .changes does not name it",
            next_step="write below debian/ in the tree; what nobody needs can go to /tmp",
            log=job.log,
        )


def orig_script(tree: Tree, epoch: int) -> str:
    """Make the orig tarball of what is not debian/: sorted, times the commit's, owners nobody's."""
    options = (
        f"--sort=name --mtime=@{epoch} --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX,a-s --format=gnu "
        f"--anchored --exclude={shlex.quote(tree.folder.name)}/debian"
    )
    top = f"{tree.package}-{tree.upstream}"
    rename = shlex.quote(f"--transform=s,^{re.escape(tree.folder.name)},{top},S")
    name = shlex.quote(tree.folder.name)
    return f"tar --create {options} {rename} {name} | gzip --no-name --best > {shlex.quote(tree.orig_name())}"


def read_format(folder: Path) -> str:
    """The source format; 1.0 when debian/source/format is missing.

    Raises:
        BuildError: it is one that this builder does not know.
    """
    file = folder / "debian" / "source" / "format"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else OLD
    if text not in (NATIVE, QUILT, OLD):
        raise BuildError(
            f"debian/source/format says {text!r}, which cannot be built", next_step=f"{NATIVE}, {QUILT} or {OLD}"
        )
    return text


def dated_version(head: str, commit: Commit, *, native: bool, pristine: bool) -> str:
    """The version of this commit, from the changelog's. A made orig tarball is named by its commit, since its bytes
    are; a pristine one keeps its name, so the date joins the revision.

    Raises:
        BuildError: a quilt source's version has no revision.
    """
    if native:
        return commit.version(head)
    upstream, dash, revision = head.rpartition("-")
    if not dash:
        raise BuildError(
            f"the version {head} in debian/changelog has no revision, which a source with an orig tarball needs",
            next_step=f"make it {head}-1, or write '{NATIVE}' into debian/source/format",
        )
    tag = commit.tag.removeprefix("v")
    if tag and tag == re.sub(r"^\d+:", "", upstream):
        return head
    if pristine:
        return head + msgspec.structs.replace(commit, tag="").version("")
    return f"{commit.version(upstream)}-{1 if tag else revision}"


def _prepared(job: Job, source: DebianSource, folder: Path) -> Tree:
    """Check control and changelog; put an entry for the commit's version on top, unless the top has it already."""
    debian = folder / "debian"
    if not (debian / "changelog").is_file() or not (debian / "control").is_file():
        raise BuildError(
            f"source {job.name!r} has no debian/control and debian/changelog",
            next_step="commit them, name the right `subfolder`, or choose another builder",
        )
    paragraphs = control.parse((debian / "control").read_text(encoding="utf-8"), f"debian/control of {job.name!r}")
    text = (debian / "changelog").read_text(encoding="utf-8")
    package, head = control.changelog_head(text)
    if package != paragraphs[0]["Source"]:
        raise BuildError(
            f"debian/changelog is of {package!r}, debian/control of {paragraphs[0]['Source']!r}",
            next_step="give both the same source name",
        )
    form = read_format(folder)
    native = form == NATIVE or (form == OLD and "-" not in head)
    version = dated_version(head, job.commit, native=native, pristine=bool(source.orig))
    if version != head:
        # The package's own maintainer: under another name lintian takes the entry for somebody else's upload.
        maintainer, after = paragraphs[0]["Maintainer"].strip(), control.changelog_time(text)
        entry = control.changelog_entry((package, version), job.commit, maintainer, after)
        (debian / "changelog").write_text(entry + text, encoding="utf-8")
    return Tree(folder=folder, package=package, version=version, native=native)


def _take_orig(job: Job, source: DebianSource, tree: Tree) -> bool:
    """Move the declared orig tarball out of the tree, to where dpkg-source looks for it."""
    if not source.orig:
        return False
    path, suffix = tree.folder / source.orig, TAR_NAME.search(source.orig)
    if not path.is_file() or suffix is None:
        raise BuildError(
            f"source {job.name!r} has no orig tarball {source.orig!r}",
            cause="" if suffix else "its name must end in .tar.gz, .tar.xz or .tar.bz2",
            next_step=f"correct `orig` of [sources.{job.name}], commit the file, and let `ships` name it",
        )
    path.rename(job.work / tree.orig_name(suffix[1]))
    return True
