"""asyncpg at work; prints all that it sees."""
import asyncio
import datetime
import os

import asyncpg


async def attempt(work):
    try:
        print(await work)
    except asyncpg.PostgresError as error:
        print(type(error).__name__, {k: v for k, v in sorted(error.as_dict().items())})
    except Exception as error:
        print(type(error).__name__, error)


async def main():
    c = await asyncpg.connect(ssl=False, statement_cache_size=5)
    print(c.get_server_version(), c.get_settings().TimeZone)
    for round in range(3):
        for n in range(8):
            print(await c.fetchval(f"SELECT count(*) + {n} FROM people WHERE id < $1", round * 10))
    print([tuple(r) for r in await c.fetch("SELECT * FROM people WHERE id = ANY($1::int[]) ORDER BY id", [1, 2, 3])])
    await attempt(c.fetch("SELECT 1/$1::int", 0))
    await attempt(c.fetch("SELECT $1::int", "not a number"))
    await attempt(c.fetch("SELEC"))
    await attempt(c.execute("SELECT 1; SELECT 2; SELECT 1/0"))
    await attempt(c.execute("INSERT INTO people (name) VALUES ('')"))
    await attempt(c.executemany("INSERT INTO parted VALUES ($1, $2)", [(datetime.date(2024, 1, 1 + i), i) for i in range(28)]))
    await attempt(c.executemany("INSERT INTO parted VALUES ($1, $2)", [(datetime.date(2024, 1, 1), 1), (datetime.date(1999, 1, 1), 1)]))
    print(await c.fetchval("SELECT count(*) FROM parted"))
    async with c.transaction():
        async for row in c.cursor("SELECT id, name FROM people ORDER BY id", prefetch=37):
            if row["id"] % 100 == 0:
                print(tuple(row))
        cursor = await c.cursor("SELECT id FROM people ORDER BY id")
        print([r[0] for r in await cursor.fetch(5)], await cursor.forward(10), (await cursor.fetchrow())[0])
        try:
            async with c.transaction():
                await c.execute("UPDATE people SET name = 'lost' WHERE id = 1")
                raise ValueError("roll back to the savepoint")
        except ValueError as error:
            print(error)
        print(await c.fetchval("SELECT name FROM people WHERE id = 1"))
    try:
        async with c.transaction(isolation="serializable", readonly=True):
            await c.execute("DELETE FROM people")
    except asyncpg.PostgresError as error:
        print(type(error).__name__, error)
    statement = await c.prepare("SELECT id, mood, home, tags, extra, picture, $1::numeric FROM people WHERE id = $2")
    print(statement.get_parameters(), statement.get_attributes(), statement.get_statusmsg())
    for n in (1, 2):
        print(await statement.fetchrow(1.5, n), statement.get_statusmsg())
    await c.execute("CREATE TEMP TABLE copied (a int, b text, c timestamptz, d float8[])")
    when = datetime.datetime(2024, 2, 3, tzinfo=datetime.timezone.utc)
    print(await c.copy_records_to_table("copied", records=[(i, "r%d" % i, when, [i / 3, None]) for i in range(2000)]))
    print(await c.fetchval("SELECT sum(hashtext(x::text)) FROM copied x"))
    got = []

    async def sink(data):
        got.append(bytes(data))

    print(await c.copy_from_query("SELECT * FROM copied WHERE a < $1", 50, output=sink, format="binary"))
    print(b"".join(got))
    print(await c.copy_from_table("people", output=os.devnull, format="csv"))

    async def lines():
        yield b"1,x\n"
        yield b"broken\n"

    await attempt(c.copy_to_table("copied", source=lines(), format="csv", columns=["a", "b"]))

    async def failing():
        yield b"1,x\n"
        raise RuntimeError("the source failed")

    await attempt(c.copy_to_table("copied", source=failing(), format="csv", columns=["a", "b"]))
    heard = asyncio.Queue()
    await c.add_listener("news", lambda con, pid, channel, payload: heard.put_nowait((channel, payload)))
    other = await asyncpg.connect(ssl=False)
    await other.execute("NOTIFY news, 'from another'")
    print(await heard.get())
    await attempt(c.fetch("SELECT pg_sleep(20)", timeout=0.2))
    print(await c.fetchval("SELECT 'after the timeout'"))
    task = asyncio.ensure_future(other.fetch("SELECT pg_sleep(20)"))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print(await other.fetchval("SELECT 'after the cancel'"))
    notices = []
    c.add_log_listener(lambda con, message: notices.append(message.as_dict()))
    await attempt(c.execute("SELECT complain('async')"))
    await asyncio.sleep(0)
    print(notices)
    await c.execute("CREATE TABLE changing (a int)")
    print(await c.fetch("SELECT * FROM changing"))
    await other.execute("ALTER TABLE changing ADD b text; INSERT INTO changing VALUES (1, 'b')")
    await attempt(c.fetch("SELECT * FROM changing"))
    await other.execute("DROP TABLE changing")
    await attempt(c.reload_schema_state())
    await c.reset()
    pool = await asyncpg.create_pool(ssl=False, min_size=2, max_size=4)
    print(sorted(await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", i) for i in range(40)))))
    await pool.close()
    try:
        await asyncpg.connect(ssl=False, database="nosuch")
    except asyncpg.PostgresError as error:
        print(type(error).__name__, error)
    await other.close()
    await c.close()


asyncio.run(main())
