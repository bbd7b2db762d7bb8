"""
Stands outside the sessions and says what it sees: one line on stdout for each token that reached it.

  witness.py world DEVICE         in a network namespace of its own: every frame on DEVICE, and servers behind it
  witness.py host DIRECTORY       on the host: servers on loopback and on UNIX sockets, a FIFO, sockets to hand over

A token is TOKEN_ and eight hex digits; FENCE_ and a number, sent by the harness, comes after all that was sent before it.
"""
import array, os, re, socket, struct, subprocess, sys, threading

TOKEN = re.compile(rb"(?:TOKEN_[0-9a-f]{8}|FENCE_[0-9]+)")
PORT = 5433
lock = threading.Lock()


def tell(line):
    with lock:
        print(line, flush=True)


def saw(data):
    for token in TOKEN.findall(data):
        tell("saw " + token.decode())


def start(work, *arguments):
    threading.Thread(target=work, args=arguments, daemon=True).start()


def serve_streams(listener):
    def one(connection):
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            saw(data)

    while True:
        connection, _ = listener.accept()
        start(one, connection)


def serve_datagrams(sock):
    while True:
        saw(sock.recv(65536))


def listen(family, address, kind=socket.SOCK_STREAM, protocol=0):
    sock = socket.socket(family, kind, protocol)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    if kind == socket.SOCK_DGRAM:
        start(serve_datagrams, sock)
        return
    sock.listen(50)
    if family != socket.AF_UNIX and protocol != 132:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    start(serve_streams, sock)


def frames(device):
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.bind((device, 0))
    while True:
        frame = sniffer.recv(65536)
        saw(frame)
        # A group that was joined: IGMP (RFC 3376), MLD (RFC 3810). Its last four bytes are the token's.
        if len(frame) > 40 and (frame[12:14] == b"\x08\x00" and frame[23] == 2 or frame[12:14] == b"\x86\xdd" and frame[20] == 0):
            tell("groups " + frame.hex())


def world(device):
    start(frames, device)
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        listen(family, (any_address, PORT))
        listen(family, (any_address, PORT), socket.SOCK_DGRAM)
    try:
        listen(socket.AF_INET, ("0.0.0.0", PORT), socket.SOCK_STREAM, 132)
    except OSError:
        pass
    tell("ready")
    for line in sys.stdin:
        verb, address, port = line.split()
        if verb == "pull":  # as somebody in the world does who knows that the agent listens
            connection = socket.socket()
            connection.settimeout(2)
            try:
                connection.connect((address, int(port)))
                saw(connection.recv(100))
            except OSError:
                pass
            tell("pulled")


def give(listener):
    """Hands a connected socket to whoever comes: an accomplice."""
    while True:
        connection, _ = listener.accept()
        made = socket.create_connection(("198.51.100.23", PORT))
        try:
            connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
        except OSError:
            pass
        made.close()
        connection.close()


def follow(fifo):
    """Does what it reads, as cron and at do."""
    while True:
        with open(fifo, "rb") as orders:
            saw(orders.read())


def host(directory):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listen(family, (address, PORT))
        listen(family, (address, PORT), socket.SOCK_DGRAM)
    # Whom these accounts are open to is of no interest here: everybody.
    os.umask(0)
    listen(socket.AF_UNIX, directory + "/stream")
    listen(socket.AF_UNIX, directory + "/allowed")
    listen(socket.AF_UNIX, directory + "/datagram", socket.SOCK_DGRAM)
    listen(socket.AF_UNIX, directory + "/packets", socket.SOCK_SEQPACKET)
    listen(socket.AF_UNIX, "\0" + directory)
    accomplice = socket.socket(socket.AF_UNIX)
    accomplice.bind(directory + "/accomplice")
    accomplice.listen(5)
    start(give, accomplice)
    os.mkfifo(directory + "/orders", 0o600)
    start(follow, directory + "/orders")
    held = socket.create_connection(("198.51.100.23", PORT))
    # A process like many others, of an account that is none of the agent's.
    victim = subprocess.Popen(["/bin/sleep", "600"])
    tell(f"ready {os.getpid()} {held.fileno()} {victim.pid}")
    for line in sys.stdin:
        if line.startswith("pull"):
            _, address, port = line.split()
            connection = socket.socket()
            connection.settimeout(2)
            try:
                connection.connect((address, int(port)))
                saw(connection.recv(100))
            except OSError:
                pass
            tell("pulled")
    victim.kill()


{"world": world, "host": host}[sys.argv[1]](sys.argv[2])
