"""Stage debs: a source becomes .debs in a clean chroot with the network off.

source.tar ──> /build/NAME-VERSION ──> changelog entry (version, date of the commit)
                                              │
chroot.tar ──> tmpfs, read-only ── bwrap: no network, no root ── dpkg-buildpackage ──> .deb .dsc .buildinfo .changes
                                                                        └──> lintian ──> lint.txt (a task of its own)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.artefacts import Commit, Output, sha256_file
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import BuildError, LintError
from xwhep_packaging.settings import Settings, Source
from xwhep_packaging.store import Draft, Recipe, remove_tree

STAGE = "debs"
LINT_STAGE = "lint"
ENTER = Path(__file__).parent.parent / "in-chroot"
BUILD_USER = "1000"
CHANGELOG_HEAD = re.compile(r"^(?P<source>[a-z0-9][a-z0-9+.-]+) \((?P<version>[^)\s]+)\)", re.M)


@dataclass(frozen=True, kw_only=True)
class Chroot:
    """A clean root file system on tmpfs for one call: `work` is bound at /build, everything else is read-only."""

    tarball: Path
    mountpoint: Path
    work: Path
    epoch: int

    def command(self, argv: Sequence[str], cwd: str) -> list[str]:
        """`argv` as an unprivileged user, without network, with fixed host name and environment."""
        unshare = ["unshare", "--mount", "--propagation", "private", "--"]
        enter = [str(ENTER), str(self.tarball), str(self.mountpoint)]
        return [*unshare, *enter, *self._bwrap(cwd), *argv]

    def _bwrap(self, cwd: str) -> list[str]:
        environment = {
            "PATH": command.DEBIAN_PATH,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "HOME": "/nonexistent",
            "USER": "build",
            "LOGNAME": "build",
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "DEB_BUILD_OPTIONS": "parallel=2 nocheck",
        }
        variables = [part for name, value in environment.items() for part in ("--setenv", name, value)]
        mounts = ["--ro-bind", str(self.mountpoint), "/", "--bind", str(self.work), "/build"]
        kernel = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - inside the chroot
        user = ["--unshare-all", "--unshare-user", "--uid", BUILD_USER, "--gid", BUILD_USER, "--hostname", "build"]
        return ["bwrap", *mounts, *kernel, *user, "--die-with-parent", "--clearenv", *variables, "--chdir", cwd, "--"]

    def run(self, argv: Sequence[str], cwd: str, log: Path) -> Result:
        return command.run(Command(argv=self.command(argv, cwd), log=log), check=False)


def recipe(name: str, source: Source, upstream: dict[str, str]) -> Recipe:
    """What decides the .debs: the source, the chroot and this code."""
    inputs = {"builder": source.builder, "subfolder": source.subfolder, "code": _code(), **upstream}
    return Recipe(stage=STAGE, name=name, inputs=inputs)


def lint_recipe(name: str, debs_key: str, chroot_key: str) -> Recipe:
    """What decides lintian's answer."""
    return Recipe(stage=LINT_STAGE, name=name, inputs={"debs": debs_key, "chroot": chroot_key, "code": _code()})


def _code() -> str:
    return sha256_file(Path(__file__)) + sha256_file(ENTER)


def build_command(chroot_packages: Sequence[str]) -> list[str]:
    """The call inside the chroot. A chroot without build-essential is meant so: gcc is half of its size."""
    lean = [] if "build-essential" in chroot_packages else ["--ignore-builtin-builddeps"]
    return ["dpkg-buildpackage", "-us", "-uc", "--build=full", *lean]


def changelog_entry(head: str, version: str, commit: Commit, maintainer: str) -> str:
    """A changelog entry for `version`, dated by the commit, so that nothing in a package holds the day of the build."""
    match = CHANGELOG_HEAD.match(head)
    if match is None:
        raise BuildError("debian/changelog does not start with an entry", next_step="dch --create, then commit")
    lines = (
        f"{match['source']} ({version}) unstable; urgency=medium",
        "",
        f"  * Build of commit {commit.shipped_sha}.",
        "",
        f" -- {maintainer}  {formatdate(commit.epoch)}",
    )
    return "\n".join(lines) + "\n\n"


def make_debs(settings: Settings, commit: Commit, inputs: dict[str, Output], draft: Draft) -> None:
    """Build every binary package of the source in `inputs["source"]`, in the chroot of `inputs["chroot"]`.

    Raises:
        BuildError: the tree is no Debian source, a build dependency is missing, or the build fails.
    """
    name = inputs["source"].manifest.name
    source = settings.sources[name]
    work, mountpoint = draft.folder / "work", draft.folder / "root"
    tree = _unpack(inputs["source"], source, work, draft.log)
    package, version = _set_version(commit, tree)
    mountpoint.mkdir()
    chroot = Chroot(tarball=inputs["chroot"].path("root.tar"), mountpoint=mountpoint, work=work, epoch=commit.epoch)
    built = chroot.run(build_command(settings.chroot.packages), f"/build/{tree.name}", draft.log)
    if built.returncode != 0:
        raise _explained(name, built.stdout, draft.log)
    _collect(work, draft)
    draft.facts.update({"package": package, "version": version, "epoch": commit.epoch, "commit": commit.shipped_sha})
    mountpoint.rmdir()


def make_lint(inputs: dict[str, Output], draft: Draft) -> None:
    """Run the suite's own lintian on the .changes; keep its words in lint.txt.

    Raises:
        LintError: it names an error or a warning.
    """
    debs, chroot = inputs["debs"], inputs["chroot"]
    mountpoint = draft.folder / "root"
    mountpoint.mkdir()
    place = Chroot(
        tarball=chroot.path("root.tar"), mountpoint=mountpoint, work=debs.folder, epoch=debs.manifest.facts["epoch"]
    )
    changes = debs.matching(".changes")[0].name
    options = ["--tag-display-limit=0", "--fail-on=error,warning", "--suppress-tags=bad-distribution-in-changes-file"]
    result = place.run(["lintian", *options, changes], "/build", draft.log)
    if result.returncode != 0:
        raise LintError(
            f"lintian objects to {debs.manifest.name}",
            cause=command.last_lines(result.stdout),
            next_step="mend what it names; `lintian-explain-tags TAG` says why",
            log=draft.log,
        )
    mountpoint.rmdir()
    (draft.folder / "lint.txt").write_text(result.stdout)


def _unpack(output: Output, source: Source, work: Path, log: Path) -> Path:
    """The exported tree, where its `subfolder` is, under the name that its changelog gives it."""
    export = work / "export"
    export.mkdir(parents=True)
    command.run(Command(argv=["tar", "-C", export, "-xf", output.path("source.tar")], error=BuildError, log=log))
    tree = export / source.subfolder
    if not (tree / "debian" / "changelog").is_file() or not (tree / "debian" / "control").is_file():
        raise BuildError(
            f"source {output.manifest.name!r} has no debian/control and debian/changelog",
            next_step="commit them, name the right `subfolder`, or choose another builder",
            log=log,
        )
    final = work / output.manifest.name
    tree.rename(final)
    return final


def _set_version(commit: Commit, tree: Path) -> tuple[str, str]:
    """Put an entry for the commit's version on top of the changelog, unless the tag is the version on top already."""
    changelog = tree / "debian" / "changelog"
    text = changelog.read_text(encoding="utf-8")
    head = CHANGELOG_HEAD.match(text)
    if head is None:
        raise BuildError("debian/changelog does not start with an entry", next_step="dch --create, then commit")
    version = commit.version(head["version"])
    # The package's own maintainer: under another name lintian takes the entry for somebody else's upload.
    control = (tree / "debian" / "control").read_text(encoding="utf-8")
    maintainer = re.search(r"^Maintainer:\s*(.+)$", control, re.M)
    if maintainer is None:
        raise BuildError("debian/control names no Maintainer", next_step="add the field to its first paragraph")
    if version != head["version"]:
        changelog.write_text(changelog_entry(text, version, commit, maintainer[1].strip()) + text, encoding="utf-8")
    return head["source"], version


def _collect(work: Path, draft: Draft) -> None:
    for path in sorted(work.iterdir()):
        if path.is_file():
            path.rename(draft.folder / path.name)
    remove_tree(work)


def _explained(name: str, output: str, log: Path) -> BuildError:
    unmet = re.search(r"[Uu]nmet build dependencies: (.*)", output)
    if unmet:
        return BuildError(
            f"source {name!r} needs packages that the chroot lacks",
            cause=unmet.group(1),
            next_step="add them to [chroot] packages in the pipeline file",
            log=log,
        )
    relevant = [line for line in output.splitlines() if re.search(r"error|Error|failed|not found|cannot", line)][-6:]
    tail = "\n".join(relevant) or command.last_lines(output)
    return BuildError(f"source {name!r} does not build", cause=tail, next_step="read the log", log=log)
