"""Which changes of a job's state exist. Nothing else may change one.

submit ─► waiting ─release─► pending ─lease─► running ─complete─► completed
             ▲                 ▲                 │ ├───fail─────► failed
             │                 │                 │ ├─cancel─────► cancelled   (also from waiting, pending, lost)
             │                 ├────hand_back────┤ └─give_up────► failed      (also from waiting, pending, lost)
             │                 └─return─ lost ◄──lose
             └────────────postpone────────┘
"""

from __future__ import annotations

import enum

from xwhep.common.errors import Conflict
from xwhep.common.wire import JobState


class Event(enum.StrEnum):
    """What happens to a job."""

    RELEASE = "release"  # what it waited for is there
    LEASE = "lease"  # lent to a worker
    COMPLETE = "complete"  # its worker delivered a good result
    FAIL = "fail"  # its worker delivered a bad one
    HAND_BACK = "hand_back"  # its worker stops in good order
    LOSE = "lose"  # its lease ran out, or its worker could not run it
    RETURN = "return"  # lost, and may run again now
    POSTPONE = "postpone"  # lost, and may run again after a while
    GIVE_UP = "give_up"  # lost once too often, past its deadline or wall clock, or what it comes after failed
    CANCEL = "cancel"  # its owner stops it


TRANSITIONS: dict[tuple[JobState, Event], JobState] = {
    (JobState.WAITING, Event.RELEASE): JobState.PENDING,
    (JobState.WAITING, Event.GIVE_UP): JobState.FAILED,
    (JobState.WAITING, Event.CANCEL): JobState.CANCELLED,
    (JobState.PENDING, Event.LEASE): JobState.RUNNING,
    (JobState.PENDING, Event.GIVE_UP): JobState.FAILED,
    (JobState.PENDING, Event.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Event.COMPLETE): JobState.COMPLETED,
    (JobState.RUNNING, Event.FAIL): JobState.FAILED,
    (JobState.RUNNING, Event.HAND_BACK): JobState.PENDING,
    (JobState.RUNNING, Event.LOSE): JobState.LOST,
    (JobState.RUNNING, Event.GIVE_UP): JobState.FAILED,
    (JobState.RUNNING, Event.CANCEL): JobState.CANCELLED,
    (JobState.LOST, Event.RETURN): JobState.PENDING,
    (JobState.LOST, Event.POSTPONE): JobState.WAITING,
    (JobState.LOST, Event.GIVE_UP): JobState.FAILED,
    (JobState.LOST, Event.CANCEL): JobState.CANCELLED,
}


def after(state: JobState, event: Event) -> JobState:
    """The state that `event` brings a job to.

    Raises:
        Conflict: this cannot happen to a job in that state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Conflict(f"the job is {state.value}: {event.value.replace('_', ' ')} is not possible") from None
