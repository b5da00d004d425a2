import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.worker import sandbox
from xwhep.worker.sandbox import BUBBLEWRAP, PROCESS, Command, Limits

LIMITS = Limits(processes=7, files=9)
COMMAND = Command(
    argv=("/app/program", "a b", "--", "-x"),
    environment={"A": "1", "B": "x=y"},
    folder=Path("/state/jobs/j.1"),
    shown=(Path("/srv/tool"),),
)


def pairs(options: list[str], name: str, count: int = 2) -> list[tuple[str, ...]]:
    return [tuple(options[at + 1 : at + 1 + count]) for at, option in enumerate(options) if option == name]


@pytest.fixture
def options() -> list[str]:
    return sandbox.bubblewrap_options(COMMAND, ["--ro-bind", "/usr", "/usr"], status_fd=5)


def test_every_namespace_is_its_own_and_no_more_can_be_made(options: list[str]) -> None:
    for name in ("user", "ipc", "pid", "net", "uts", "cgroup-try"):
        assert f"--unshare-{name}" in options
    assert {"--disable-userns", "--die-with-parent", "--clearenv"} <= set(options)
    assert ("ALL",) in pairs(options, "--cap-drop", 1)
    assert "--share-net" not in options


def test_only_its_folder_and_tmp_are_writable(options: list[str]) -> None:
    assert pairs(options, "--bind") == [("/state/jobs/j.1/tmp", "/tmp"), ("/state/jobs/j.1/work", "/job")]
    assert pairs(options, "--ro-bind") == [
        ("/usr", "/usr"),
        ("/state/jobs/j.1/app", "/app"),
        ("/srv/tool", "/srv/tool"),
    ]
    assert pairs(options, "--remount-ro", 1) == [("/",)]
    assert options.index("--remount-ro") > max(at for at, option in enumerate(options) if option == "--bind")


def test_it_gets_exactly_its_environment(options: list[str]) -> None:
    assert pairs(options, "--setenv") == [("A", "1"), ("B", "x=y")]
    assert options.index("--clearenv") < options.index("--setenv")


def test_the_argv_of_bubblewrap_holds_neither_options_nor_environment() -> None:
    assert sandbox.bubblewrap_argv(COMMAND, LIMITS, options_fd=4) == [
        *("prlimit", "--core=0:0", "--nproc=7", "--nofile=9", "--"),
        *("bwrap", "--args", "4", "--", "/app/program", "a b", "--", "-x"),
    ]


def test_the_argv_with_landlock_confines_before_the_environment_of_the_job() -> None:
    argv = sandbox.plain_argv(COMMAND, LIMITS, confined=True)
    at = argv.index("-I")
    assert argv[:at] == [*sandbox.plain_argv(COMMAND, LIMITS, confined=False)[:10], sys.executable]
    assert argv[at + 4 : at + 6] == ["env", "-i"]
    spec = json.loads(argv[at + 3])
    assert [path for path in spec["write"] if not path.startswith("/dev/")] == [
        "/state/jobs/j.1/work",
        "/state/jobs/j.1/tmp",
    ]
    assert {"/usr", "/srv/tool", "/state/jobs/j.1/app"} <= set(spec["read"])
    assert not {"/", "/var", "/tmp", "/home", "/root", "/state"} & {*spec["read"], *spec["write"]}


def test_the_argv_without_a_wall() -> None:
    assert sandbox.plain_argv(COMMAND, LIMITS, confined=False) == [
        *("prlimit", "--core=0:0", "--nproc=7", "--nofile=9", "--"),
        *("setpriv", "--no-new-privs", "--pdeathsig", "KILL", "--"),
        *("env", "-i", "A=1", "B=x=y", "/app/program", "a b", "--", "-x"),
    ]


def test_the_system_of_a_merged_and_of_an_old_layout(tmp_path: Path) -> None:
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib").mkdir()
    options = sandbox.system_options(tmp_path)
    assert pairs(options, "--symlink") == [("usr/bin", "/bin")]
    assert ("/lib", "/lib") in pairs(options, "--ro-bind")
    assert ("/usr", "/usr") in pairs(options, "--ro-bind")


def test_no_secret_of_the_system_is_shown() -> None:
    shown = {source for source, _ in pairs(sandbox.system_options(), "--ro-bind-try")}
    assert "/etc/passwd" in shown
    assert not shown & {"/etc", "/etc/shadow", "/etc/ssh", "/etc/ssl/private", "/root", "/home", "/var", "/run"}


def test_paths_as_the_job_sees_them() -> None:
    inside = sandbox.view(BUBBLEWRAP, Path("/state/jobs/j.1"))
    assert (inside.home, inside.tmp, inside.app) == (Path("/job"), Path("/tmp"), Path("/app"))
    outside = sandbox.view(PROCESS, Path("/state/jobs/j.1"))
    assert (outside.home, outside.app) == (Path("/state/jobs/j.1/work"), Path("/state/jobs/j.1/app"))


VIEW = sandbox.view(BUBBLEWRAP, Path("/x"))


def test_a_minimal_environment() -> None:
    assert sandbox.environment(VIEW, {"LANG": "de_DE.UTF-8", "X": "1"}, {"XWHEP_JOB_ID": "j"}) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/job",
        "TMPDIR": "/tmp",
        "LANG": "de_DE.UTF-8",
        "X": "1",
        "XWHEP_JOB_ID": "j",
    }


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "XWHEP_JOB_ID", "XWHEP_NEW", "A=B", "", "1A", "A B", "Ä"],
)
def test_names_that_jobs_may_not_set(name: str) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        sandbox.environment(VIEW, {name: "x"}, {})


def test_a_value_with_nul() -> None:
    with pytest.raises(ValueError, match="usable"):
        sandbox.environment(VIEW, {"A": "x\0--bind"}, {})


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_packed_options_come_out_as_they_went_in(options: list[str]) -> None:
    assert [item.decode() for item in sandbox.packed(options).split(b"\0")[:-1]] == options
