"""The debian/ folder that stdeb made, brought up to date: what it leaves out or does as was usual ten years ago."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from xwhep_packaging.artefacts import Commit
from xwhep_packaging.stages.debs import control, man
from xwhep_packaging.stages.debs.project import SHIM, Project, copyright_text, long_description, synopsis

STANDARDS_VERSION = "4.7.2"
LICENCE_FILES = re.compile(r"(licen[cs]e|copying)(\.(txt|md|rst))?", re.I)
LEFT_BY_STDEB = ("compat", "watch")  # an old debhelper level, and a site that is gone
RULES = """#!/usr/bin/make -f
export PYBUILD_NAME = {name}
export PYBUILD_SYSTEM = pyproject

%:
\tdh $@ --buildsystem=pybuild
"""
# What lintian's hints mean for a source that is made anew from each commit.
OVERRIDES = {
    "debian-watch-file-is-missing": "New versions come from the project's repository; there is no page to watch.",
    "maintainer-manual-page": "The page is made from the command's own --help, or comes from the overlay.",
}
NO_HOMEPAGE = {"no-homepage-field": "The project's metadata name none."}
SHIM_PATCH = "setup-py.patch"


@dataclass(frozen=True, kw_only=True)
class DebianFolder:
    """`tree` holds debian/ as stdeb left it. `overrides` maps PyPI names to Debian packages."""

    tree: Path
    project: Project
    package: str
    version: str
    commit: Commit
    overrides: dict[str, str] = field(default_factory=dict)
    homepage: str = ""

    @property
    def debian(self) -> Path:
        return self.tree / "debian"

    def finish(self, overlay: Path | None) -> dict[str, str]:
        """Make it whole; the overlay has the last word. Returns where each command's man page comes from."""
        for name in LEFT_BY_STDEB:
            (self.debian / name).unlink(missing_ok=True)
        own = {path.name for path in overlay.rglob("*")} if overlay else set()
        source = control.parse((self.debian / "control").read_text(encoding="utf-8"), "stdeb's debian/control")[0]
        sysusers = any(name.endswith("sysusers") for name in own)
        self._write("control", edited_control(self.debian / "control", self._edits(sysusers)))
        self._write(
            "changelog",
            control.changelog_entry(
                (self.project.debian_name, self.version), self.commit, source["Maintainer"]
            ).rstrip()
            + "\n",
        )
        self._write("source/lintian-overrides", self._overrides_of_lintian())
        self._write("rules", RULES.format(name=self.project.debian_name))
        if "copyright" not in own:
            self._write("copyright", self._copyright())
        if self.overrides:
            self._write("py3dist-overrides", "".join(f"{key} {value}\n" for key, value in self.overrides.items()))
        pages = {name: self._man_page(name, own) for name in sorted(self.project.commands)}
        self._apply(overlay)
        (self.debian / "rules").chmod(0o755)
        return pages

    def _write(self, name: str, text: str) -> None:
        path = self.debian / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _append(self, name: str, text: str) -> None:
        path = self.debian / name
        self._write(name, (path.read_text(encoding="utf-8") if path.is_file() else "") + text)

    def _edits(self, sysusers: bool) -> Edits:
        return Edits(
            build_depends=build_depends(self.project, sysusers=sysusers),
            description=f"{synopsis(self.project)}\n{long_description(self.project)}",
            homepage=self.homepage or self.project.homepage,
        )

    def _overrides_of_lintian(self) -> str:
        reasons = {**OVERRIDES, **({} if self.homepage or self.project.homepage else NO_HOMEPAGE)}
        return "".join(f"# {reason}\n{self.project.debian_name} source: {tag}\n" for tag, reason in reasons.items())

    def _copyright(self) -> str:
        found = sorted(path for path in self.tree.iterdir() if path.is_file() and LICENCE_FILES.fullmatch(path.name))
        text = found[0].read_text(encoding="utf-8", errors="replace") if found else ""
        return copyright_text(self.project, text, datetime.fromtimestamp(self.commit.epoch, UTC).year)

    def _man_page(self, command: str, own: set[str]) -> str:
        """Install a page for the command: the overlay's, the project's, or one made from --help or the metadata."""
        name = f"{command}.1"
        if name in own:
            self._append(f"{self.package}.manpages", f"debian/{name}\n")
            return "overlay"
        shipped = sorted(path.relative_to(self.tree) for path in self.tree.rglob(name) if "debian" not in path.parts)
        if shipped:
            self._append(f"{self.package}.manpages", f"{shipped[0]}\n")
            return "project"
        self._write(name, man.page(self.project, command, self.commit.epoch))
        self._append(f"{self.package}.manpages", f"debian/{name}\n")
        return "--help" if self.project.commands[command] else "metadata"

    def _apply(self, overlay: Path | None) -> None:
        """Copy the overlay over debian/; its series of patches follows ours."""
        if self.project.shim:
            self._write(f"patches/{SHIM_PATCH}", shim_patch())
            self._write("patches/series", f"{SHIM_PATCH}\n")
        ours = self.debian / "patches" / "series"
        before = ours.read_text(encoding="utf-8") if ours.is_file() else ""
        if overlay:
            shutil.copytree(overlay, self.debian, dirs_exist_ok=True, symlinks=True)
        if before and overlay and (overlay / "patches" / "series").is_file():
            self._write("patches/series", before + (overlay / "patches" / "series").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Edits:
    build_depends: list[str]
    description: str
    homepage: str


def build_depends(project: Project, *, sysusers: bool) -> list[str]:
    """The Build-Depends of the Debian source; what builds the wheel is known from the project itself."""
    own = {package for package in project.build_requires.values() if package and package != "python3-wheel"}
    if "python3-pkg-resources" in own:  # so the suite's table calls setuptools, for programs that run
        own = own - {"python3-pkg-resources"} | {"python3-setuptools"}
    sequences = ["dh-sequence-python3", *(["dh-sequence-installsysusers"] if sysusers else [])]
    python = "python3-all" if project.pure else "python3-all-dev"
    return ["debhelper-compat (= 13)", *sequences, "pybuild-plugin-pyproject", python, *sorted(own)]


def edited_control(file: Path, edits: Edits) -> str:
    """stdeb's control file with today's fields. What a stdeb.cfg of the project put there stays."""
    source, *packages = control.parse(file.read_text(encoding="utf-8"), "stdeb's debian/control")
    source["Build-Depends"] = "".join(f"\n {clause}," for clause in edits.build_depends)
    source["Standards-Version"] = STANDARDS_VERSION
    source["Rules-Requires-Root"] = "no"
    if not source.get("Homepage", "").startswith("http"):
        source.pop("Homepage", None)
    if edits.homepage:
        source["Homepage"] = edits.homepage
    for package in packages:
        package["Description"] = edits.description
    return "\n".join(
        "".join(f"{name}:{'' if value.startswith(chr(10)) else ' '}{value}\n" for name, value in paragraph.items())
        for paragraph in [source, *packages]
    )


def shim_patch() -> str:
    """A patch that adds a setup.py to a project that has setup.cfg alone."""
    lines = SHIM.splitlines()
    added = "".join(f"+{line}\n" for line in lines)
    head = (
        "Description: the project has setup.cfg alone, which today's build tools do not take\nForwarded: not-needed\n"
    )
    return f"{head}--- /dev/null\n+++ b/setup.py\n@@ -0,0 +1,{len(lines)} @@\n{added}"
