"""late.py PORT plain|tls SEED: pipelines statements whose results it knows, and reads them in fits and starts.

Results are of a few bytes to 60 KB, so that pieces of every size wait for this client. Prints the number of results that
were as they should be; ends at the first that is not.
"""
import hashlib
import random
import socket
import ssl
import struct
import sys
import time

COUNT = 1000
AHEAD = 500
port, kind, seed = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance = random.Random(seed)
sizes = [chance.choice((1, 3, 40, 250, 256, 600, 1900)) for _ in range(COUNT)]

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect(("127.0.0.1", port))
s.settimeout(60)
if kind == "tls":
    s.sendall(struct.pack("!ii", 8, 80877103))
    assert s.recv(1) == b"S"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    s = context.wrap_socket(s)
begin = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
s.sendall(struct.pack("!i", len(begin) + 4) + begin)
left = b""


def take(count):
    global left
    while len(left) < count:
        if chance.random() < 0.02:
            time.sleep(chance.random() / 20)
        came = s.recv(chance.choice((1, 100, 5000, 65536)))
        if not came:
            sys.exit("the connection ended")
        left += came
    taken, left = left[:count], left[count:]
    return taken


def message():
    letter, length = struct.unpack("!ci", take(5))
    return letter, take(length - 4)


while message()[0] != b"Z":
    pass


def ask(first):
    texts = [b"SELECT repeat(md5('%d'), %d)\0" % (n, sizes[n]) for n in range(first, min(first + AHEAD, COUNT))]
    s.sendall(b"".join(b"Q" + struct.pack("!i", len(text) + 4) + text for text in texts))


for n, size in enumerate(sizes):
    if n % AHEAD == 0:
        ask(n)
        time.sleep(0.5)  # until what the kernel keeps for it is full
    wanted = hashlib.md5(b"%d" % n).hexdigest().encode() * size
    rows = []
    while True:
        letter, body = message()
        if letter == b"E":
            sys.exit(body.decode("utf8", "replace"))
        if letter == b"Z":
            break
        if letter == b"D":
            rows.append(body[6:])
    if rows != [wanted]:
        sys.exit(f"result {n} of {size} times 32 bytes is not what it should be")
print(COUNT)
