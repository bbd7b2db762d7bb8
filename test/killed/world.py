"""
The two sides of a cable, each in a network namespace of its own.

  world.py world DEVICE      sees every frame that comes in by DEVICE, and judges it; has servers, so that what gets out finds
                             somebody. On stdin `count` asks for one line of JSON:
                             {"allowed": N, "escapes": N, "posing": N, "lost": N, "fence": N, "first": [text…]}
  world.py aloud DEVICE PORT the same, and says that line of the first escapes unasked, as nobody may be left to ask. PORT:
                             another one that policy allows; its server is somebody else's.
  world.py agents            on stdin `fence N` sends the world a datagram, behind all that was sent before

Of the daemon are the TCP packets from its address to the port that policy allows. Connections of the agents' to that port are
bound to another address, so that no packet can be taken for the other's. The rest of what the network needs (ARP, neighbour
discovery) comes from the kernel, and no agent without capabilities can send it. Whatever else arrives is an escape.
"""
import json
import socket
import struct
import sys
import threading

DAEMON, ALLOWED, DENIED, FENCE = socket.inet_aton("198.51.100.17"), 5434, 5433, 9
allowed = {ALLOWED, *(int(port) for port in sys.argv[3:])}
ROUTER_SOLICITATION, NEIGHBOURS, REPORTS = 133, (135, 136), (131, 132, 143)
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4
seen = {"allowed": 0, "escapes": 0, "posing": 0, "lost": 0, "fence": 0, "first": []}


def judge(frame):
    """allowed, fence, kernel or escape; RFC 791, 8200, 4443, 3810."""
    kind = frame[12:14]
    if kind == b"\x08\x06":
        return "kernel"
    if kind == b"\x08\x00":
        header = 14 + (frame[14] & 15) * 4
        protocol, source = frame[23], frame[26:30]
        to = struct.unpack("!H", frame[header + 2 : header + 4])[0]
        if protocol == 6 and to in allowed:
            if source == DAEMON:
                return "allowed"
            seen["posing"] += 1
        if protocol == 17 and to == FENCE and frame[header + 8 :].startswith(b"fence "):
            seen["fence"] = int(frame[header + 8 :].split()[1])
            return "fence"
        if protocol == 2:
            return "kernel"
    if kind == b"\x86\xdd":
        # Reports of groups have a hop-by-hop header before them.
        message = frame[54] if frame[20] == 58 else frame[62] if frame[20] == 0 else 0
        if message in (ROUTER_SOLICITATION, *NEIGHBOURS, *REPORTS):
            return "kernel"
    return "escape"


def watch(sniffer):
    while True:
        frame, address = sniffer.recvfrom(65536)
        if address[2] == PACKET_OUTGOING:
            continue
        verdict = judge(frame)
        if verdict == "allowed":
            seen["allowed"] += 1
        elif verdict == "escape":
            seen["escapes"] += 1
            if len(seen["first"]) < 20:
                seen["first"].append(frame[12:80].hex())
                if sys.argv[1] == "aloud":
                    print(json.dumps(seen), flush=True)


def serve(family, address, port, answer):
    server = socket.create_server((address, port), family=family, backlog=512)

    def one(connection):
        try:
            if connection.recv(1):
                connection.sendall(answer)
            while connection.recv(65536):
                pass
        except OSError:
            pass
        connection.close()

    while True:
        threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()


def world(device):
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE
    sniffer.bind((device, 0))
    threading.Thread(target=watch, args=(sniffer,), daemon=True).start()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        threading.Thread(target=serve, args=(family, address, DENIED, b"DIRECT"), daemon=True).start()
    threading.Thread(target=serve, args=(socket.AF_INET, "0.0.0.0", ALLOWED, b"THROUGH"), daemon=True).start()
    print("ready", flush=True)
    for _ in sys.stdin:
        seen["lost"] += struct.unpack("II", sniffer.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        print(json.dumps(seen), flush=True)


def agents():
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    print("ready", flush=True)
    for line in sys.stdin:
        sender.sendto(line.encode(), ("198.51.100.23", FENCE))


agents() if sys.argv[1] == "agents" else world(sys.argv[2])
