"""What each .deb holds, to the file: a stray file, a lost one or another role's code fails here."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
ROLES = ("server", "worker", "client")
EARLIER_NAMES = (
    *("xwapps", "xwchmod", "xwdatas", "xwdownload", "xwexplain", "xwresults", "xwrm", "xwsendapp"),
    *("xwsenddata", "xwstatus", "xwsubmit", "xwversion", "xwworkers", "xwworks"),
)
COMMANDS = {"server": ("xwhep-server",), "worker": ("xwhep-worker",), "client": ("xw", *EARLIER_NAMES)}
SYSUSERS = "systemd | systemd-standalone-sysusers | systemd-sysusers"
DEPENDS = {
    "server": [
        *("python3-argon2", "python3-cryptography", "python3-httptools", "python3-msgspec", "python3-starlette"),
        *("python3-uvicorn", "python3-uvloop", "python3:any", SYSUSERS),
    ],
    "worker": ["bubblewrap", "python3-msgspec", "python3-urllib3", "python3:any", SYSUSERS],
    "client": ["python3-httptools", "python3-msgspec", "python3:any"],
}
SYSTEM_FILES = {
    "server": {
        "/usr/lib/systemd/system/xwhep-server.service",
        "/usr/lib/sysusers.d/xwhep-server.conf",
        "/usr/lib/tmpfiles.d/xwhep-server.conf",
    },
    "worker": {
        "/usr/share/lintian/overrides/xwhep-worker",
        "/usr/lib/systemd/system/xwhep-worker.service",
        "/usr/lib/sysusers.d/xwhep-worker.conf",
        "/usr/lib/tmpfiles.d/xwhep-worker.conf",
    },
    "client": {
        "/usr/share/bash-completion/completions/xw",
        "/usr/share/fish/vendor_completions.d/xw.fish",
        "/usr/share/zsh/vendor-completions/_xw",
    },
}
EMPTY_FOLDERS = {"server": set(), "worker": {"/usr/share/xwhep-worker/shared.d"}, "client": set()}

pytestmark = pytest.mark.debs
each_role = pytest.mark.parametrize("role", ROLES)


@dataclass(frozen=True, kw_only=True)
class Deb:
    """`files` by absolute path, folders too; `control` holds the maintainer scripts and lists by name."""

    fields: dict[str, str]
    control: dict[str, str]
    files: dict[str, tarfile.TarInfo]
    contents: dict[str, bytes]

    @property
    def depends(self) -> list[str]:
        return sorted(part.strip() for part in self.fields["Depends"].split(","))

    def text(self, path: str) -> str:
        return self.contents[path].decode("utf-8")


def read_deb(path: Path) -> Deb:
    control = _tar(path, "--ctrl-tarfile")
    data = _tar(path, "--fsys-tarfile")
    scripts = {name.removeprefix("./"): body.decode("utf-8") for name, body in _bodies(control).items()}
    return Deb(
        fields=dict(HeaderParser().parsestr(scripts["control"]).items()),
        control=scripts,
        files={member.name.removeprefix("."): member for member in data.getmembers() if member.name != "."},
        contents={name.removeprefix("."): body for name, body in _bodies(data).items()},
    )


def _tar(path: Path, part: str) -> tarfile.TarFile:
    done = subprocess.run(["dpkg-deb", part, str(path)], check=True, capture_output=True, timeout=60)
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def _bodies(archive: tarfile.TarFile) -> dict[str, bytes]:
    bodies = {}
    for member in archive.getmembers():
        if member.isfile():
            body = archive.extractfile(member)
            assert body is not None
            bodies[member.name] = body.read()
    return bodies


@pytest.fixture(scope="session")
def debs() -> dict[str, Deb]:
    """The built packages by name, from the folder that $XWHEP_DEBS names. Never skipped: nothing built is a failure."""
    folder = os.environ.get("XWHEP_DEBS", "")
    found = {path.name.partition("_")[0]: path for path in sorted(Path(folder).glob("xwhep-*.deb"))} if folder else {}
    if set(found) != {f"xwhep-{role}" for role in ROLES}:
        pytest.fail(
            f"XWHEP_DEBS={folder!r} holds {sorted(found)}, not one .deb of each role: build them, name their folder"
        )
    return {name: read_deb(path) for name, path in found.items()}


def private_tree(role: str) -> set[str]:
    """Every source file of common and the role, at its place in the package."""
    sources = [TOP / "src/xwhep/__init__.py"]
    for part in ("common", role):
        sources += [path for path in (TOP / "src/xwhep" / part).rglob("*") if path.is_file()]
    inside = [path.relative_to(TOP / "src") for path in sources if "__pycache__" not in path.parts]
    return {f"/usr/share/xwhep-{role}/{path}" for path in inside}


def expected_files(role: str) -> set[str]:
    package = f"xwhep-{role}"
    return {
        f"/etc/xwhep/{role}.toml",
        f"/usr/share/doc/{package}/changelog.gz",
        f"/usr/share/doc/{package}/copyright",
        f"/usr/share/python3/runtime.d/{package}.rtupdate",
        *(f"/usr/bin/{command}" for command in COMMANDS[role]),
        *(f"/usr/share/man/man1/{command}.1.gz" for command in COMMANDS[role]),
        *SYSTEM_FILES[role],
        *private_tree(role),
    }


def version_of(deb: Deb, role: str) -> str:
    values: dict[str, str] = {}
    exec(deb.text(f"/usr/share/xwhep-{role}/xwhep/common/version.py"), values)
    return values["VERSION"]


@each_role
def test_it_holds_exactly_these_files(debs: dict[str, Deb], role: str) -> None:
    deb = debs[f"xwhep-{role}"]
    assert {path for path, member in deb.files.items() if not member.isdir()} == expected_files(role)


@each_role
def test_folders_are_those_of_its_files(debs: dict[str, Deb], role: str) -> None:
    deb = debs[f"xwhep-{role}"]
    paths = [Path(path) for path in expected_files(role)] + [Path(path) / "x" for path in EMPTY_FOLDERS[role]]
    expected = {str(parent) for path in paths for parent in path.parents} - {"/"}
    assert {path for path, member in deb.files.items() if member.isdir()} == expected


@each_role
def test_everything_belongs_to_root_and_only_commands_are_executable(debs: dict[str, Deb], role: str) -> None:
    for path, member in debs[f"xwhep-{role}"].files.items():
        runs = member.isdir() or path.startswith("/usr/bin/") or path.endswith(".rtupdate")
        assert (path, member.mode, member.uid, member.gid) == (path, 0o755 if runs else 0o644, 0, 0)
        assert member.isfile() or member.isdir(), f"{path} is neither file nor folder"


@each_role
def test_source_is_shipped_as_it_is_but_for_the_version(debs: dict[str, Deb], role: str) -> None:
    deb, root = debs[f"xwhep-{role}"], f"/usr/share/xwhep-{role}/"
    for path in private_tree(role):
        if not path.endswith("/common/version.py"):
            assert deb.contents[path] == (TOP / "src" / path.removeprefix(root)).read_bytes(), path


@each_role
def test_the_version_inside_is_that_of_the_package(debs: dict[str, Deb], role: str) -> None:
    deb = debs[f"xwhep-{role}"]
    assert version_of(deb, role) == deb.fields["Version"]


def test_all_roles_have_one_version(debs: dict[str, Deb]) -> None:
    assert len({deb.fields["Version"] for deb in debs.values()}) == 1


@each_role
def test_it_depends_on_exactly_what_the_role_imports(debs: dict[str, Deb], role: str) -> None:
    deb = debs[f"xwhep-{role}"]
    assert deb.depends == sorted(DEPENDS[role])
    assert deb.fields["Architecture"] == "all"


@each_role
def test_every_command_is_a_launcher_shut_off_from_the_environment(debs: dict[str, Deb], role: str) -> None:
    deb = debs[f"xwhep-{role}"]
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    for command in COMMANDS[role]:
        module, _, function = scripts[command].partition(":")
        lines = deb.text(f"/usr/bin/{command}").splitlines()
        assert lines[0] == "#!/usr/bin/python3 -I"  # neither PYTHONPATH nor the current folder may bring in code
        assert f'sys.path.insert(0, "/usr/share/xwhep-{role}")' in lines
        assert f"from {module} import {function}" in lines
        assert lines[-1] == f"sys.exit({function}())"
        assert f"/usr/share/xwhep-{role}/{module.replace('.', '/')}.py" in deb.contents


def test_every_script_of_the_project_is_in_a_package() -> None:
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert set(scripts) == {command for commands in COMMANDS.values() for command in commands}


@each_role
def test_man_pages_name_and_describe_their_command(debs: dict[str, Deb], role: str) -> None:
    for command in COMMANDS[role]:
        page = gzip.decompress(debs[f"xwhep-{role}"].contents[f"/usr/share/man/man1/{command}.1.gz"]).decode()
        name = command.replace("-", r"\-")
        assert re.search(rf"^\.SH NAME\n{re.escape(name)} \\- \w", page, re.MULTILINE), command
        assert ".SH DESCRIPTION" in page
        assert ".SH SEE ALSO" in page


@each_role
def test_settings_are_a_conffile_that_is_valid_and_changes_nothing(debs: dict[str, Deb], role: str) -> None:
    deb, path = debs[f"xwhep-{role}"], f"/etc/xwhep/{role}.toml"
    assert deb.control["conffiles"].splitlines() == [path]
    assert tomllib.loads(deb.text(path)) == {}
    shown = "\n".join(line[1:] for line in deb.text(path).splitlines() if re.match(r"#\w+ = ", line))
    assert tomllib.loads(shown), "the commented lines must be valid settings once the # is removed"


@each_role
def test_maintainer_scripts_never_touch_another_role(debs: dict[str, Deb], role: str) -> None:
    control = debs[f"xwhep-{role}"].control
    scripts = "\n".join(control[name] for name in ("preinst", "postinst", "prerm", "postrm") if name in control)
    assert f"py3compile -p xwhep-{role}" in scripts
    assert not [other for other in ROLES if other != role and f"xwhep-{other}" in scripts]


@pytest.mark.parametrize("role", ["server", "worker"])
def test_purge_removes_the_state_and_removal_does_not(debs: dict[str, Deb], role: str) -> None:
    postrm = debs[f"xwhep-{role}"].control["postrm"]
    purge = re.search(r'if \[ "\$1" = purge \]; then\n(.*?)\nfi', postrm, re.DOTALL)
    assert purge
    assert f"rm -rf --one-file-system -- /var/lib/xwhep-{role}" in purge[1]
    assert postrm.count("rm -rf") == 1


@pytest.mark.parametrize(("role", "number"), [("server", 990), ("worker", 991)])
def test_the_user_of_the_role_is_locked_and_numbered(debs: dict[str, Deb], role: str, number: int) -> None:
    line = debs[f"xwhep-{role}"].text(f"/usr/lib/sysusers.d/xwhep-{role}.conf").splitlines()[-1]
    assert re.fullmatch(rf'u! xwhep-{role} {number} ".*" /var/lib/xwhep-{role} /usr/sbin/nologin', line)
    containerfile = (TOP / f"images/{role}/Containerfile").read_text("utf-8")
    assert f"\nUSER {number}:{number}\n" in containerfile


@pytest.mark.parametrize("role", ["server", "worker"])
def test_the_unit_runs_the_shipped_command_as_the_role(debs: dict[str, Deb], role: str) -> None:
    unit = debs[f"xwhep-{role}"].text(f"/usr/lib/systemd/system/xwhep-{role}.service").splitlines()
    assert f"ExecStart=/usr/bin/xwhep-{role} run" in unit
    assert f"User=xwhep-{role}" in unit
    assert f"StateDirectory=xwhep-{role}" in unit


def test_no_file_is_in_two_packages(debs: dict[str, Deb]) -> None:
    owners: dict[str, str] = {}
    for name, deb in debs.items():
        for path in deb.contents:
            assert owners.setdefault(path, name) == name, f"{path} is in {owners[path]} and {name}"
