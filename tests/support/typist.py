"""`xw` as people type it, but in this process: a start of Python for each command would cost seconds."""

from __future__ import annotations

import io
import json

from xwhep.client.main import main
from xwhep.common import trust
from xwhep.common.join import JoinLine


class Typist:
    """Runs `xw` in this process as the holder of a token."""

    def __init__(self, live, monkeypatch, capsys):
        self.live, self.monkeypatch, self.capsys = live, monkeypatch, capsys

    def line(self, token):
        pem = (self.live.state / "ca.pem").read_text()
        return JoinLine(address=f"https://localhost:{self.live.port}", fingerprint=trust.fingerprint(pem), token=token)

    def type(self, *words, stdin="", api=None):
        """(exit code, standard output, standard error)"""
        self.monkeypatch.setenv("XWHEP_JOIN", str(self.line((api or self.live.boss).token)))
        self.monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(words)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def __call__(self, *words, **more):
        """Standard output of what must go well."""
        code, out, err = self.type(*words, **more)
        assert code == 0, err
        return out

    def json(self, *words, **more):
        return json.loads(self(*words, "--format", "json", **more))
