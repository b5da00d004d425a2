"""The small parts, each on its own: throttle, tokens, names, logs, queries, matching, certificates."""

from __future__ import annotations

import json
import logging
import posixpath
import sys
from pathlib import Path, PurePosixPath

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

import xwhep.server.store.queries
from xwhep.common.errors import InvalidRequest
from xwhep.common.wire import App, Binary, JobResult, JobSpec, Machine
from xwhep.server import checks
from xwhep.server.authority import ensure_certificates
from xwhep.server.authority_files import AuthorityFiles
from xwhep.server.failures import SecretsExposed
from xwhep.server.identity import hash_password, new_token, password_matches, token_hash
from xwhep.server.logs import JsonFormatter, TextFormatter
from xwhep.server.machine_names import names_of_this_machine
from xwhep.server.matching import binary_for, misfit
from xwhep.server.private_files import refuse_exposed
from xwhep.server.store.queries import load_queries, migrations, parse_queries
from xwhep.server.throttle import MAX_KEYS, Rate, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# throttle


def test_a_burst_is_let_through_then_one_by_one():
    clock = Clock()
    throttle = Throttle(Rate(burst=3, per_s=0.5), clock)
    assert [throttle.wait_s("a") for _ in range(3)] == [0, 0, 0]
    assert throttle.wait_s("a") == 2.0
    assert throttle.wait_s("b") == 0
    clock.now = 2.0
    assert throttle.wait_s("a") == 0
    assert throttle.wait_s("a") > 0


def test_a_good_try_does_not_count():
    throttle = Throttle(Rate(burst=1, per_s=0.1), Clock())
    for _ in range(5):
        assert throttle.wait_s("a") == 0
        throttle.give_back("a")


def test_many_keys_do_not_fill_the_memory_and_the_busiest_stays_known():
    clock = Clock()
    throttle = Throttle(Rate(burst=1, per_s=0.001), clock)
    for number in range(MAX_KEYS + 10):
        clock.now += 0.0001
        throttle.wait_s(str(number))
    assert len(throttle._buckets) <= MAX_KEYS
    assert throttle.wait_s(str(MAX_KEYS + 9)) > 0


@given(st.lists(st.floats(0, 100), max_size=50))
def test_no_more_than_burst_and_rate_pass_in_any_time(pauses):
    clock = Clock()
    throttle = Throttle(Rate(burst=3, per_s=0.5), clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += throttle.wait_s("k") == 0
    assert passed <= 3 + clock.now * 0.5 + 1e-6


# identity


def test_tokens_are_long_random_and_only_their_hash_is_for_keeping():
    first, second = new_token("xwu_"), new_token("xwu_")
    assert first != second
    assert len(first) == 4 + 43
    assert token_hash(first) not in first


def test_passwords_are_argon2id_with_a_salt():
    first, second = hash_password("pass word"), hash_password("pass word")
    assert first.startswith("$argon2id$")
    assert first != second
    assert password_matches(first, "pass word")
    assert not password_matches(first, "pass Word")
    assert not password_matches("no hash", "pass word")


# private files


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o601])
def test_open_secrets_are_refused_by_name(tmp_path, mode):
    tmp_path.chmod(0o755)
    (tmp_path / "good").touch(0o600)
    refuse_exposed(tmp_path, [tmp_path / "good", tmp_path / "missing"])
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(SecretsExposed, match="open"):
        refuse_exposed(tmp_path, [tmp_path / "good", tmp_path / "open"])


# names and certificates


def test_this_machine_has_its_names_and_addresses():
    names = names_of_this_machine(["Grid.Example.Org", "bad..name"])
    assert {"grid.example.org", "localhost", "127.0.0.1", "::1"} <= names
    assert "bad..name" not in names
    assert "" not in names


@pytest.fixture
def files(tmp_path):
    return AuthorityFiles(folder=tmp_path)


def certificate(files: AuthorityFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.server_pem.read_bytes())


def test_the_certificate_names_what_it_should(files):
    assert ensure_certificates(files, frozenset({"grid.example.org", "10.1.2.3", "::1"}))
    names = certificate(files).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["grid.example.org"]
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"10.1.2.3", "::1"}
    authority = x509.load_pem_x509_certificate(files.ca_pem.read_bytes())
    certificate(files).verify_directly_issued_by(authority)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_certificate_is_issued_again_only_when_it_must_be(files):
    names = frozenset({"a.example"})
    ensure_certificates(files, names)
    first, authority = certificate(files), files.ca_pem.read_bytes()
    assert not ensure_certificates(files, names)
    assert ensure_certificates(files, names | {"b.example"})
    assert certificate(files) != first
    files.record.unlink()  # as after a crash in between
    assert ensure_certificates(files, names)
    files.server_pem.write_bytes(b"damaged")
    assert ensure_certificates(files, names)
    assert files.ca_pem.read_bytes() == authority


def test_a_certificate_that_soon_expires_is_issued_again(files):
    names = frozenset({"a.example"})
    ensure_certificates(files, names)
    record = json.loads(files.record.read_bytes())
    files.record.write_text(json.dumps({**record, "not_after": record["not_after"] - 370 * 86400}))
    assert ensure_certificates(files, names)


# matching

MACHINE = Machine(
    os="linux", arch="x86_64", cpu_count=1, cpu_model="", ram_bytes=1, disk_free_bytes=1, version="", shared=["perl"]
)


def app(*machines: str, shared: str = "") -> App:
    binaries = [
        Binary(os=os_, arch=arch, sha256="a" * 64, size=1) for os_, arch in (machine.split("/") for machine in machines)
    ]
    return App(id="i", name="n", owner="o", created_at=0, binaries=binaries, shared=shared)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (app("any/any", "linux/any", "linux/x86_64"), "linux/x86_64"),
        (app("any/any", "any/x86_64", "linux/any"), "linux/any"),
        (app("any/any", "darwin/any"), "any/any"),
        (app("linux/riscv64", "darwin/x86_64"), None),
        (app(shared="perl"), None),
    ],
)
def test_the_most_specific_binary_that_runs_is_chosen(given, chosen):
    found = binary_for(given, MACHINE)
    assert (f"{found.os}/{found.arch}" if found else None) == chosen


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (app("any/any"), ""),
        (app(shared="perl"), ""),
        (app(shared="ruby"), "the shared asset ruby is not installed"),
        (app("linux/riscv64"), "there is no binary for linux/x86_64"),
    ],
)
def test_a_misfit_is_told_in_words(given, why):
    assert misfit(given, MACHINE) == why


# checks


@given(st.text(max_size=200))
def test_names_that_pass_are_safe_as_file_names(text):
    try:
        checks.check_name(text, "it")
    except InvalidRequest:
        return
    assert text.isascii()
    assert "/" not in text
    assert ".." not in text
    assert text[0].isalnum()
    assert len(text) <= 128


@given(st.text(alphabet="./a\0 -", max_size=12))
def test_result_paths_that_pass_stay_inside_the_folder(path):
    file = {"path": path, "sha256": "a" * 64, "size": 0}
    plain = {"path": "out", "sha256": "a" * 64, "size": 0}
    result = msgspec.convert({"exit_code": 0, "stdout": plain, "stderr": plain, "files": [file]}, JobResult)
    try:
        checks.check_result(result)
    except InvalidRequest:
        return
    inside = PurePosixPath(posixpath.normpath(f"/job/{path}"))
    assert inside.is_relative_to("/job")
    assert str(inside) == f"/job/{path}"


@pytest.mark.parametrize("spec", [{"args": ["x" * 70_000, "y" * 70_000]}, {"env": {"": "x"}}, {"data": ["d"] * 1025}])
def test_jobs_beyond_bounds_are_refused(spec):
    with pytest.raises(InvalidRequest):
        checks.check_job(JobSpec(app="tool", **spec))


# logs


def record(event: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.INFO, "", 0, event, (), None)
    made.created, made.fields = 0.0, fields
    return made


def test_a_text_line_is_one_line_whatever_is_in_it():
    line = TextFormatter().format(record("job leased", job="j1", name="evil\n2026 fake\x1b[0m"))
    assert line == "1970-01-01T00:00:00Z job leased job=j1 name=evil\\n2026 fake\\x1b[0m"


def test_a_json_line_has_the_fields():
    line = JsonFormatter().format(record("job leased", job="j1", attempt=2))
    assert json.loads(line) == {"time": 0.0, "level": "info", "event": "job leased", "job": "j1", "attempt": 2}


def test_a_fault_is_logged_with_its_traceback_in_both_forms():
    try:
        raise ValueError("odd")
    except ValueError:
        made = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    assert "ValueError: odd" in TextFormatter().format(made)
    assert "ValueError: odd" in json.loads(JsonFormatter().format(made))["traceback"]


# queries


def test_every_query_of_the_server_is_described_and_used():
    store = Path(xwhep.server.store.queries.__file__).parent
    source = "".join(path.read_text() for path in store.glob("*.py"))
    assert [name for name in load_queries() if f'"{name}"' not in source] == []
    assert migrations()[0][0] == 1


@pytest.mark.parametrize(
    "text",
    [
        "-- name: a\nSELECT 1;",
        "-- name: a\n-- only words\n",
        "-- name: a\n-- x\nSELECT 1;\n-- name: a\n-- x\nSELECT 2;",
    ],
    ids=["undescribed", "empty", "twice"],
)
def test_bad_query_files_are_refused(text):
    with pytest.raises(ValueError, match="query a needs"):
        parse_queries(text)
