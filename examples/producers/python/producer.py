#!/usr/bin/env python3
"""Hands events to trunkline's stream socket, from any number of threads.

    with Producer("/run/trunkline/events.sock") as producer:
        result = producer.send("userPresenceEvents", {"userId": ..., ...})
        if not result.accepted:
            print(result.message)

    waiting --write--> unanswered --answer--> done
       ^                    |  `- "again later" -> again
       `-- connection lost, or all the rest answered --'

What it keeps to
- One line out, one answer back, in the same order. An event is forgotten when its answer has come, not
  when it was written: after a lost connection all unanswered events go again, in their order.
- Each event gets an eventId before it leaves, so trunkline stores none twice.
- Events leave in the order of `submit`. Once one has to go again, no later one is written before it.
- It reads answers while it writes. A producer that only writes stops when trunkline stops reading.
- It never logs an event.

Python 3.9 or newer, nothing else.
"""

import collections
import datetime
import json
import logging
import selectors
import socket
import sys
import threading
import time
import uuid
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # the built-in one only since Python 3.11
from typing import NamedTuple, Optional

log = logging.getLogger("trunkline.producer")

WINDOW = 256  # events; trunkline reads at most ingest.max_unacked = 1024 ahead of its answers
CHUNK = 65536  # bytes asked for in one read
PAUSE_FIRST = 0.05  # seconds, doubled up to PAUSE_MOST while nothing gets through
PAUSE_MOST = 5.0


class Result(NamedTuple):
    """What became of one event."""

    accepted: bool  # it is on trunkline's disk
    event_id: str
    message: Optional[str]  # why it was refused: array, index, field; never its content


class _Event(NamedTuple):
    event_id: str
    line: bytes
    future: "Future[Result]"


class _Lost(Exception):
    """The connection is of no more use; the text says why."""


class Producer:
    """One connection to trunkline, kept up by a thread of its own."""

    def __init__(self, path: str = "/run/trunkline/events.sock", window: int = WINDOW) -> None:
        self._path = path
        self._room = threading.BoundedSemaphore(window)
        self._lock = threading.Lock()  # guards _waiting and _closing; the rest is the thread's
        self._waiting: "collections.deque[_Event]" = collections.deque()
        self._closing = False
        self._unanswered: "collections.deque[_Event]" = collections.deque()
        self._again: "collections.deque[_Event]" = collections.deque()
        self._pause = PAUSE_FIRST
        self._trouble = ""
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="trunkline-producer", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, array: str, event: dict, timeout: Optional[float] = None) -> Result:
        """Hands over one event and waits for its answer.

        After a TimeoutError the event may have been accepted or not, and is still being sent. To send it
        again yourself is safe if it has the same eventId.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        future = self.submit(array, event, timeout)
        try:
            return future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except FutureTimeout:
            raise TimeoutError("no answer from trunkline yet") from None

    def submit(self, array: str, event: dict, timeout: Optional[float] = None) -> "Future[Result]":
        """Hands over one event; the result comes later. Waits while `window` events are unanswered."""
        event = dict(event)
        event_id = event.setdefault("eventId", str(uuid.uuid4()))
        event.setdefault("eventDateTime", utc_now())
        line = json.dumps({array: [event]}, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        future: "Future[Result]" = Future()
        future.set_running_or_notify_cancel()  # what may be on its way cannot be called back
        if not self._room.acquire(timeout=timeout):
            raise TimeoutError("too many events wait for trunkline's answer")
        with self._lock:
            if self._closing:
                self._room.release()
                raise ValueError("the producer is closed")
            self._waiting.append(_Event(event_id, line, future))
        self._ring()
        return future

    def close(self, timeout: Optional[float] = None) -> bool:
        """Waits until every event is answered, and ends. False if `timeout` came first."""
        with self._lock:
            self._closing = True
        self._ring()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self._bell.close()
        self._ringer.close()
        return True

    def _ring(self) -> None:
        """Wakes the thread."""
        try:
            self._ringer.send(b"!")
        except OSError:
            pass  # it has been rung often enough, or there is no thread any more

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_done():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.connect(self._path)
                    connection.setblocking(False)
                    self._session(connection)
            except (OSError, _Lost) as error:
                self._say(f"{self._path}: {error}")
            self._rewind()
            if not self._is_done():
                self._rest()

    def _session(self, connection: socket.socket) -> None:
        """One connection to its end, or until everything is answered and the producer is closed."""
        output = bytearray()
        input = b""
        is_writable = True
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while not self._is_done():
                if self._again and not self._unanswered:
                    self._rest()
                    self._rewind()
                if is_writable and not output:
                    output += self._take_waiting()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if output else 0)
                selector.modify(connection, wanted)
                for key, ready in selector.select():
                    if key.fileobj is self._bell:
                        self._bell.recv(CHUNK)
                        continue
                    if ready & selectors.EVENT_READ:
                        *lines, input = (input + self._receive(connection)).split(b"\n")
                        for line in lines:
                            self._take_answer(line)
                    if ready & selectors.EVENT_WRITE:
                        try:
                            del output[: connection.send(output)]  # Python itself ignores SIGPIPE
                        except BlockingIOError:
                            pass
                        except OSError:
                            is_writable = False  # answers may still be there to be read
                            output.clear()

    def _receive(self, connection: socket.socket) -> bytes:
        try:
            data = connection.recv(CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise _Lost("the connection is lost")
        return data

    def _take_waiting(self) -> bytes:
        """All that waits, on its way out; nothing while an event has to go again."""
        if self._again:
            return b""
        with self._lock:
            taken, self._waiting = self._waiting, collections.deque()
        self._unanswered.extend(taken)
        return b"".join(event.line for event in taken)

    def _take_answer(self, line: bytes) -> None:
        """What one answer means for the oldest unanswered event."""
        try:
            answer = json.loads(line)
            errors, status, message = answer.get("errors"), answer.get("status"), answer.get("message")
            if errors is None and status is None:
                raise ValueError
            is_retryable = any(error["retryable"] for error in errors or [])
            if errors:
                message = errors[0]["message"]
        except (ValueError, AttributeError, KeyError, TypeError):
            raise _Lost("an answer that is none") from None
        if status in (403, 503):  # stands for the connection: we may not connect, or too many are
            raise _Lost(f"turned away: {message}")
        if not self._unanswered:
            raise _Lost("an answer to nothing")
        event = self._unanswered.popleft()
        if is_retryable:
            self._again.append(event)
            self._say(f"refused for now: {message}")
            return
        self._pause, self._trouble = PAUSE_FIRST, ""
        self._room.release()
        event.future.set_result(Result(errors == [], event.event_id, message))

    def _rewind(self) -> None:
        """Everything unanswered waits again, in its order."""
        with self._lock:
            self._waiting.extendleft(reversed(self._unanswered))
            self._waiting.extendleft(reversed(self._again))
        self._unanswered.clear()
        self._again.clear()

    def _is_done(self) -> bool:
        with self._lock:
            return self._closing and not (self._waiting or self._unanswered or self._again)

    def _rest(self) -> None:
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, PAUSE_MOST)

    def _say(self, trouble: str) -> None:
        """Logs once why nothing gets through."""
        if trouble != self._trouble:
            log.warning("%s; trying again", trouble)
        self._trouble = trouble


def utc_now() -> str:
    """The time as the Events API spells it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}Z"


def sample_call() -> "list[tuple[str, dict]]":
    """A caller is connected, put on hold, taken back, and hangs up."""
    ids = {"conversationId": str(uuid.uuid4()), "communicationId": str(uuid.uuid4())}
    return [
        (
            "externalEstablishedEvents",
            {
                **ids,
                "ani": "tel:+13175550143",
                "dnis": "tel:+18005550100",
                "initialConfiguration": {"inbound": True},
                "sourceConfiguration": {"sourceId": "example", "interactionId": "python-1"},
            },
        ),
        ("holdUpdatedEvents", {**ids, "held": True}),
        ("holdUpdatedEvents", {**ids, "held": False}),
        ("communicationEndedEvents", {**ids, "disconnectType": "Peer"}),
    ]


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: producer.py SOCKET", file=sys.stderr)
        return 64
    logging.basicConfig(format="%(message)s")
    refused = 0
    with Producer(sys.argv[1]) as producer:
        for array, event in sample_call():
            result = producer.send(array, event)
            print(array, result.event_id, "accepted" if result.accepted else result.message)
            refused += not result.accepted
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
