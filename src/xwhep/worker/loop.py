"""The running worker: who does what, and how it stops.

dispatcher --lease--> slot 1..n --result--> spool --> delivery
    ^ long poll                                          |
heartbeat: at the server's interval, on its own connection
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from xwhep.common.errors import AuthenticationFailed, NotAllowed, XwhepError
from xwhep.common.wire import Ack, Lease, Leave, Running, WorkRequest
from xwhep.common.wire_bulk import MAX_LEASES, Leases
from xwhep.worker.board import Attempt
from xwhep.worker.control import Control, Mode, stored_mode
from xwhep.worker.delivery import Delivery
from xwhep.worker.execution import HandBack, Workshop, execute
from xwhep.worker.flag import Flag
from xwhep.worker.follow import Follower
from xwhep.worker.heart import Heart, Told
from xwhep.worker.identity import Identity, renewed
from xwhep.worker.machine import Host
from xwhep.worker.owner import Owner
from xwhep.worker.retry import Backoff, Stopped, patiently, pause
from xwhep.worker.spares import Spares
from xwhep.worker.spool import Parcel, is_key

log = logging.getLogger(__name__)

POLL_S = 20.0
POLL_MARGIN_S = 15.0  # more than the server may be late with its 204
LEAVE_S = 1.0
GOODBYE_S = 1.5  # a server that is away, and whose name nobody knows meanwhile, must not hold up the stop
OWNER_LOOK_S = 2.0  # how often the owner's hours, load and keyboard are looked at while they forbid work
COOL_DOWN_S = 2.0  # after a job had to be handed back: it may come straight back


@dataclass(frozen=True)
class Terms:
    """How much of a machine its owner lends, and when."""

    slots: int
    owner: Owner = field(default_factory=Owner)


class Worker:
    """One enrolled worker. `run` is its whole life."""

    def __init__(self, identity: Identity, host: Host, shop: Workshop, terms: Terms) -> None:
        self._host, self._shop, self._owner, slots = host, shop, terms.owner, terms.slots
        self._mode, self._mode_changed = stored_mode(host.state), threading.Condition()
        self._slot_count, self._slots = slots, threading.Semaphore(slots)
        self._leases: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._given_up = Flag()
        self._fatal: XwhepError | None = None
        self._cool, self._cool_until = Backoff(first_s=COOL_DOWN_S), 0.0
        self._polls = identity.session(host.state)
        self._beats = identity.session(host.state)
        self._deliveries = identity.session(host.state)
        self._outputs = identity.session(host.state)
        self._identity = identity
        told = Told(renew=self._renew, back=self._reconnect)
        self._heart = Heart(self._beats, shop.board, identity.heartbeat_s, told)
        self._follower = Follower(self._outputs, shop.board, shop.jobs)
        self._delivery = Delivery(self._deliveries, shop.spool, shop.board, self._given_up)

    def run(self, stop: Flag) -> None:
        """Work until `stop` is set, then leave in good order.

        Raises:
            AuthenticationFailed: the server revoked this worker.
            NotAllowed: its token is not a worker's.
        """
        self._stop = stop
        for parcel in self._shop.spool.parcels():
            log.info("%s: its result is still here", parcel)
            self._delivery.add(parcel)
        slots = [self._start(f"slot-{number + 1}", self._serve_slot) for number in range(self._slot_count)]
        control = Control(self._host.state, self._enter)
        self._start("control", lambda: control.run(stop))
        self._start("heartbeat", lambda: self._heart.beat(stop))
        self._start("output", lambda: self._follower.run(stop))
        delivery = self._start("delivery", self._delivery.run)
        dispatcher = self._start("dispatcher", self._dispatch)
        stop.wait()
        self._end_dispatcher(dispatcher)
        self._leave([*slots, delivery])
        if self._fatal:
            raise self._fatal

    def _start(self, name: str, body: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(body,), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except (AuthenticationFailed, NotAllowed) as exc:
            self._fatal = self._fatal or exc
            self._stop.set()

    def _renew(self, token: str) -> None:
        """Stored before it is used: the old one is void from its first use on."""
        if token == self._identity.token:
            return
        try:
            self._identity = renewed(self._identity, token, self._host.state)
        except OSError as exc:
            log.error("a new token cannot be stored, so the old one is kept while it lasts: %s", exc)
            return
        for session in (self._polls, self._beats, self._deliveries, self._outputs, self._shop.session):
            session.use(token)
        log.info("this worker has a new token")

    def _reconnect(self, silent_since: float) -> None:
        """Connections from before the silence may have nobody at their other end, and a long poll waits there longest.

        What else is under way goes on: an upload that fills the line may be why nothing was heard.
        """
        for session in (self._polls, self._deliveries, self._outputs, self._shop.session):
            session.distrust(opened_before=silent_since)
        self._polls.abort(opened_before=silent_since)

    # The dispatcher: one long poll at a time, while there is a free slot.

    def _dispatch(self) -> None:
        backoff = Backoff()
        while self._take_slot():
            slots = 1 + self._take_free_slots()
            try:
                leases = self._ask(slots)
                backoff.reset()
            except (AuthenticationFailed, NotAllowed):
                raise
            except XwhepError as exc:
                self._slots.release(slots)
                if not self._stop.is_set() and self._mode == Mode.WORKING:  # else it was broken off on purpose
                    pause(backoff, exc, self._stop, "asking for work")
                continue
            unused = slots - sum(map(self._accept, leases[:slots]))
            if unused:
                self._slots.release(unused)

    def _take_free_slots(self) -> int:
        """All that are free at this moment: the server may fill them at once."""
        taken = 0
        while taken < MAX_LEASES - 1 and self._slots.acquire(blocking=False):
            taken += 1
        return taken

    def _take_slot(self) -> bool:
        """Wait for a free slot, and until not too many results wait for the server. False when it is time to stop."""
        while self._delivery.waiting() > 2 * self._slot_count + 8:
            if self._stop.wait(0.5):
                return False
        self._slots.acquire()
        if self._stop.wait(max(0.0, self._cool_until - time.monotonic())):
            return False
        return self._wait_for_leave()

    def _wait_for_leave(self) -> bool:
        """Wait until the owner lets this machine take a job. False when it is time to stop."""
        while not self._stop.is_set():
            mode = self._mode
            refusal = mode if mode != Mode.WORKING else self._owner.refusal(len(self._shop.board.unfinished()))
            self._shop.board.show(mode, refusal)
            if not refusal:
                return True
            with self._mode_changed:
                self._mode_changed.wait_for(lambda: self._mode != mode or self._stop.is_set(), OWNER_LOOK_S)  # noqa: B023
        return False

    def _enter(self, mode: Mode) -> None:
        """At once, also when the dispatcher waits in a long poll."""
        with self._mode_changed:
            self._mode = mode
            self._mode_changed.notify_all()
        self._shop.board.show(mode, "" if mode == Mode.WORKING else mode)
        if mode != Mode.WORKING:
            self._polls.abort()

    def _ask(self, slots: int) -> list[Lease]:
        machine = self._host.announce(sorted(self._shop.assets.installed()))
        request = WorkRequest(machine=machine, slots=slots, wait_s=POLL_S)
        found = self._polls.post("/v1/worker/leases", request, Leases, timeout_s=POLL_S + POLL_MARGIN_S)
        return found.leases if found else []

    def _accept(self, lease: Lease) -> bool:
        attempt = Attempt(lease)
        if not is_key(attempt.key):
            log.error("%s: its id is no usable name of a folder, so it is not taken", attempt)
            return False
        log.info("%s: accepted", attempt)
        self._shop.board.add(attempt)
        self._leases.put(attempt)
        return True

    # The slots, each one job at a time. A thread outlives the job it started, or the kernel would end it (pdeathsig).

    def _serve_slot(self) -> None:
        folder = self._shop.jobs / threading.current_thread().name
        with contextlib.closing(Spares(self._shop.launcher, folder)) as spares:
            while (attempt := self._next_lease(spares)) is not None:
                self._serve(attempt, spares)

    def _next_lease(self, spares: Spares) -> Attempt | None:
        if self._leases.empty():
            spares.renew()
        return self._leases.get()

    def _serve(self, attempt: Attempt, spares: Spares) -> None:
        try:
            parcel = execute(attempt, self._shop, spares)
        except HandBack as exc:
            self._hand_back(attempt, exc)
        else:
            self._finished(attempt, parcel)
        self._slots.release()

    def _finished(self, attempt: Attempt, parcel: Parcel | None) -> None:
        if parcel is None:
            log.info("%s: ended on order, nothing is kept", attempt)
            self._shop.board.remove(attempt)
        elif attempt.handed_back:
            self._shop.spool.drop(parcel)
        else:
            self._cool.reset()
            self._delivery.add(parcel, attempt.lease.app)

    def _hand_back(self, attempt: Attempt, reason: HandBack) -> None:
        """Give one job to another worker now, instead of when its lease runs out; this one goes on after a pause."""
        if attempt.handed_back:
            return
        log.warning("%s: handed back: %s", attempt, reason)
        self._cool_until = time.monotonic() + self._cool.next_s()
        message = Leave(running=[running(attempt)])
        try:
            patiently(
                lambda: self._deliveries.post("/v1/worker/leave", message, Ack),
                self._stop,
                f"{attempt}: handing back",
            )
        except Stopped:
            return  # it is still on the board, so _leave names it
        except (AuthenticationFailed, NotAllowed):
            raise
        except XwhepError as exc:
            log.warning("%s: the server does not take it back: %s", attempt, exc)
        self._shop.board.remove(attempt)

    # The end.

    def _end_dispatcher(self, dispatcher: threading.Thread) -> None:
        """No lease may come after this: it would wait for its time-out."""
        self._polls.abort()
        with self._mode_changed:
            self._mode_changed.notify_all()
        self._slots.release()
        dispatcher.join(LEAVE_S / 4)

    def _leave(self, last: list[threading.Thread]) -> None:
        """Kill what runs, tell the server, give finished results a last second."""
        now = time.monotonic()
        unfinished = self._shop.board.unfinished()
        for attempt in unfinished:
            attempt.handed_back = True
            attempt.cancel.set()
        self._shop.session.abort()
        self._shop.launcher.kill_all()
        for _ in range(self._slot_count):
            self._leases.put(None)
        self._delivery.finish()
        ends = dict.fromkeys(last, now + LEAVE_S)
        if not self._fatal:
            message = Leave(running=[running(attempt) for attempt in unfinished])
            ends[self._start("goodbye", lambda: self._say_goodbye(message))] = now + GOODBYE_S
        for thread, end in ends.items():
            thread.join(max(0.0, end - time.monotonic()))
        self._given_up.set()
        self._deliveries.abort()
        left = len(self._shop.spool.parcels())
        log.info("stopped: %d jobs handed back, %d results still to deliver", len(unfinished), left)

    def _say_goodbye(self, message: Leave) -> None:
        self._beats.abort()  # a heartbeat after the goodbye would be a return
        with contextlib.suppress(XwhepError):  # away: the leases run out by themselves
            self._polls.post("/v1/worker/leave", message, Ack, timeout_s=LEAVE_S)


def running(attempt: Attempt) -> Running:
    return Running(job_id=attempt.lease.job_id, attempt=attempt.lease.attempt)
