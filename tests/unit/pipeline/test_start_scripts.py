"""scripts/start-ROLE, with an engine that only writes down what it is asked to do."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
ROLES = ("server", "worker", "client")
LINE = "xwhep-join-1 https://grid.example:4321 sha256:" + "0" * 64 + " the-token-of-this-test"
LIMIT_S = 20.0
# Answers as docker does; every call is a line of `calls`, what it reads from standard input is kept in `stdin`.
ENGINE = r"""#!/bin/sh
here=$(dirname "$0")
printf '%s\n' "$*" >>"$here/calls"
env | grep -q the-token-of-this-test && echo leaked >>"$here/environment"
case "$1 $2" in
    "version --format") echo "${FAKE_ARCH:-amd64}" ;;
    "image inspect") [ "$3" = xwhep-base:1 ] ;;
    "images --format") case "$4" in xwhep-base) printf '%s\n' other-name:2 xwhep-base:1 xwhep-base:0 ;; esac ;;
    "pull --quiet") exit 1 ;;
    "network inspect") [ "$3" = grid ] ;;
    "network ls") echo bridge; echo grid ;;
    "container inspect") [ -n "${FAKE_RUNNING-}" ] && echo "$FAKE_RUNNING" ;;
    "build "*)
        for context; do :; done
        cp -r "$context" "$here/context" ;;
    "run --rm")
        for script; do :; done
        case "$script" in
            *dpkg-deb*) echo inside >>"$here/dpkg"; PATH=/usr/bin:/bin exec sh -c "$script" ;;
            *) cat >"$here/stdin"; [ -z "${FAKE_JOIN_FAILS-}" ] || { echo "token refused" >&2; exit 6; } ;;
        esac ;;
    "run --detach")
        [ -z "${FAKE_RUN_SAYS-}" ] || { echo "$FAKE_RUN_SAYS" >&2; exit 125; } ;;
    "logs --follow")
        echo "server ready"
        until [ -e "$here/stopped" ]; do sleep 0.05; done ;;
    "stop "*) : >"$here/stopped" ;;
    "wait "*) echo "${FAKE_STATUS:-0}" ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class Yard:
    """A folder of packages, and a fake docker in front of the system's programs."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def debs(self) -> Path:
        return self.folder / "debs"

    def deb(self, package: str, version: str = "11.0.0", architecture: str = "all", name: str = "") -> Path:
        tree = self.folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        fields = {"Package": package, "Version": version, "Architecture": architecture}
        text = "".join(f"{key}: {value}\n" for key, value in fields.items())
        (tree / "DEBIAN" / "control").write_text(text + "Maintainer: T <t@example.invalid>\nDescription: t\n")
        target = self.debs / (name or f"{package}_{version}_{architecture}.deb")
        argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(target)]
        subprocess.run(argv, check=True, capture_output=True)
        shutil.rmtree(tree)
        return target

    def argv(self, role: str, *words: str) -> list[str]:
        return [str(REPOSITORY / "scripts" / f"start-{role}"), *words]

    def start(self, role: str, *words: str, code: int = 0, text: str = "", **extra: str) -> str:
        done = subprocess.run(
            self.argv(role, *words),
            cwd=self.debs,
            env={**self.environment, **extra},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert not list((self.folder / "tmp").iterdir()), "a temporary folder stays"
        return done.stdout + done.stderr

    def calls(self, *beginning: str) -> list[list[str]]:
        file = self.folder / "bin" / "calls"
        rows = [shlex.split(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [row for row in rows if row[: len(beginning)] == list(beginning)]

    def baked(self) -> set[str]:
        """The packages in the context that the image was baked from."""
        return {path.name for path in (self.folder / "bin" / "context").glob("*.deb")}

    def containerfile(self) -> str:
        return (self.folder / "bin" / "context" / "Containerfile").read_text()


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    for name in ("bin", "debs", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "docker").write_text(ENGINE)
    (tmp_path / "bin" / "mmdebstrap").write_text("#!/bin/sh\nexit 1\n")  # a test that came that far would fetch Debian
    for program in ("docker", "mmdebstrap"):
        (tmp_path / "bin" / program).chmod(0o755)
    path = f"{tmp_path / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    return Yard(folder=tmp_path, environment={"PATH": path, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)})


# What is installed


def test_the_newest_version_is_debians_idea_of_it(yard: Yard) -> None:
    for version in ("9.9.9", "11.0.0~git20261124.0230+ef20d6c", "11.0.0", "10.6.0-1", "11.0.0~rc10"):
        yard.deb("xwhep-server", version)
    yard.start("server", "--detach")
    assert yard.baked() == {"xwhep-server_11.0.0_all.deb"}


def test_a_folder_gives_the_role_and_its_configuration_alone(yard: Yard) -> None:
    for package in ("xwhep-server", "xwhep-worker", "xwhep-worker-conf", "xwhep-client", "nbody"):
        yard.deb(package)
    yard.start("worker", str(yard.debs), "--detach")
    assert yard.baked() == {"xwhep-worker_11.0.0_all.deb", "xwhep-worker-conf_11.0.0_all.deb"}


def test_named_packages_are_all_installed_whatever_their_files_are_called(yard: Yard) -> None:
    files = [str(yard.deb("xwhep-worker", name="mine.deb")), str(yard.deb("nbody"))]
    yard.start("worker", *files, "--detach")
    assert yard.baked() == {"mine.deb", "nbody_11.0.0_all.deb"}


def test_without_dpkg_that_of_the_image_reads_the_packages(yard: Yard) -> None:
    tools = (
        "sh awk basename cat cp cut dirname env grep head mkdir mktemp mv printf readlink rm sed sleep sort tail tar tr"
    )
    for tool in tools.split():
        (yard.folder / "bin" / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)
    yard.deb("xwhep-client", "11.0.0~rc1")
    yard.deb("xwhep-client", "11.0.0")
    yard.start("client", "--detach", PATH=str(yard.folder / "bin"))
    assert (yard.folder / "bin" / "dpkg").exists()
    assert yard.baked() == {"xwhep-client_11.0.0_all.deb"}


@pytest.mark.parametrize("role", ROLES)
def test_a_bare_base_gets_what_the_roles_own_containerfile_says(yard: Yard, role: str) -> None:
    yard.deb(f"xwhep-{role}")
    yard.start(role, "--detach")
    text = yard.containerfile()
    assert text.startswith("FROM xwhep-base:1\n")
    official = (REPOSITORY / "images" / role / "Containerfile").read_text()
    for word in ("VOLUME", "WORKDIR", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD", "ENV", "USER"):
        wanted = re.findall(rf"^{word} (?:.*\\\n)*.*$", official, re.M)
        assert re.findall(rf"^{word} (?:.*\\\n)*.*$", text, re.M)[-len(wanted) or None :] == wanted, word


# How it is started


def test_the_server_runs_hardened_with_its_port_and_volume(yard: Yard) -> None:
    yard.deb("xwhep-server")
    yard.start(
        "server", "--network", "grid", "--name", "mine", "--port=4444", "--detach", "--", "run", "--lost-limit", "5"
    )
    (run,) = yard.calls("run", "--detach")
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=grid"} <= set(run)
    assert run[run.index("--publish") + 1] == "4444:4321"
    assert run[run.index("--name") + 1] == "mine"
    assert "--volume=mine:/var/lib/xwhep-server" in run
    assert run[-4:] == ["localhost/xwhep-server-local:11.0.0", "run", "--lost-limit", "5"]


@pytest.mark.parametrize(
    ("address", "port", "line"),
    [
        pytest.param("grid.example", "4321", "join-line worker (or client)", id="the usual port"),
        pytest.param(
            "grid.example", "4444", "join-line worker --address grid.example:4444 (or client)", id="another port"
        ),
        pytest.param("2001:db8::1", "4444", "join-line worker --address '[2001:db8::1]:4444' (or client)", id="IPv6"),
    ],
)
def test_the_server_says_how_other_machines_connect(yard: Yard, address: str, port: str, line: str) -> None:
    yard.deb("xwhep-server")
    said = yard.start("server", "--detach", "--address", address, "--port", port)
    (run,) = yard.calls("run", "--detach")
    assert run[run.index("--env") + 1] == f"XWHEP_SERVER_NAME={address},xwhep-server"
    assert f"docker exec xwhep-server xwhep-server {line}" in said
    assert "--address NAME" not in said


def test_a_server_without_an_address_says_that_other_machines_want_one(yard: Yard) -> None:
    yard.deb("xwhep-server")
    assert "from other machines: only after a start with --address NAME" in yard.start("server", "--detach")
    assert not any("XWHEP_SERVER_NAME" in word for word in yard.calls("run", "--detach")[0])
    yard.deb("xwhep-server-conf")  # it brings the name
    assert "--address" not in yard.start("server", "--detach")


def test_words_for_the_program_arrive_as_they_were_typed(yard: Yard) -> None:
    yard.deb("xwhep-client")
    yard.start("client", "--", "sh", "-c", "echo $HOME; touch '*'")
    (run,) = yard.calls("run", "--rm", "--interactive")
    assert (yard.folder / "bin" / "calls").read_text().splitlines()[-1].endswith(" sh -c echo $HOME; touch '*'"), run


def test_it_follows_the_log_and_stops_cleanly_on_ctrl_c(yard: Yard) -> None:
    yard.deb("xwhep-server")
    process = subprocess.Popen(
        # Where the tests run in the background Ctrl-C is ignored, and a shell cannot undo that.
        ["env", "--default-signal=INT", *yard.argv("server")],
        cwd=yard.debs,
        env=yard.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if "server ready" in line:
            process.send_signal(signal.SIGINT)
            break
    seen += process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == 0, seen
    assert "keeps its state" in seen
    assert yard.calls("stop", "xwhep-server")
    assert yard.calls("rm", "xwhep-server")


def test_the_programs_own_exit_code_is_passed_on(yard: Yard) -> None:
    yard.deb("xwhep-worker")
    (yard.folder / "bin" / "stopped").touch()
    yard.start("worker", code=5, FAKE_STATUS="5")


def test_a_dry_run_changes_nothing(yard: Yard) -> None:
    yard.deb("xwhep-worker")
    said = yard.start("worker", "--dry-run", XWHEP_JOIN=LINE)
    assert "docker build" in said
    assert "docker run --detach" in said
    assert "the-token-of-this-test" not in said
    assert not yard.calls("build")
    assert not yard.calls("run")
    assert not yard.calls("rm")


# The join line


@pytest.mark.parametrize("way", ["variable", "file variable", "file", "standard input"])
@pytest.mark.parametrize("role", ["worker", "client"])
def test_the_join_line_goes_through_standard_input_alone(yard: Yard, role: str, way: str) -> None:
    yard.deb(f"xwhep-{role}")
    file = yard.folder / "line"
    file.write_text(LINE + "\n")
    match way:
        case "variable":
            yard.start(role, "--detach", XWHEP_JOIN=LINE)
        case "file variable":
            yard.start(role, "--detach", XWHEP_JOIN_FILE=str(file))
        case "file":
            yard.start(role, "--detach", "--join", str(file))
        case _:
            yard.start(role, "--detach", "--join", "-", text=LINE)
    assert (yard.folder / "bin" / "stdin").read_text().strip() == LINE
    assert "the-token-of-this-test" not in (yard.folder / "bin" / "calls").read_text()


def test_the_engine_never_sees_the_line_in_its_environment(yard: Yard) -> None:
    yard.deb("xwhep-worker")
    yard.start("worker", "--detach", XWHEP_JOIN=LINE)
    assert not (yard.folder / "bin" / "environment").exists()


# What can go wrong


Prepare = Callable[[Yard], None]


def nothing(yard: Yard) -> None:
    """No package at all."""


def client(yard: Yard) -> None:
    yard.deb("xwhep-client")


def worker(yard: Yard) -> None:
    yard.deb("xwhep-worker")


def broken(yard: Yard) -> None:
    (yard.debs / "xwhep-worker_1_all.deb").write_text("no package")


def foreign(yard: Yard) -> None:
    yard.deb("xwhep-worker", architecture="arm64")


def two(yard: Yard) -> None:
    yard.deb("xwhep-worker", name="worker.deb")
    yard.deb("xwhep-server", name="server.deb")


@pytest.mark.parametrize(
    ("prepare", "words", "variables", "code", "said"),
    [
        pytest.param(nothing, "", {}, 30, "no package in", id="no package"),
        pytest.param(nothing, "absent", {}, 30, "no file or folder absent", id="no folder"),
        pytest.param(broken, "", {}, 30, "no Debian package", id="damaged package"),
        pytest.param(client, "", {}, 31, "start-client", id="package of another role"),
        pytest.param(two, "worker.deb server.deb", {}, 31, "one container has one role", id="packages of two roles"),
        pytest.param(foreign, "", {}, 32, "is for arm64, and docker runs amd64", id="architecture"),
        pytest.param(worker, "--network lost", {}, 35, "there is no network lost", id="network"),
        pytest.param(worker, "--base lost", {}, 36, "there is no image lost", id="image"),
        pytest.param(worker, "", {"FAKE_RUNNING": "true"}, 37, "runs already", id="name in use"),
        pytest.param(worker, "", {"XWHEP_JOIN": LINE, "FAKE_JOIN_FAILS": "yes"}, 38, "token refused", id="cannot join"),
        pytest.param(worker, "--fly", {}, 2, "unknown option --fly", id="unknown option"),
        pytest.param(worker, "--port 1", {}, 2, "unknown option --port", id="option of another role"),
        pytest.param(worker, "--name", {}, 2, "--name wants a value", id="no value"),
        pytest.param(worker, "--engine lxc", {}, 2, "docker or podman", id="unknown engine"),
    ],
)
def test_each_failure_has_a_code_and_a_next_step(
    yard: Yard, prepare: Prepare, words: str, variables: dict[str, str], code: int, said: str
) -> None:
    prepare(yard)
    text = yard.start("worker", *words.split(), code=code, **variables)
    assert "error [" in text
    assert said in text
    assert "  next:  " in text
    assert "the-token-of-this-test" not in text
    assert not yard.calls("run", "--detach")


def test_a_port_in_use_is_named_and_leaves_no_container(yard: Yard) -> None:
    yard.deb("xwhep-server")
    for says in ("listen tcp 0.0.0.0:4321: bind: address already in use", "Bind failed: port is already allocated"):
        text = yard.start("server", "--detach", code=34, FAKE_RUN_SAYS=says)
        assert "port 4321 of this machine is in use" in text
        assert yard.calls("rm", "--force", "xwhep-server")


def test_without_an_engine_it_says_which_to_install(yard: Yard) -> None:
    for tool in ("sh", "cat", "dirname", "readlink", "mktemp", "mkdir", "cp", "rm"):
        (yard.folder / "debs" / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)
    yard.deb("xwhep-server")
    text = yard.start("server", code=33, PATH=str(yard.debs))
    assert "neither a docker daemon nor podman" in text


@pytest.mark.parametrize("role", ROLES)
def test_help_names_every_option_and_exit_code(yard: Yard, role: str) -> None:
    text = yard.start(role, "--help")
    own = ("--port", "--address") if role == "server" else ("--join",)
    for option in ("--engine", "--network", "--name", "--detach", "--dry-run", "--base", *own):
        assert option in text
    script = "".join((REPOSITORY / "scripts" / name).read_text() for name in ("start-role", "start-role-image"))
    codes = set(re.findall(r"\bfail (\d+) ", script))
    assert codes == {str(code) for code in (2, 30, 31, 32, 33, 34, 35, 36, 37, 38)}
    assert all(re.search(rf"\b{code} \w", text) for code in codes)


def test_the_scripts_folder_alone_is_enough(yard: Yard) -> None:
    shutil.copytree(REPOSITORY / "scripts", yard.folder / "scripts")
    yard.deb("xwhep-worker")
    argv = [str(yard.folder / "scripts" / "start-worker"), "--detach"]
    done = subprocess.run(argv, cwd=yard.debs, env=yard.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.access(REPOSITORY / "scripts" / "start-worker", os.X_OK)
