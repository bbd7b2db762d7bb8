"""An agent whose connections come and go faster than their answers.

churn.py PORT MARK ROUNDS

Eight threads, ROUNDS connections each. Each asks for rows that hold MARK and a masked column, a random number of them,
several statements ahead, and then reads all, reads a little and resets, stops reading for a while, or closes at once.
Prints {"mark", "whole", "rows", "foreign", "leaked"}: connections read to their end and rows on them, marks that are not
its own, and values that masking should have taken.
"""
import json
import random
import re
import socket
import struct
import sys
import threading

PORT, MARK, ROUNDS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
MARKS = re.compile(rb"<s\d+>")
OWN = MARK.encode()
seen = {"mark": MARK, "whole": 0, "rows": 0, "foreign": 0, "leaked": 0}
lock = threading.Lock()


def message(letter, body):
    return letter + struct.pack("!I", len(body) + 4) + body


def read(sock, wanted):
    data = b""
    while len(data) < wanted:
        part = sock.recv(min(65536, wanted - len(data)))
        if not part:
            raise EOFError
        data += part
    return data


def until_ready(sock, into):
    """Returns the number of rows; every byte is added to `into`."""
    rows = 0
    while True:
        head = read(sock, 5)
        body = read(sock, struct.unpack("!I", head[1:])[0] - 4)
        into += head + body
        rows += head[:1] == b"D"
        if head[:1] == b"E":
            raise AssertionError(body)
        if head[:1] == b"Z":
            return rows


def connection(rng):
    sock = socket.create_connection(("127.0.0.1", PORT))
    sock.settimeout(60)
    got = bytearray()
    try:
        startup = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
        sock.sendall(struct.pack("!I", len(startup) + 4) + startup)
        until_ready(sock, got)
        counts = [rng.choice((1, 3, 200, 2000)) for _ in range(3)]
        for count in counts:
            sql = f"SELECT '{MARK}' || repeat('{MARK}', {rng.randrange(60)}), ssn FROM people, generate_series(1, {count})"
            sock.sendall(message(b"Q", sql.encode() + b"\0"))
        end = rng.randrange(4)
        if end == 0:
            return
        if end == 1:
            got += sock.recv(rng.randrange(1, 20000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        rows = 0
        for count in counts:
            asked = until_ready(sock, got)
            assert asked == count, (asked, count)
            rows += asked
        with lock:
            seen["whole"] += 1
            seen["rows"] += rows
    finally:
        sock.close()
        with lock:
            seen["foreign"] += sum(mark != OWN for mark in MARKS.findall(bytes(got)))
            seen["leaked"] += got.count(b"999-")


def worker(seed):
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        connection(rng)


threads = [threading.Thread(target=worker, args=(f"{MARK}{i}",)) for i in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(seen))
