"""Every way the pipeline can fail that a person can do something about.

    PipelineError
    ├── SettingsError      10   pipeline.toml or an override is wrong
    ├── MissingTool        11   a system tool is not installed
    ├── SourceError        12   no such repository, ref or commit
    ├── NetworkError       13   a mirror or remote repository does not answer
    ├── BuildError         14   a package does not build
    ├── LintError          15   a package builds, but lintian objects
    ├── BaseError          16   the shared root file system cannot be made
    ├── BakeError          17   an image cannot be baked
    ├── EngineError        18   no engine answers, or it refuses
    ├── NetworkTestError   19   the containers run, but do not work together
    ├── StoreError         20   the disk is full, or _build cannot be written
    ├── CheckError         21   a check of `doit test` fails
    ├── CommandError       22   a tool failed in a way no stage foresaw
    ├── LockError          23   the lock is missing, out of date or damaged, or a root differs from it
    ├── VerifyError        24   a rebuild gives other bytes, or cannot be compared
    ├── ReleaseError       25   a release cannot be made, moved, or is not what it was signed as
    ├── MachineError       26   this machine cannot build
    ├── DeployError        27   a deployed grid does not come up, or its test job fails
    ├── WeakError          28   it was made on a machine that gives less: not for a release
    ├── ValuesError        30   the file of answers cannot be read as such, or there are no answers
    ├── UnknownKey         31   the file of answers has a key that nobody knows
    ├── SecretsExposed     32   a file with secrets can be read by others
    ├── WeakPassword       33   a password that is guessed soon
    ├── AnswerError        34   an answer has the wrong form
    ├── DeploymentExists   35   it is there already, with other answers
    ├── DeploymentError    36   no such deployment, one of several, or a damaged one
    └── SecretFound        37   something public holds a secret of a deployment

Exit codes start at 10, so that they differ from doit's own 1, 2 and 3. A test says that no two are alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from xwhep_packaging.known_failures import Known


class PipelineError(Exception):
    """What happened, why, and what to type next.

    Args:
        what: one sentence for a person.
        cause: the deeper reason, or the last relevant lines of a log; may be empty.
        next_step: the command to type or the thing to check.
        log: the full log, when there is one.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    of_a_tool: ClassVar[bool] = True  # what it quotes is a tool's own complaint, not a test's that failed on purpose

    def __init__(self, what: str, *, cause: str = "", next_step: str = "", log: Path | None = None) -> None:
        super().__init__(what)
        self.what, self.cause, self.next_step, self.log = what, cause, next_step, log

    def report(self) -> str:
        """The whole message as it is printed: at most a screenful. A failure that comes back is named in words."""
        lines = [f"error [{self.code}]: {self.what}"]
        known = self.known()
        if known:
            lines.append(f"  known: {known.name}: {known.cause}")
        if self.cause:
            lines += [
                f"  cause: {line}" if n == 0 else f"         {line}" for n, line in enumerate(self.cause.split("\n"))
            ]
        if known:
            lines.append(f"  next:  {known.next_step}")
        if self.next_step:
            lines.append(f"  {'then' if known else 'next'}:  {self.next_step}")
        if self.log:
            lines.append(f"  log:   {self.log}")
        return "\n".join(lines)

    def known(self) -> Known | None:
        """What the table of known failures says of it."""
        from xwhep_packaging.known_failures import last_of, recognise

        return recognise([*last_of(self.log), *self.cause.splitlines()]) if self.of_a_tool else None


class SettingsError(PipelineError):
    exit_code, code = 10, "settings"


class MissingTool(PipelineError):
    exit_code, code = 11, "missing-tool"


class SourceError(PipelineError):
    exit_code, code = 12, "source"


class NetworkError(PipelineError):
    exit_code, code = 13, "network"


class BuildError(PipelineError):
    exit_code, code = 14, "build"


class LintError(PipelineError):
    of_a_tool = False
    exit_code, code = 15, "lint"


class BaseError(PipelineError):
    exit_code, code = 16, "base"


class BakeError(PipelineError):
    exit_code, code = 17, "bake"


class EngineError(PipelineError):
    exit_code, code = 18, "engine"


class NetworkTestError(PipelineError):
    of_a_tool = False
    exit_code, code = 19, "network-test"


class StoreError(PipelineError):
    exit_code, code = 20, "store"


class CheckError(PipelineError):
    of_a_tool = False
    exit_code, code = 21, "check"


class CommandError(PipelineError):
    exit_code, code = 22, "command"


class LockError(PipelineError):
    exit_code, code = 23, "lock"


class VerifyError(PipelineError):
    of_a_tool = False
    exit_code, code = 24, "verify"


class ReleaseError(PipelineError):
    exit_code, code = 25, "release"


class MachineError(PipelineError):
    exit_code, code = 26, "machine"


class DeployError(PipelineError):
    exit_code, code = 27, "deploy"


class WeakError(PipelineError):
    of_a_tool = False
    exit_code, code = 28, "weak"


class ValuesError(PipelineError):
    exit_code, code = 30, "values"


class UnknownKey(PipelineError):
    exit_code, code = 31, "unknown-key"


class SecretsExposed(PipelineError):
    exit_code, code = 32, "secrets-exposed"


class WeakPassword(PipelineError):
    exit_code, code = 33, "weak-password"


class AnswerError(PipelineError):
    exit_code, code = 34, "answer"


class DeploymentExists(PipelineError):
    exit_code, code = 35, "deployment-exists"


class DeploymentError(PipelineError):
    exit_code, code = 36, "deployment"


class SecretFound(PipelineError):
    exit_code, code = 37, "secret-found"
