"""An agent of many connections: each in a process of its own, all open before the first statement.

agent.py PORT OWN OTHER CONNECTIONS WRITERS

Prints "connected" for each connection. After a line on stdin each process reads table OWN and tries table OTHER, and
prints {"pid", "own", "other"}; the first WRITERS of them then insert numbered rows into `done`, and connect again when
they lose the connection ("lost", "refused", and "back" with the first row after it), until the next line, and print
{"pid", "rows", "errors"}."""
import json
import os
import select
import sys

import psycopg2

port, own, other, connections, writers = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])


def say(text):
    os.write(1, (text + "\n").encode())


def connect():
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="anyone", dbname="postgres", sslmode="disable")
    connection.autocommit = True
    return connection


def child(number, orders):
    connection = connect()
    say("connected")
    os.read(orders, 1)
    cursor = connection.cursor()
    cursor.execute(f"SELECT n FROM {own}")
    seen = cursor.fetchone()[0]
    try:
        cursor.execute(f"SELECT n FROM {other}")
        refused = "nothing"
    except psycopg2.Error as error:
        refused = error.pgcode
    say(json.dumps({"pid": os.getpid(), "own": seen, "other": refused}))
    if number >= writers:
        os.read(orders, 1)
        return
    rows, errors, lost = 0, set(), False
    while not select.select([orders], [], [], 0.02 if lost else 0)[0]:
        try:
            if connection is None:
                connection = connect()
                cursor = connection.cursor()
            rows += 1
            cursor.execute(f"INSERT INTO done VALUES ('{own}', {os.getpid()}, {rows})")
            if lost:
                say("back")
                lost = False
        except psycopg2.Error as error:
            if not lost:
                say("lost")
            lost = True
            if "refused" in str(error):
                say("refused")
            errors.add(str(error).split("\n")[0])
            connection = None
    say(json.dumps({"pid": os.getpid(), "rows": rows, "errors": sorted(errors)}))


pipes = []
for i in range(connections):
    reader, writer = os.pipe()
    if os.fork() == 0:
        for fd in pipes + [writer]:
            os.close(fd)
        child(i, reader)
        os._exit(0)
    os.close(reader)
    pipes.append(writer)
for line in sys.stdin:
    for pipe in pipes:
        os.write(pipe, b".")
for pipe in pipes:
    os.close(pipe)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
