"""What asyncio's streams get from the root of a host: getaddrinfo by the loop, TLS by ssl's own defaults.

fetch.py HOST [4 | 6]    by that family alone; absent: as the system has it
"""

import asyncio
import socket
import ssl
import sys


FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}


async def main(host, family=""):
    context = ssl.create_default_context()
    family = FAMILIES.get(family, socket.AF_UNSPEC)
    reader, writer = await asyncio.open_connection(host, 443, ssl=context, family=family)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    sys.stdout.write((await reader.read()).split(b"\r\n\r\n")[1].decode())
    writer.close()


asyncio.run(main(*sys.argv[1:]))
