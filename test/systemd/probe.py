"""One line for each try to reach the witness: DIRECT, CLOSED by sluiced, or the error. With arguments: without end."""
import errno
import socket
import sys
import time


def attempt():
    try:
        with socket.create_connection(("198.51.100.23", 5433), timeout=20) as s:
            s.sendall(b"\n")  # whoever is silent is listened to for a while, so as to be refused in its own protocol
            return s.recv(16).decode() or "CLOSED"
    except ConnectionResetError:
        return "CLOSED"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


while True:
    print(attempt(), flush=True)
    if len(sys.argv) == 1:
        break
    time.sleep(0.02)
