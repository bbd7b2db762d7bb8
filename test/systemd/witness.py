"""A host outside of every session: tells whoever reaches it so."""
import socket

server = socket.create_server(("198.51.100.23", 5433), backlog=512)
while True:
    client, _ = server.accept()
    try:
        client.sendall(b"DIRECT")
    except OSError:
        pass
    client.close()
