#!/usr/bin/env python3
"""A producer that counts how it is treated. Used by nspawn.sh inside the root.

knock.py connects SOCKET N             connects N times and leaves; prints how each went
knock.py load SOCKET SECONDS FILE      hands events over, each on a connection of its own, in four threads; an event
                                       without an answer is sent again; writes the accepted ids to FILE
"""
import collections
import json
import socket
import sys
import threading
import time
import uuid


def connected(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(path)
    return client


def connects(path, count):
    seen = collections.Counter()
    for _ in range(count):
        try:
            connected(path).close()
            seen["connected"] += 1
        except OSError as error:
            seen[type(error).__name__] += 1
        time.sleep(0.05)
    return seen


def hand_over(path, event_id, seen):
    event = {"eventId": event_id, "agentId": str(uuid.uuid4()), "status": "Idle", "sourceId": str(uuid.uuid4())}
    line = json.dumps({"userRoutingStatusEvents": [event]}) + "\n"
    while True:
        try:
            with connected(path) as client:
                client.sendall(line.encode())
                answer = client.makefile().readline()
        except (ConnectionRefusedError, FileNotFoundError, PermissionError) as error:
            seen[type(error).__name__] += 1
            time.sleep(0.2)
            continue
        except OSError:
            answer = ""
        if not answer:
            seen["again"] += 1
            continue
        if json.loads(answer) == {"errors": []}:
            seen["accepted"] += 1
            return True
        seen["told to wait" if '"retryable":true' in answer else "not taken"] += 1
        if '"retryable":true' not in answer:
            print(answer, file=sys.stderr)
            return False
        time.sleep(0.2)


def load(path, seconds, file):
    seen, ids, end = collections.Counter(), [], time.monotonic() + seconds

    def work():
        while time.monotonic() < end:
            event_id = str(uuid.uuid4())
            if hand_over(path, event_id, seen):
                ids.append(event_id)
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(file, "w") as out:
        out.write("".join(f"{event_id}\n" for event_id in ids))
    return seen


if sys.argv[1] == "connects":
    print(json.dumps(connects(sys.argv[2], int(sys.argv[3]))))
else:
    print(json.dumps(load(sys.argv[2], float(sys.argv[3]), sys.argv[4])))
