"""Ways to fail that only the server's command has; exit codes from 20 on, none shared with xwhep.common.errors.

XwhepError
├── PortTaken           20  another program listens there
├── AddressUnusable     21  the machine has no such address, or the port needs root
├── StateNotWritable    22  the state folder cannot be written
├── SecretsExposed      23  another user of the machine can read a key, or write the folder
├── StateInUse          24  another server works on the same state folder
├── StateTooNew         25  a newer server wrote the state folder
├── NotStartedYet       26  there is no grid in the state folder yet
├── StateDamaged        27  a file in the state folder is missing or broken
└── BackupDamaged       28  a backup was cut or changed, or is none
AuthenticationFailed
└── TooManyTries         5  wrong passwords too fast (HTTP 429)
"""

from __future__ import annotations

from xwhep.common.errors import AuthenticationFailed, XwhepError


class PortTaken(XwhepError):
    exit_code, code = 20, "port_taken"


class AddressUnusable(XwhepError):
    exit_code, code = 21, "address_unusable"


class StateNotWritable(XwhepError):
    exit_code, code = 22, "state_not_writable"


class SecretsExposed(XwhepError):
    exit_code, code = 23, "secrets_exposed"


class StateInUse(XwhepError):
    exit_code, code = 24, "state_in_use"


class StateTooNew(XwhepError):
    exit_code, code = 25, "state_too_new"


class NotStartedYet(XwhepError):
    exit_code, code = 26, "not_started_yet"


class StateDamaged(XwhepError):
    exit_code, code = 27, "state_damaged"


class BackupDamaged(XwhepError):
    exit_code, code = 28, "backup_damaged"


class TooManyTries(AuthenticationFailed):
    status = 429


COMMAND_FAILURES: tuple[type[XwhepError], ...] = (
    PortTaken,
    AddressUnusable,
    StateNotWritable,
    SecretsExposed,
    StateInUse,
    StateTooNew,
    NotStartedYet,
    StateDamaged,
    BackupDamaged,
)
