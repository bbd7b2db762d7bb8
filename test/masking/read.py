"""Reads each query of the JSON list on stdin through a driver: read.py psycopg2|asyncpg PORT. Prints a JSON list of
{"a", "m", "z"} (m as repr, null for NULL) or {"error"}."""
import asyncio
import json
import sys

driver, port = sys.argv[1], int(sys.argv[2])
queries = json.load(sys.stdin)
results = []


def keep(row):
    a, m, z = row
    if isinstance(m, memoryview):
        m = bytes(m)
    elif type(m).__name__ in ("Path", "Polygon"):
        m = [type(m).__name__, *m]
    results.append({"a": a, "m": None if m is None else repr(m), "z": z})


if driver == "psycopg2":
    import psycopg2

    connection = psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", sslmode="disable")
    connection.autocommit = True
    cursor = connection.cursor()
    for query in queries:
        try:
            cursor.execute(query)
            keep(cursor.fetchone())
        except Exception as error:
            results.append({"error": repr(error)})
else:
    import asyncpg

    async def main():
        connection = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False)
        for query in queries:
            try:
                keep(await connection.fetchrow(query))
            except Exception as error:
                results.append({"error": repr(error)})
        await connection.close()

    asyncio.run(main())
print(json.dumps(results))
