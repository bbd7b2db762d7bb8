"""psycopg2 at work; prints all that it sees."""
import hashlib
import io

import psycopg2
import psycopg2.extensions
import psycopg2.extras

dsn = ""
connection = psycopg2.connect(dsn)
print(connection.server_version, connection.encoding, connection.get_parameter_status("TimeZone"))


def attempt(what, *arguments):
    try:
        cursor.execute(what, *arguments)
        print(cursor.statusmessage, cursor.rowcount, cursor.description and [tuple(c) for c in cursor.description])
        if cursor.description:
            for row in cursor.fetchall():
                print([bytes(v) if isinstance(v, memoryview) else v for v in row])
    except psycopg2.Error as error:
        d = error.diag
        print(type(error).__name__, error.pgcode, error)
        print(d.severity, d.message_detail, d.message_hint, d.context, d.constraint_name, d.table_name, d.column_name,
              d.statement_position, d.source_file, d.source_line, d.source_function)
    print(connection.get_transaction_status(), connection.notices)
    del connection.notices[:]


cursor = connection.cursor()
attempt("SELECT * FROM people WHERE id < %s", (5,))
attempt("INSERT INTO people (name, tags) VALUES (%s, %s) RETURNING id, tags", ("new", ["a", None, 'q"']))
attempt("SELECT 1/0")
attempt("SELECT 'in a failed transaction'")
connection.rollback()
attempt("SELEC 1")
connection.rollback()
attempt("INSERT INTO people (name, pay) VALUES ('x', -1)")
connection.rollback()
attempt("INSERT INTO orders (id, person) VALUES (1, 1)")
connection.rollback()
attempt("SELECT complain('python')")
connection.rollback()
connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
attempt("SELECT count(*) FROM people")
attempt("DELETE FROM people")
connection.rollback()
connection.set_session(isolation_level="DEFAULT", readonly=False)
named = connection.cursor("walk", scrollable=True)
named.itersize = 100
named.execute("SELECT id, name FROM people ORDER BY id")
print(named.fetchmany(3), named.fetchone())
named.scroll(-2)
print(named.fetchone())
print(sum(row[0] for row in named))
named.close()
hold = connection.cursor("held", withhold=True)
hold.execute("SELECT id FROM people ORDER BY id LIMIT 10")
connection.commit()
print(hold.fetchall())
hold.close()
connection.commit()
out = io.StringIO()
cursor.copy_expert("COPY people TO STDOUT (FORMAT csv, HEADER)", out)
print(out.getvalue())
binary = io.BytesIO()
cursor.copy_expert("COPY (SELECT id, name, born, extra, picture FROM people ORDER BY id) TO STDOUT (FORMAT binary)", binary)
print(hashlib.sha256(binary.getvalue()).hexdigest())
cursor.execute("CREATE TEMP TABLE copied (id int, name text, born date, extra jsonb, picture bytea)")
binary.seek(0)
cursor.copy_expert("COPY copied FROM STDIN (FORMAT binary)", binary)
print(cursor.rowcount)
cursor.copy_from(io.StringIO("1\tone\n2\ttwo\n"), "copied", columns=("id", "name"))
attempt("SELECT count(*), sum(id), sum(hashtext(c::text)) FROM copied c")
try:
    cursor.copy_expert("COPY copied (id) FROM STDIN", io.StringIO("1\n2\nthree\n4\n"))
except psycopg2.Error as error:
    print(error)
connection.rollback()


class Broken:
    def read(self, size=-1):
        raise ValueError("no more")


try:
    cursor.copy_expert("COPY people (name) FROM STDIN", Broken())
except Exception as error:
    print(type(error).__name__, error)
connection.rollback()
large = bytes(range(256)) * 40_000
cursor.execute("CREATE TEMP TABLE large (b bytea)")
cursor.execute("INSERT INTO large VALUES (%s)", (psycopg2.Binary(large[:300_000]),))
cursor.execute("SELECT b FROM large")
print(bytes(cursor.fetchone()[0]) == large[:300_000])
cursor.execute("SELECT decode(repeat('00ff', 5000000), 'hex')")
print(len(cursor.fetchone()[0]))
connection.commit()
cursor.execute("CREATE TABLE many (a int, b text)")
psycopg2.extras.execute_values(cursor, "INSERT INTO many VALUES %s", [(i, "v%d" % i) for i in range(500)])
psycopg2.extras.execute_batch(cursor, "UPDATE many SET b = %s WHERE a = %s", [("w%d" % i, i) for i in range(50)])
attempt("SELECT count(*), sum(hashtext(b)) FROM many")
connection.commit()
lob = connection.lobject(0, "wb")
lob.write(large[:100_000])
lob.seek(10)
number = lob.oid
print(lob.tell())
lob.close()
lob = connection.lobject(number, "rb")
print(lob.read() == large[:100_000])
lob.close()
connection.lobject(number).unlink()
connection.commit()
connection.autocommit = True
attempt("VACUUM many")
attempt("CREATE DATABASE fresh")
attempt("DROP DATABASE fresh")
attempt("LISTEN news")
attempt("NOTIFY news, 'hello'")
attempt("DO $$BEGIN PERFORM pg_notify('news', repeat('x', 7000)); END$$")
connection.poll()
print([(n.channel, n.payload) for n in connection.notifies])
attempt("SET statement_timeout = '50ms'")
attempt("SELECT pg_sleep(10)")
attempt("RESET statement_timeout")
attempt("SELECT ARRAY[1, 2], ROW(1, 'a'), '{\"a\": 1}'::jsonb, 1.50::numeric, now() > '2020-01-01', '1 day'::interval, 'x'::\"char\"")
attempt("DROP TABLE many")
psycopg2.extras.register_composite("place", connection)
attempt("SELECT home FROM people WHERE id = 1")
waiting = psycopg2.connect(dsn, async_=1)
psycopg2.extras.wait_select(waiting)
c = waiting.cursor()
c.execute("SELECT 42")
psycopg2.extras.wait_select(waiting)
print(c.fetchall())
try:
    psycopg2.connect("dbname=nosuch")
except psycopg2.OperationalError as error:
    print(error)
connection.close()
