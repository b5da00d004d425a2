"""The layout guard: rules that no tool keeps for us."""

from __future__ import annotations

import ast
import configparser
import functools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xwhep.common import errors as platform_errors
from xwhep_packaging import errors as pipeline_errors

REPOSITORY = Path(__file__).resolve().parents[3]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_DODO_LINES = 100
# Hosts of package registries and mirrors, in pieces: this file is searched too.
REGISTRY_HOSTS = re.compile(
    r"(?:py" + r"pi\.org|files\.python" + r"hosted\.org|registry\.npm" + r"js\.org|deb\.deb" + r"ian\.org|"
    r"snapshot\.deb" + r"ian\.org|security\.deb" + r"ian\.org|doc" + r"ker\.io/|gh" + r"cr\.io|qu" + r"ay\.io)",
)
DEVELOPER_PATHS = re.compile(r"(?<![\w.}])/(?:wo" + r"rk|ho" + r"me/(?!somebody)[a-z]\w*|Us" + r"ers|tmp/d" + r"ev)/")


def tracked(*patterns: str) -> list[Path]:
    """Files under version control or about to be, as `git ls-files` matches them."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listing = subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return [REPOSITORY / name for name in listing.split("\0") if name and (REPOSITORY / name).is_file()]


def modules(*folders: str) -> list[Path]:
    return tracked(*(f"{folder}/*.py" for folder in folders))


@functools.cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.fixture(scope="module", autouse=True)
def trees_are_forgotten() -> Iterator[None]:
    """Several tests read the same trees, which are large: not a burden for the files that this process tests next."""
    yield
    syntax.cache_clear()


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_something_is_guarded() -> None:
    assert len(modules("src")) > 20
    assert len(modules("packaging")) > 15


# The traps: folders that shadow libraries


def test_packaging_is_a_folder_never_a_package() -> None:
    """Otherwise the library `packaging`, which pytest imports, is shadowed once the root is on the path."""
    assert not (REPOSITORY / "packaging" / "__init__.py").exists()
    shadows = [path for path in tracked("tests", "src") if "packaging" in path.relative_to(REPOSITORY).parts[1:-1]]
    assert not shadows


@pytest.mark.parametrize("library", ["packaging", "debian"])
def test_library_is_not_shadowed_from_the_top_folder(library: str) -> None:
    """From the top folder an import means the library or nothing; the folder must not look like a package."""
    code = f"import importlib.util as u; s = u.find_spec({library!r}); print(s.origin if s else None)"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    origin = found.stdout.strip()
    assert not origin.startswith(str(REPOSITORY / library)), origin
    assert library != "packaging" or origin.endswith("packaging/__init__.py")


def test_python_debian_is_declared_where_it_is_imported() -> None:
    """The folder debian/ is a namespace package: `import debian` works without the library and fails only later."""
    users = [
        name_of(path) for path in modules("src", "packaging") if any(_is_debian(n) for n in imported(syntax(path)))
    ]
    pins = (REPOSITORY / "packaging" / "requirements" / "build.in").read_text()
    assert not users or "python-debian" in pins


def _is_debian(module: str) -> bool:
    return module.partition(".")[0] == "debian"


# Sizes


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules("src", "packaging", "images")}
    assert {name: count for name, count in lengths.items() if count > MAX_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    found = {
        f"{name_of(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in modules("src", "packaging", "images", "tests")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in found.items() if count > MAX_FUNCTION_LINES} == {}


def test_init_files_hold_no_code() -> None:
    with_code = [
        name_of(path)
        for path in tracked("*/__init__.py")
        if any(not _is_docstring(statement) for statement in syntax(path).body)
    ]
    assert with_code == []


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_no_module_is_called_utils() -> None:
    assert [name_of(path) for path in tracked("*.py") if path.stem in {"utils", "util", "helpers", "misc"}] == []


# dodo.py


def test_dodo_is_a_table_of_contents() -> None:
    path = REPOSITORY / "dodo.py"
    assert len(path.read_text().splitlines()) < MAX_DODO_LINES
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.FunctionDef)
    for statement in syntax(path).body:
        assert isinstance(statement, allowed), ast.unparse(statement)
        if isinstance(statement, ast.FunctionDef):
            assert statement.name.startswith("task_")
            assert len(statement.body) == 1, f"{statement.name} holds logic"


def test_dodo_imports_tasks_alone() -> None:
    outside = [name for name in imported(syntax(REPOSITORY / "dodo.py")) if name.split(".")[0] == "xwhep_packaging"]
    assert outside
    assert {name.rpartition(".")[0] for name in outside} == {"xwhep_packaging.tasks"}
    assert "subprocess" not in imported(syntax(REPOSITORY / "dodo.py"))


# Imports and processes


def test_common_imports_the_standard_library_and_msgspec() -> None:
    allowed = {*sys.stdlib_module_names, "msgspec"}
    strangers = {
        f"{name_of(path)}: {module}"
        for path in modules("src/xwhep/common")
        for module in imported(syntax(path))
        if module.split(".")[0] not in allowed and not module.startswith("xwhep.common")
    }
    assert strangers == set()


def test_no_shell_starts_a_command() -> None:
    """`shell=True` splits words that nobody checked; os.system and its kin are the same by another name."""
    found = [f"{name_of(p)}:{n.lineno}" for p in modules("src", "packaging", "tests") for n in _shell_calls(syntax(p))]
    assert found == []


def _shell_calls(tree: ast.Module) -> Iterator[ast.Call]:
    names = {
        "os.system",
        "os.popen",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        "asyncio.create_subprocess_shell",
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            shell = any(k.arg == "shell" and getattr(k.value, "value", True) is not False for k in node.keywords)
            if shell or ast.unparse(node.func) in names:
                yield node


def test_the_shell_guard_sees_what_it_should() -> None:
    """So that the test above can fail."""
    bad = "subprocess.run('x', shell=True)\nos.system('x')\nsubprocess.run(['x'], shell=False)\n"
    assert [call.lineno for call in _shell_calls(ast.parse(bad))] == [1, 2]


# Programs of their own: one is started in the chroot by the suite's Python, one gives its process to a build; the
# engine `process` and what it starts, as podman's service; a plug-in that pytest loads.
INSIDE = {
    "packaging/xwhep_packaging/left_out.py",
    "packaging/xwhep_packaging/process_engine/containers.py",
    "packaging/xwhep_packaging/process_engine/enter.py",
    "packaging/xwhep_packaging/process_engine/running.py",
    "packaging/xwhep_packaging/stages/debs/inspect_project.py",
    "packaging/xwhep_packaging/stages/debs/no_network.py",
}


def test_only_command_starts_processes_of_the_pipeline() -> None:
    """import-linter sees `import subprocess`; this sees os.fork, os.exec* and os.spawn* as well."""
    starts = re.compile(r"\bos\.(?:fork|exec\w+|spawn\w+|posix_spawn\w*|startfile)\b|\bsubprocess\.")
    found = [name_of(path) for path in modules("packaging") if starts.search(path.read_text())]
    assert [name for name in found if name not in INSIDE] == ["packaging/xwhep_packaging/command.py"]


def test_only_settings_and_command_read_the_environment() -> None:
    """settings.py reads what changes a build; command.py keeps the caller's proxy and home, engines XDG's folder;
    terminal.py asks what kind of terminal it draws on."""
    readers = {name_of(path) for path in modules("packaging") if re.search(r"os\.(?:environ|getenv)", path.read_text())}
    assert {Path(name).stem for name in readers - INSIDE} <= {"settings", "command", "engines", "terminal"}


# Tools


def test_every_tox_environment_has_a_description() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(REPOSITORY / "tox.ini")
    environments = {name: section for name, section in parser.items() if name.startswith("testenv:")}
    wanted = {"unit", "integration", "network", "type", "lint", "imports", "docs", "pins", "bench"}
    assert {name.removeprefix("testenv:") for name in environments} >= wanted
    assert [name for name, section in environments.items() if not section.get("description")] == []


def test_every_pin_has_a_hash() -> None:
    for path in tracked("packaging/requirements/*.txt"):
        blocks = re.split(r"^(?=[a-z])", path.read_text(), flags=re.M)
        unhashed = [block.split()[0] for block in blocks if block[:1].isalpha() and "--hash=sha256:" not in block]
        assert unhashed == [], path.name


def test_pins_follow_their_sources() -> None:
    """A name added to a .in file without `tox -e pins` would be missing on the next machine."""
    for path in tracked("packaging/requirements/*.in"):
        names = re.findall(r"^([a-zA-Z][\w.-]*)", path.read_text(), re.M)
        pinned = re.findall(r"^([a-z][\w.-]*)(?:\[.*\])?==", path.with_suffix(".txt").read_text(), re.M)
        assert {name.lower().replace("_", "-") for name in names} <= set(pinned), path.name


def test_ci_runs_what_a_person_runs() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec scripts/doit test"


def test_ruff_knows_our_packages() -> None:
    """Without this setting it takes the library `packaging` for ours."""
    table: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert table["tool"]["ruff"]["src"][:2] == ["src", "packaging"]


# What must not be in the repository


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(REGISTRY_HOSTS, id="host of a package registry"),
        pytest.param(DEVELOPER_PATHS, id="path of a developer"),
    ],
)
def test_nothing_names(pattern: re.Pattern[str]) -> None:
    """Mirrors come from the machine's configuration; paths are relative."""
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}:{n} {line.strip()[:80]}" for n, line in enumerate(lines, 1) if pattern.search(line)]
    assert found == []


def test_the_name_guard_sees_what_it_should() -> None:
    assert REGISTRY_HOSTS.search("https://" + "py" + "pi.org/simple")
    assert DEVELOPER_PATHS.search("see /" + "work/x")
    assert not DEVELOPER_PATHS.search("draft.folder/" + "work/x {folder}/" + "work/y")


# Errors


def descendants(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind} | {deeper for child in kind.__subclasses__() for deeper in descendants(child)}


@pytest.mark.parametrize(
    ("module", "root"),
    [
        pytest.param(pipeline_errors, pipeline_errors.PipelineError, id="pipeline"),
        pytest.param(platform_errors, platform_errors.XwhepError, id="platform"),
    ],
)
def test_every_error_has_its_own_exit_code(module: Any, root: Any) -> None:
    kinds: set[Any] = {kind for kind in descendants(root) if kind.__module__ == module.__name__}
    assert len(kinds) > 10
    assert len({kind.exit_code for kind in kinds}) == len(kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(0 < kind.exit_code < 126 for kind in kinds), "126 and above are the shell's"


def test_pipeline_exit_codes_are_not_doits() -> None:
    kinds: set[Any] = descendants(pipeline_errors.PipelineError) - {pipeline_errors.PipelineError}
    assert all(kind.exit_code >= 10 for kind in kinds)


def test_exit_codes_stand_in_the_docstring() -> None:
    """The tree at the top of each module is what people read."""
    for module, root in (
        (pipeline_errors, pipeline_errors.PipelineError),
        (platform_errors, platform_errors.XwhepError),
    ):
        listed = dict(re.findall(r"[├└]── (\w+)\s+(\d+)", str(module.__doc__)))
        kinds: set[Any] = {kind for kind in descendants(root) if kind.__module__ == module.__name__} - {root}
        assert listed == {kind.__name__: str(kind.exit_code) for kind in kinds}


def test_a_next_step_can_be_typed_as_it_stands() -> None:
    """`doit` alone is on nobody's PATH: scripts/doit brings its own."""
    bare = re.compile(r"(?<![/\w`-])doit [a-z]")
    for path in modules("packaging"):
        for node in ast.walk(syntax(path)):
            if isinstance(node, ast.keyword) and node.arg == "next_step":
                said = "".join(str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant))
                assert not bare.search(said), f"{name_of(path)}:{node.value.lineno}: {said}"
            if isinstance(node, ast.Constant) and "next:" in str(node.value):
                assert not bare.search(str(node.value)), f"{name_of(path)}:{node.lineno}: {node.value}"
