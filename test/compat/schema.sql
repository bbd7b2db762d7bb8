-- What every client of this folder finds.
CREATE TYPE mood AS ENUM ('sad', 'fine', 'glad');
CREATE TYPE place AS (street text, town text);
CREATE DOMAIN cents AS int CHECK (VALUE >= 0);
CREATE TABLE people (
  id serial PRIMARY KEY,
  name text NOT NULL,
  born date,
  mood mood DEFAULT 'fine',
  home place,
  pay cents,
  tags text[],
  extra jsonb,
  picture bytea,
  CONSTRAINT named CHECK (name <> '')
);
COMMENT ON TABLE people IS 'everyone';
COMMENT ON COLUMN people.born IS 'day of birth';
CREATE INDEX people_name ON people (lower(name));
INSERT INTO people (name, born, mood, home, pay, tags, extra, picture)
SELECT 'person ' || i, date '1970-01-01' + i * 11, (ARRAY['sad', 'fine', 'glad'])[1 + i % 3]::mood,
  ROW('street ' || i, 'town ' || i % 5)::place, i * 7, ARRAY['t' || i, NULL, 'with "quotes" and , commas'],
  jsonb_build_object('n', i, 'nested', jsonb_build_array(i, null, 'ä€😀')), decode(repeat(lpad(to_hex(i % 256), 2, '0'), 20), 'hex')
FROM generate_series(1, 1000) i;
CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, placed timestamptz, total numeric(12, 4));
INSERT INTO orders SELECT i, 1 + i % 1000, timestamptz '2024-01-01 00:00Z' + i * interval '17 minutes', i / 7.0 FROM generate_series(1, 3000) i;
CREATE VIEW rich AS SELECT p.id, p.name, sum(o.total) AS spent FROM people p JOIN orders o ON o.person = p.id GROUP BY p.id, p.name;
CREATE MATERIALIZED VIEW towns AS SELECT (home).town AS town, count(*) FROM people GROUP BY 1;
CREATE TABLE parted (day date, n int) PARTITION BY RANGE (day);
CREATE TABLE parted_24 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parted_25 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO parted SELECT date '2024-06-01' + i, i FROM generate_series(1, 400) i;
CREATE SCHEMA "Odd schema";
CREATE TABLE "Odd schema"."Odd ""table""" ("Column 1" int, "ünï" text);
CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION complain(text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'first: %', $1; RAISE WARNING USING MESSAGE = 'second', DETAIL = 'a detail', HINT = 'a hint'; RAISE EXCEPTION USING MESSAGE = 'third: ' || $1, ERRCODE = 'ZX001', DETAIL = 'more', HINT = 'less'; END$$;
CREATE PROCEDURE halves() LANGUAGE plpgsql AS $$BEGIN INSERT INTO "Odd schema"."Odd ""table""" VALUES (1, 'one'); COMMIT; INSERT INTO "Odd schema"."Odd ""table""" VALUES (2, 'two'); ROLLBACK; END$$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.placed = timestamptz '2030-01-01Z'; RETURN NEW; END$$;
CREATE TRIGGER stamped BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.placed IS NULL) EXECUTE FUNCTION stamp();
