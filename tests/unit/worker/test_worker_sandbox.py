import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.worker import sandbox
from xwhep.worker.sandbox import BUBBLEWRAP, FORMS, PROCESS, Command, Form, Limits, Wiring

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
    return sandbox.bubblewrap_options(COMMAND, ["--ro-bind", "/usr", "/usr"], Form(), Wiring(status=5))


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
    assert pairs(options, "--remount-ro", 1) == [("/dev",), ("/",)]
    assert options.index("/", options.index("/dev")) > max(
        at for at, option in enumerate(options) if option == "--bind"
    )


def test_memory_that_no_process_has_is_bounded(options: list[str]) -> None:
    at = options.index("--tmpfs")
    assert options[at - 2 : at + 2] == ["--size", str(256 * 2**20), "--tmpfs", "/dev/shm"]
    assert options.count("--tmpfs") == 1


def test_the_weakest_form_leaves_out_what_containers_refuse_and_nothing_else(options: list[str]) -> None:
    weakest = sandbox.bubblewrap_options(COMMAND, ["--ro-bind", "/usr", "/usr"], FORMS[-1], Wiring(status=5, seccomp=6))
    assert not {"--hostname", "--proc", "--disable-userns"} & set(weakest)
    assert ("/proc", "/proc") in pairs(weakest, "--ro-bind")
    assert pairs(weakest, "--seccomp", 1) == [("6",)]
    left_out = ["--disable-userns", "--hostname", "xwhep-job", "--proc", "/proc"]
    added = ["--seccomp", "6", "--ro-bind", "/proc", "/proc"]
    assert sorted([*options, *added]) == sorted([*weakest, *left_out])


def test_the_forms_come_strongest_first() -> None:
    strength = [form.own_proc + form.sealed + form.named for form in FORMS]
    assert strength == sorted(strength, reverse=True)
    assert FORMS[0] == Form()


def test_sizes_are_limits_of_each_process_and_file() -> None:
    argv = sandbox.limits_argv(Limits(processes=7, files=9, memory=100, disk=200))
    assert argv[-3:] == ["--data=100", "--fsize=200", "--"]


def test_it_gets_exactly_its_environment(options: list[str]) -> None:
    assert pairs(options, "--setenv") == [("A", "1"), ("B", "x=y")]
    assert options.index("--clearenv") < options.index("--setenv")


def test_the_argv_of_bubblewrap_holds_neither_options_nor_environment() -> None:
    assert sandbox.bubblewrap_argv(COMMAND, LIMITS, options_fd=4) == [
        *("bwrap", "--args", "4", "--"),
        *("/usr/bin/prlimit", "--core=0:0", "--nproc=7", "--nofile=9", "--", "/app/program", "a b", "--", "-x"),
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
        *("/usr/bin/prlimit", "--core=0:0", "--nproc=7", "--nofile=9", "--"),
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


def test_no_secret_of_the_system_is_shown(tmp_path: Path) -> None:
    options = [*sandbox.system_options(), *sandbox.shown_options(None, tmp_path)]
    shown = {source for flag in ("--ro-bind", "--ro-bind-try") for source, _ in pairs(options, flag)}
    assert "/etc/passwd" in shown
    assert not shown & {"/etc", "/etc/shadow", "/etc/ssh", "/etc/ssl/private", "/root", "/home", "/var", "/run"}


def test_a_copy_of_what_is_shown_of_etc_is_one_mount(tmp_path: Path) -> None:
    assert sandbox.shown_options(tmp_path / "etc", tmp_path) == ["--ro-bind", str(tmp_path / "etc"), "/etc"]


def test_opt_is_shown_when_there_is_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    assert (str(tmp_path), "/opt") in pairs(sandbox.shown_options(None, tmp_path), "--ro-bind")
    assert "/opt" not in sandbox.shown_options(None, tmp_path / "absent")


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


def test_what_of_bubblewrap_does_not_work_is_named() -> None:
    assert [form.lacks() for form in FORMS] == [
        "",
        "a host name of its own",
        "the kernel's bar to more namespaces, a host name of its own",
        "a /proc of its own, the kernel's bar to more namespaces, a host name of its own",
    ]
