"""The Debian archive, as this machine reaches it: its addresses, what apt would take from it, and single files.

apt's own configuration ──> addresses ──> a private apt root ──> which .debs, exactly      (nothing is installed)
                                     └──> apt-helper ──────────> the files, checked by sha256

apt itself resolves and downloads, so that proxies, certificates and keys are those of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import LockError, NetworkError, SettingsError, StoreError
from xwhep_packaging.lockfile import MAIN, SECURITY, Deb
from xwhep_packaging.settings import Settings

APT_SOURCES = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HELPER = "/usr/lib/apt/apt-helper"
UNREACHABLE = re.compile(
    r"Could not (?:resolve|connect)|Temporary failure|Unable to connect|Connection (?:failed|timed out|refused)"
    r"|Failed to fetch|503 |502 "
)
NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system")
GONE = re.compile(r"404 +Not Found|File not found|No such file")
# 'http://mirror/debian/pool/main/a/adduser/adduser_3.152_all.deb' adduser_3.152_all.deb 191736 SHA256:ab12...
URI_LINE = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})", re.M)
# apt adds itself to the essential packages, which no root of ours needs.
NOT_APT_ITSELF = "pkgCacheGen::ForceEssential=,"


def mirrors(settings: Settings, apt_folder: Path = APT_SOURCES) -> tuple[str, str]:
    """(archive, security archive): the settings', else those of the machine's own apt.

    Raises:
        SettingsError: neither says.
    """
    found = [address for address in configured_addresses(apt_folder) if "debian" in urlsplit(address).path]
    security = settings.suite.security_mirror or next((a for a in found if "security" in a), "")
    mirror = settings.suite.mirror or next((a for a in found if "security" not in a), "")
    if not mirror:
        raise SettingsError(
            "no Debian mirror is known",
            cause=f"[suite] mirror is empty and {apt_folder} names no Debian archive",
            next_step="set XWHEP_MIRROR (and XWHEP_SECURITY_MIRROR) to the address of one",
        )
    return mirror, security or re.sub(r"debian/?$", "debian-security", mirror)


def apt_lines(settings: Settings) -> list[str]:
    """The one-line apt sources of the suite: release, updates, security."""
    suite = settings.suite
    components = " ".join(suite.components)
    mirror, security = mirrors(settings)
    keyring = suite.keyring or (str(KEYRING) if KEYRING.is_file() else "")
    options = f"[signed-by={keyring}] " if keyring else ""
    return [
        f"deb {options}{mirror} {suite.name} {components}",
        f"deb {options}{mirror} {suite.name}-updates {components}",
        f"deb {options}{security} {suite.name}-security {components}",
    ]


def configured_addresses(apt_folder: Path) -> list[str]:
    """Every archive with a component `main` in apt's sources, one-line and deb822 form, in the order of their files.

    The component tells Debian's archive from those of other makers, whose addresses may end in /debian too.
    """
    parts = sorted((apt_folder / "sources.list.d").glob("*"))
    addresses: list[str] = []
    for file in [apt_folder / "sources.list", *parts]:
        if file.is_file() and file.suffix in (".list", ".sources"):  # apt reads no other names
            text = file.read_text(encoding="utf-8", errors="replace")
            addresses += _one_line_addresses(text) if file.suffix == ".list" else _deb822_addresses(text)
    return addresses


def _one_line_addresses(text: str) -> list[str]:
    found = re.findall(r"^deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+\S+\s+([^#\n]*)", text, re.M)
    return [address for address, components in found if "main" in components.split()]


def _deb822_addresses(text: str) -> list[str]:
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.M)
    addresses: list[str] = []
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = {
            name.lower(): value.split() for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)
        }
        is_wanted = "deb" in fields.get("types", []) and "main" in fields.get("components", [])
        if is_wanted and fields.get("enabled", ["yes"]) != ["no"]:
            addresses += fields.get("uris", [])
    return addresses


@dataclass(frozen=True, kw_only=True)
class Apt:
    """apt on a folder of its own: it knows the suite's packages and none of this machine's."""

    settings: Settings
    folder: Path
    log: Path

    def update(self) -> int:
        """Fetch the suite's indexes; returns the newest date among its Release files (UTC seconds).

        Raises:
            NetworkError: a mirror does not answer.
            LockError: an index is not signed by a known key, or apt refuses it for another reason.
        """
        for name in ("lists/partial", "archives/partial", "etc"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "etc" / "sources.list").write_text("\n".join(apt_lines(self.settings)) + "\n")
        (self.folder / "status").write_text("")
        self._call("apt-get", "update", "--error-on=any")
        dates = [_date(path) for path in sorted((self.folder / "lists").glob("*Release"))]
        return max(dates)

    def resolve(self, packages: Sequence[str], clauses: Sequence[str], installed: Sequence[Deb]) -> tuple[Deb, ...]:
        """What apt would download to have `packages`, and `clauses` of a Depends field satisfied, beside `installed`;
        without any, beside nothing but the suite's essential packages, which then are part of it.

        Raises:
            LockError: the suite cannot satisfy it.
        """
        (self.folder / "status").write_text(self._status(installed))
        wanted = [*([] if installed else ["?essential"]), *packages]
        found: dict[str, Deb] = {}
        if clauses:
            clause = ", ".join([*packages, *clauses])
            found = self._downloads("satisfy", [clause])
        elif wanted:
            found = self._downloads("install", wanted)
        if wanted and not installed and not found:
            raise LockError("apt names no package", cause=command.last_lines(self.log.read_text()), log=self.log)
        return tuple(found[name] for name in sorted(found))

    def _downloads(self, verb: str, words: Sequence[str]) -> dict[str, Deb]:
        options = ["-o", "APT::Install-Recommends=false", "-o", "APT::Install-Suggests=false"]
        text = self._call("apt-get", verb, "--print-uris", "--yes", "-q", *options, *words)
        debs = [deb_of(self.settings, found) for found in URI_LINE.finditer(text)]
        return {deb.name: deb for deb in debs}

    def _status(self, installed: Sequence[Deb]) -> str:
        """dpkg's status file of a machine that has just these packages."""
        if not installed:
            return ""
        names = [f"{deb.name}={deb.version}" for deb in installed]
        text = self._call("apt-cache", "show", "--no-all-versions", *names)
        stanzas = [stanza.strip() for stanza in text.split("\n\n") if stanza.strip()]
        return "".join(f"{stanza}\nStatus: install ok installed\n\n" for stanza in stanzas)

    def _call(self, *words: str) -> str:
        answer = command.run(Command(argv=[words[0], *self._options(), *words[1:]]), check=False)
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {' '.join(words)}\n{answer.stdout[-20000:]}{answer.stderr}\n")
        if answer.returncode != 0:
            raise _explained(words[1], f"{answer.stdout[-4000:]}\n{answer.stderr}", self.log)
        return answer.stdout

    def _options(self) -> list[str]:
        folder = self.folder
        chosen = {
            "APT::Architecture": self.settings.suite.architecture,
            "APT::Architectures": self.settings.suite.architecture,
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "sha256",  # else --print-uris names MD5
            "Acquire::GzipIndexes": "false",  # reading single stanzas of compressed ones takes 1 s
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Debug::NoLocking": "true",
            "Dir::Cache": str(folder),
            "Dir::Cache::archives": str(folder / "archives"),
            # Machines made from container images switch these off; without them each call reads all indexes (2 s).
            "Dir::Cache::pkgcache": str(folder / "pkgcache.bin"),
            "Dir::Cache::srcpkgcache": str(folder / "srcpkgcache.bin"),
            "Dir::Etc::sourcelist": str(folder / "etc" / "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": str(folder),
            "Dir::State::lists": str(folder / "lists"),
            "Dir::State::status": str(folder / "status"),
        }
        return [word for name, value in chosen.items() for word in ("-o", f"{name}={value}")] + ["-o", NOT_APT_ITSELF]


def deb_of(settings: Settings, found: re.Match[str]) -> Deb:
    """One line of `apt-get --print-uris` as a package of the lock.

    Raises:
        LockError: its address is below neither archive.
    """
    mirror, security = (address.rstrip("/") + "/" for address in mirrors(settings))
    name, version, arch = unquote(found["file"].removesuffix(".deb")).split("_")
    for archive, address in ((SECURITY, security), (MAIN, mirror)):
        if found["uri"].startswith(address):
            path = unquote(found["uri"].removeprefix(address))
            size, sha256 = int(found["size"]), found["sha256"]
            return Deb(name=name, version=version, arch=arch, archive=archive, path=path, size=size, sha256=sha256)
    raise LockError(
        f"apt would take {name} from an archive that is not the suite's",
        cause=found["uri"],
        next_step="scripts/doit lock",
    )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to fetch: where it is, where it goes."""

    deb: Deb
    target: Path


def fetch(addresses: dict[str, str], wanted: Sequence[Wanted], log: Path) -> list[Deb]:
    """Fetch files by one call of apt's own helper, which checks their sha256; returns those that the archive no longer
    has. `addresses` maps an archive's name to where it is.

    Raises:
        NetworkError: a mirror does not answer, or serves another file under the name.
        StoreError: the disk is full.
    """
    output = _download(addresses, wanted, log)
    left = [one for one in wanted if not one.target.is_file()]
    if len(wanted) > 1:  # what one call says of several files cannot be told apart
        return [deb for one in left for deb in fetch(addresses, [one], log)]
    if left and not GONE.search(output):
        raise _not_fetched(left[0], output, log)
    return [one.deb for one in left]


def _download(addresses: dict[str, str], wanted: Sequence[Wanted], log: Path) -> str:
    """The helper leaves no file whose hash is wrong."""
    argv = [HELPER, "-o", "Acquire::Retries=2", "-o", "APT::Sandbox::User=root", "download-file"]
    for one in wanted:
        place = quote(one.deb.path, safe="/:+~")
        argv += [f"{addresses[one.deb.archive].rstrip('/')}/{place}", str(one.target), f"SHA256:{one.deb.sha256}"]
    return command.run(Command(argv=argv, log=log), check=False).stdout


def _not_fetched(wanted: Wanted, output: str, log: Path) -> NetworkError | StoreError:
    deb = wanted.deb
    relevant = "\n".join([line for line in output.splitlines() if re.match(r"(E|Err|W):? ?", line)][-4:])
    if NO_ROOM.search(output):
        return StoreError(
            f"{deb.name} {deb.version} cannot be written to {wanted.target.parent}",
            cause=relevant or command.last_lines(output, 4),
            next_step="free disk space, or choose another folder: XWHEP_CACHE=FOLDER",
            log=log,
        )
    if "Hash Sum mismatch" in output or "unexpected size" in output:
        return NetworkError(
            f"the mirror serves another file as {deb.name} {deb.version}",
            cause=relevant or command.last_lines(output, 4),
            next_step="use another mirror: XWHEP_MIRROR=ADDRESS",
            log=log,
        )
    return NetworkError(
        f"cannot fetch {deb.name} {deb.version}",
        cause=relevant or command.last_lines(output, 4),
        next_step="check the network and the mirror in the machine's apt configuration, then type it again",
        log=log,
    )


def _date(release: Path) -> int:
    found = re.search(r"^Date: (.+)$", release.read_text(encoding="utf-8"), re.M)
    if found is None:
        raise LockError(f"{release.name} has no date", next_step="use another mirror: XWHEP_MIRROR=ADDRESS")
    return int(parsedate_to_datetime(found[1]).timestamp())


def _explained(verb: str, output: str, log: Path) -> LockError | NetworkError:
    relevant = "\n".join([line for line in output.splitlines() if re.match(r"(E|Err|W):? ?", line)][-6:])
    if UNREACHABLE.search(output):
        return NetworkError(
            "the Debian mirror does not answer",
            cause=relevant,
            next_step="check the network and the mirror in the machine's apt configuration, then type it again",
            log=log,
        )
    missing = re.search(r"Unable to locate package (\S+)", output)
    if missing:
        what = f"the suite has no package {missing[1]!r}"
    elif "Unmet dependencies" in output or "Depends:" in output:
        what = "the suite cannot give what is asked for"
        found = re.findall(r"^ (\S.* : (?:Depends|PreDepends).*(?:\n +Depends: .*)*)", output, re.M)
        relevant = "\n".join(line.strip() for line in "\n".join(found).splitlines()) or relevant
    else:
        what = f"apt-get {verb} fails"
    return LockError(
        what,
        cause=relevant or command.last_lines(output),
        next_step="correct the packages in the pipeline file, or Build-Depends in debian/control",
        log=log,
    )
