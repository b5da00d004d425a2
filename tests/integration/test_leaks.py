"""What might leak into a build, injected: each is refused with its own message, or shown to change no byte.

LEAKS     all at once around a build of a source that writes down whatever it can see: the same bytes as without
REFUSED   sources that reach out of their tree
ELSEWHERE where the others are shown
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from clones import REPOSITORY
from tiny_root import make_tiny_root
from workshop import Workshop, git
from xwhep_packaging.baking import Bake, baked
from xwhep_packaging.errors import BakeError, PipelineError
from xwhep_packaging.store import Draft

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds need root")
CONTROL = """Source: probe
Section: misc
Priority: optional
Maintainer: Sample Maker <sample@example.invalid>
Standards-Version: 4.7.2

Package: probe
Architecture: all
Description: writes down what it can see
"""
CHANGELOG = """probe (1.0) unstable; urgency=low

  * First.

 -- Sample Maker <sample@example.invalid>  Mon, 02 Nov 2026 12:00:00 +0000
"""
RULES = """#!/usr/bin/make -f
build clean build-arch build-indep binary-arch:
binary-indep: binary
binary:
	mkdir -p debian/probe/DEBIAN debian/probe/usr/share/probe
	{ACTION}
	cp *.txt debian/probe/usr/share/probe/
	dpkg-gencontrol -Pdebian/probe
	dpkg-deb --root-owner-group --build debian/probe ..
"""
# MAKEFLAGS and its kind are make's own, the folder is the test's.
LOOK = """env | grep -v '^MAKE\\|^MFLAGS\\|^PWD=\\|^OLDPWD=\\|^_=' | sort
umask; hostname; cat /etc/hosts; cat "$HOME/.config/dpkg/buildflags.cfg" "$HOME/.dpkg.cfg" 2>&1 | tail -n 4
python3 -c 'import sys; print(sys.path)'
"""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """`trace` is what the source would hold or write down. `variables` and `files` (below the home) are around it."""

    trace: str
    variables: dict[str, str] | None = None
    files: dict[str, str] | None = None


def smudge(mark: str) -> str:
    return f"sed s/clean/{mark}/"


LEAKS = {
    "an environment variable": Leak(trace="LEAK-variable", variables={"CFLAGS": "-DLEAK-variable"}),
    "SOURCE_DATE_EPOCH": Leak(trace="1111111111", variables={"SOURCE_DATE_EPOCH": "1111111111"}),
    "PYTHONPATH": Leak(trace="LEAK-python", variables={"PYTHONPATH": "/LEAK-python"}),
    "PATH": Leak(trace="LEAK-path", variables={"PATH": "/LEAK-path:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}),
    "TAR_OPTIONS": Leak(trace="LEAK-tar", variables={"TAR_OPTIONS": "--owner=LEAK-tar:77"}),
    "the host's ~/.config": Leak(
        trace="LEAK-config", files={".config/dpkg/buildflags.cfg": "APPEND CFLAGS -DLEAK-config\n"}
    ),
    "the host's ~/.dpkg.cfg": Leak(trace="LEAK-dpkg", files={".dpkg.cfg": "# LEAK-dpkg\n"}),
    "the host's ~/.gitconfig": Leak(
        trace="LEAK-home", files={".gitconfig": f'[filter "home"]\n\tsmudge = {smudge("LEAK-home")}\n'}
    ),
    "GIT_ variables": Leak(
        trace="LEAK-git",
        variables={
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "filter.variable.smudge",
            "GIT_CONFIG_VALUE_0": smudge("LEAK-git"),
        },
    ),
    "a filter in the clone's .git/config": Leak(trace="LEAK-clone"),
    "the clone's .git/info/attributes": Leak(trace="LEAK-info"),
    "export-subst of a branch's name": Leak(trace="LEAK-branch"),
    "the umask": Leak(trace="0077\n"),
    "/etc/hosts": Leak(trace="LEAK-hosts", files={"hosts": "127.0.0.1 localhost LEAK-hosts\n"}),
}
ATTRIBUTES = "h.txt filter=home\nv.txt filter=variable\nc.txt filter=clone\ns.txt export-subst\n"
AROUND = 'mount --bind "$HOME/hosts" /etc/hosts && umask 0077 && exec "$@"'


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The repository of a source that looks around."""

    workshop: Workshop
    repository: Path
    home: Path

    def leaky(self, argv: list[str], **more: str) -> str:
        """Run with every leak around it."""
        found = {"HOME": str(self.home)}
        for leak in LEAKS.values():
            found |= leak.variables or {}
            for name, text in (leak.files or {}).items():
                (self.home / name).parent.mkdir(parents=True, exist_ok=True)
                (self.home / name).write_text(text)
        return run(["unshare", "--mount", "sh", "-c", AROUND, "sh", *argv], {**os.environ, **found, **more})

    def build(self, name: str, run_it: Callable[..., str]) -> dict[str, bytes]:
        """File -> content, of what a store of its own then has of source and packages."""
        store = self.workshop.folder.parent / name
        with_bases(store)
        self.workshop.pipeline(self.repository, {"builder": "debian", "lint": False})
        file = self.repository / ".git" / "pipeline.toml"
        argv = [str(REPOSITORY / "scripts" / "doit"), f"debs:{self.repository.name}", f"pipeline={file}"]
        run_it(argv, XWHEP_STORE=str(store))
        return {
            path.name: path.read_bytes()
            for stage in ("source", "debs")
            for path in sorted((store / stage).glob("*/*"))
            if path.suffix != ".json"
        }


def run(argv: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def plainly(argv: list[str], **more: str) -> str:
    return run(argv, {**os.environ, **more})


def with_bases(store: Path) -> None:
    store.mkdir(exist_ok=True)
    for stage in ("base", "packages"):
        (REPOSITORY / "_build" / stage).mkdir(parents=True, exist_ok=True)
        (store / stage).symlink_to(REPOSITORY / "_build" / stage)


def tree(folder: Path, action: str) -> Path:
    """A Debian source as a git repository; `action` is a line of its rules."""
    (folder / "debian/source").mkdir(parents=True)
    (folder / "debian/control").write_text(CONTROL)
    (folder / "debian/changelog").write_text(CHANGELOG)
    (folder / "debian/source/format").write_text("3.0 (native)\n")
    (folder / "debian/rules").write_text(RULES.replace("{ACTION}", action))
    (folder / "debian/rules").chmod(0o755)
    (folder / "a.txt").write_text("clean\n")
    return folder


def committed(folder: Path) -> Path:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=probe")
    return folder


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("leaks")
    with_bases(folder / "store")
    return Workshop(folder=folder / "repositories", store=folder / "store")


@pytest.fixture(scope="module")
def probe(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    folder = tree(workshop.folder / "probe", "sh look.sh > debian/probe/usr/share/probe/seen")
    (folder / "look.sh").write_text(LOOK)
    for name in "hvci":
        (folder / f"{name}.txt").write_text("clean\n")
    (folder / "s.txt").write_text("$Format:%D$\n")
    (folder / ".gitattributes").write_text(ATTRIBUTES)
    committed(folder)
    return Probe(workshop=workshop, repository=folder, home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def clean(probe: Probe) -> dict[str, bytes]:
    return probe.build("clean", plainly)


@pytest.fixture(scope="module")
def injected(probe: Probe, clean: dict[str, bytes]) -> str:
    """What the same commands see with all leaks in place, outside of the pipeline. The clone's stay for the build."""
    git(probe.repository, "branch", "LEAK-branch")
    git(probe.repository, "config", "filter.clone.smudge", smudge("LEAK-clone"))
    git(probe.repository, "config", "filter.info.smudge", smudge("LEAK-info"))
    (probe.repository / ".git/info").mkdir(exist_ok=True)
    (probe.repository / ".git/info/attributes").write_text("i.txt filter=info\n")
    exported = probe.leaky(["git", "-c", "safe.directory=*", "-C", str(probe.repository), "archive", "HEAD"])
    return exported + probe.leaky(["sh", str(probe.repository / "look.sh")])


@pytest.fixture(scope="module")
def leaky(probe: Probe, injected: str) -> dict[str, bytes]:
    return probe.build("leaky", probe.leaky)


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_changes_no_byte(name: str, injected: str, leaky: dict[str, bytes], tmp_path: Path) -> None:
    """It is there for whoever looks without the pipeline, and neither in the source nor in the package."""
    trace = LEAKS[name].trace
    assert trace in injected
    (deb,) = [content for file, content in leaky.items() if file.endswith(".deb")]
    (tmp_path / "probe.deb").write_bytes(deb)
    subprocess.run(["dpkg-deb", "--raw-extract", "probe.deb", "all"], cwd=tmp_path, check=True)
    texts = [path.read_bytes() for path in (tmp_path / "all").rglob("*") if path.is_file()]
    assert len(texts) > 5
    assert not [text for text in (*texts, leaky["source.tar"]) if trace.encode() in text]


def test_all_leaks_together_give_the_same_bytes(clean: dict[str, bytes], leaky: dict[str, bytes]) -> None:
    assert {file: digest(content) for file, content in leaky.items()} == {
        file: digest(content) for file, content in clean.items()
    }


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Refused


def link(folder: Path, name: str, target: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A line of debian/rules or a symbolic link, and the words of the error."""

    says: str
    action: str = "true"
    link: tuple[str, str] | None = None


REFUSED = {
    "pip": Refused(action="python3 -m pip install requests", says="No module named pip"),
    "download": Refused(
        action="python3 -c 'import urllib.request as u; u.urlopen(\"https://pypi.invalid/simple\")'",
        says="wants the network: pypi.invalid",
    ),
    "download-by-number": Refused(
        action="python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 5)'",
        says="Network is unreachable",
    ),
    "outside": Refused(
        action="touch /usr/share/leak", says="touch: cannot touch '/usr/share/leak': Read-only file system"
    ),
    "setting-of-the-kernel": Refused(
        # Were it let, it would write what is there.
        action="was=$$(cat /proc/sys/kernel/core_pattern); echo $$was >/proc/sys/kernel/core_pattern",
        says="/proc/sys/kernel/core_pattern: Read-only file system",
    ),
    "clock": Refused(action="date --set=now", says="cannot set date: Operation not permitted"),
    "machine-id": Refused(action="cat /etc/machine-id", says="/etc/machine-id: No such file or directory"),
    "hardware": Refused(action="ls /sys/class", says="'/sys/class': No such file or directory"),
    "log-of-the-kernel": Refused(action="cat /dev/kmsg", says="/dev/kmsg: No such file or directory"),
    "beside": Refused(action="touch ../leak.deb", says="writes outside its folder: leak.deb"),
    "link": Refused(link=("debian/changelog", "/etc/hostname"), says="link out of its tree: debian/changelog"),
    "link-up": Refused(
        link=("debian/source/format", "../../../../../etc/passwd"), says="link out of its tree: debian/source/format"
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_source_that_reaches_out_is_refused(name: str, workshop: Workshop) -> None:
    case = REFUSED[name]
    folder = tree(workshop.folder / f"reaches-{name}", case.action)
    if case.link:
        link(folder, *case.link)
    pipeline = workshop.pipeline(committed(folder), {"builder": "debian", "lint": False})
    with pytest.raises(PipelineError) as caught:
        pipeline.make(f"debs:{folder.name}")
    report = caught.value.report()
    assert case.says in report
    assert f"'reaches-{name}'" in report
    assert "next:" in report


def test_each_has_words_of_its_own() -> None:
    assert len({case.says for case in REFUSED.values()}) == len(REFUSED)


# What a RUN of a Containerfile sees


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    make_tiny_root(folder / "root")
    return folder


def bake(context: Path, step: str, folder: Path, isolation: str = "chroot") -> str:
    """The log of a bake; the image is gone again."""
    (context / "Containerfile").write_text(f"FROM scratch\nADD root /\n{step}\n")
    folder.mkdir()
    wanted = Bake(
        context=context,
        file=context / "Containerfile",
        tags=(),
        epoch=1,
        arguments={},
        id_file=folder / "id",
        isolation=isolation,
    )
    facts = baked(wanted, "probe", Draft(folder=folder, log=folder / "log"))
    subprocess.run(["buildah", "rmi", facts["digest"]], check=True, capture_output=True)
    return (folder / "log").read_text()


def test_a_bake_sees_neither_proxy_nor_hosts_nor_resolver_nor_name(
    context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://LEAK-proxy.invalid:3128")
    step = "RUN env; echo name=$(hostname); echo hosts=$(cat /etc/hosts); echo resolver=$(cat /etc/resolv.conf)."
    log = bake(context, step, tmp_path / "draft")
    assert "name=build\n" in log
    assert "hosts=127.0.0.1 localhost\n" in log
    assert "resolver=.\n" in log
    assert "LEAK" not in log


@pytest.mark.parametrize("isolation", ["chroot", "oci"])
def test_a_bake_has_no_network(context: Path, tmp_path: Path, isolation: str) -> None:
    step = "RUN echo interfaces=$(tail -n +3 /proc/net/dev | wc -l)"
    log = bake(context, step, tmp_path / "draft", isolation=isolation)
    assert "interfaces=1\n" in log, "the loopback, which is down"


def test_a_link_out_of_a_context_is_refused(context: Path, tmp_path: Path) -> None:
    link(context, "out", "/etc/hostname")
    with pytest.raises(BakeError) as caught:
        bake(context, "COPY out /seen", tmp_path / "draft")
    assert "out" in caught.value.cause


ELSEWHERE = {
    "a second apt source": "integration/test_lock.py::test_without_any_network_the_same_bits_come_again",
    "a preseeded package": "unit/pipeline/test_pipeline_base.py::test_a_root_that_differs_from_the_lock_is_refused",
    "a changed .deb in the store": "integration/test_lock.py::test_a_changed_package_in_the_cache_is_caught",
    "a mirror that serves another file": "integration/test_lock.py::test_another_file_under_a_locked_name_is_caught",
    "an index signed by nobody": "integration/test_lock.py::test_an_index_without_the_right_signature_is_caught",
    "a changed file in an imported cache": "unit/pipeline/test_pipeline_debcache.py::test_a_wrong_import_is_refused",
    "another archive under a pinned hash": "integration/test_builders.py::test_sdist_with_another_hash_is_refused",
    "a tool at the front of PATH": "unit/pipeline/test_pipeline_command.py::test_tools_are_those_of_the_system",
    "loose changes in the clone": "integration/test_build.py::test_uncommitted_changes_are_not_built_and_this_is_said",
    "a time zone in a package": "integration/test_verify.py::test_a_leak_is_found_and_named",
}


@pytest.mark.parametrize("leak", ELSEWHERE)
def test_the_others_are_shown_where_the_table_says(leak: str) -> None:
    file, _, test = ELSEWHERE[leak].partition("::")
    assert f"\ndef {test}(" in (REPOSITORY / "tests" / file).read_text()


SAYS_NOTHING = {"a second apt source", "a tool at the front of PATH"}  # like LEAKS: it changes no byte


def test_at_least_twenty_are_refused_with_words_of_their_own() -> None:
    assert len({*REFUSED, *ELSEWHERE} - SAYS_NOTHING) >= 20
    assert len({*LEAKS, *SAYS_NOTHING}) >= 14
    assert shutil.which("buildah"), "the pipeline needs it"
