"""What a build without network asks for is written down."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

from xwhep_packaging.stages.debs import no_network

SCRIPT = Path(str(no_network.__file__))
QUERY = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\6mirror\7example\7invalid\0\0\1\0\1"
ASK = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    for _ in range(2):
        client.sendto({QUERY!r}, ("127.0.0.1", 53))
        print(client.recvfrom(512)[0].hex())
"""
WITHOUT = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--", sys.executable, "-I"]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [*WITHOUT, str(SCRIPT), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_name_of_a_query() -> None:
    assert no_network.name_asked(QUERY) == "mirror.example.invalid"
    assert no_network.name_asked(b"short") == ""


def test_refusal_holds_the_question_and_no_answer() -> None:
    made = no_network.refusal(QUERY)
    number, status, questions, answers = struct.unpack(">HHHH", made[:8])
    assert (number, status & 0xF, status >> 15, questions, answers) == (0x1234, 5, 1, 1, 0)
    assert made[12:] == QUERY[12:]


def test_each_name_is_said_once() -> None:
    done = run(sys.executable, "-c", ASK)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{no_network.ASKED}mirror.example.invalid\n"
    assert done.stdout.splitlines() == [no_network.refusal(QUERY).hex()] * 2


def test_status_is_the_command_s() -> None:
    assert run("sh", "-c", "exit 7").returncode == 7


def test_there_is_a_loopback_and_nothing_else() -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 5)"
    assert run(sys.executable, "-c", code).returncode == 0
    away = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    assert "unreachable" in run(sys.executable, "-c", away).stderr
