"""slow.py PORT SQL: runs SQL, stops reading at its first row until a line comes on stdin, then reads to the end.

Prints `waiting`, and then the number of rows (DataRow or CopyData) that came.
"""
import socket
import struct
import sys

port, sql = int(sys.argv[1]), sys.argv[2]
s = socket.create_connection(("127.0.0.1", port))
s.settimeout(60)
begin = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
s.sendall(struct.pack("!i", len(begin) + 4) + begin)
stream = s.makefile("rb", buffering=4096)


def message():
    letter, length = struct.unpack("!ci", stream.read(5))
    return letter, stream.read(length - 4)


while message()[0] != b"Z":
    pass
query = sql.encode() + b"\0"
s.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
rows = 0
while True:
    letter, body = message()
    if letter == b"E":
        sys.exit(body.decode("utf8", "replace"))
    if letter == b"Z":
        break
    if letter in (b"D", b"d"):
        rows += 1
        if rows == 1:
            print("waiting", flush=True)
            sys.stdin.readline()
print(rows)
