-- psql at work: what a person types.
\set VERBOSITY verbose
\d
\d people
\d+ people
\d+ rich
\d+ parted
\d parted_24
\dt+
\dt *.*dd*
\d "Odd schema".*
\df
\df+ double
\sf complain
\sv rich
\dn+
\du
\dT+
\dD
\di+
\ds
\dm
\dv
\l
\dp people
\dconfig work_mem
\dd
\des
\dx
\do =
\dC
\dO nosuch
\d nosuch
SELECT * FROM people WHERE id < 4;
\x
SELECT * FROM people WHERE id = 5;
\x
SELECT * FROM nosuch;
SELECT 1 +;
SELECT 1/0;
SELECT complain('loudly');
SELECT 'not a number'::int;
INSERT INTO people (name) VALUES ('');
INSERT INTO people (id, name) VALUES (1, 'again');
INSERT INTO orders VALUES (9001, 999999);
SELECT 1 AS a \; SELECT 2 AS b \; SELECT 3 AS c;
SELECT 1 AS a \; SELECT 1/0 \; SELECT 3 AS c;
SELECT name, mood FROM people WHERE mood = 'glad' ORDER BY id LIMIT 3 \gx
SELECT count(*) AS counted FROM people \gset
\echo counted :counted
SELECT format('CREATE TABLE made_%s (n int)', i) FROM generate_series(1, 3) i \gexec
\dt made*
SELECT 'DROP TABLE made_' || i FROM generate_series(1, 3) i \gexec
SELECT id % 3 AS r, mood, count(*) FROM people GROUP BY 1, 2 \crosstabview

SELECT name, born, pay FROM people \gdesc

SELECT 1 AS n \g | cat
\timing off
EXPLAIN (COSTS OFF) SELECT * FROM people WHERE lower(name) = 'x';
BEGIN;
SELECT 1/0;
SELECT 2;
ROLLBACK;
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO parted VALUES ('2024-02-02', 1000);
INSERT INTO parted VALUES ('1999-01-01', 1);
SELECT count(*) FROM parted;
COMMIT;
\set ON_ERROR_ROLLBACK off
\set AUTOCOMMIT off
UPDATE people SET pay = -1 WHERE id = 1;
ROLLBACK;
UPDATE people SET pay = 1 WHERE id = 1 RETURNING id, pay;
COMMIT;
\set AUTOCOMMIT on
\set FETCH_COUNT 100
SELECT id, name FROM people ORDER BY id;
SELECT id, 100 / (500 - id) FROM people ORDER BY id;
\set FETCH_COUNT 0
\copy people TO STDOUT
\copy (SELECT id, tags, extra FROM people WHERE id < 20) TO STDOUT CSV HEADER
\copy parted FROM STDIN CSV
2024-03-03,1
2024-03-04,2
\.
COPY parted FROM STDIN;
2024-03-05	5
not a date	6
\.
COPY parted FROM STDIN;
2024-03-05	5	7
\.
\copy nosuch FROM STDIN
\.
\copy parted FROM '/nonexistent'
COPY (SELECT 1/(id - 900) FROM people) TO STDOUT;
SELECT count(*) FROM parted;
DO $$BEGIN RAISE NOTICE 'said'; END$$;
CALL halves();
SELECT * FROM "Odd schema"."Odd ""table""";
LISTEN news;
NOTIFY news, 'payload';
SELECT pg_notify('news', 'another');
UNLISTEN *;
PREPARE q (int) AS SELECT name FROM people WHERE id = $1;
EXECUTE q(7);
EXECUTE q('x');
DEALLOCATE q;
EXECUTE q(7);
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM people ORDER BY id;
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
MOVE 10 IN c;
FETCH c;
CLOSE c;
SAVEPOINT s;
SELECT 1/0;
ROLLBACK TO s;
RELEASE s;
COMMIT;
COMMIT;
SHOW search_path;
SET search_path TO "Odd schema", public;
\d
SELECT * FROM "Odd ""table""";
RESET search_path;
SET work_mem = '7MB';
SHOW work_mem;
SET nosuch.thing = 3;
SHOW nosuch.thing;
SET TIME ZONE 'Asia/Tokyo';
SELECT placed FROM orders WHERE id = 1;
SET client_encoding TO LATIN1;
SHOW client_encoding;
\encoding
SET client_encoding TO UTF8;
CREATE TEMP TABLE t AS SELECT 1 AS n;
TABLE t;
TRUNCATE t;
DROP TABLE t;
CREATE TABLE withoids (n int);
ALTER TABLE withoids ADD COLUMN m int;
INSERT INTO withoids VALUES (1, 2) RETURNING *;
SELECT * FROM withoids;
VACUUM withoids;
ANALYZE withoids;
CLUSTER withoids;
DROP TABLE withoids;
SELECT current_user, session_user, current_database(), pg_is_in_recovery();
SELECT txid_current() > 0;
\errverbose
\lo_import /etc/hostname 'a name'
\lo_list
SELECT length(lo_get(:LASTOID));
SELECT lo_put(:LASTOID, 0, 'abc');
\lo_export :LASTOID /dev/null
\lo_unlink :LASTOID
\lo_unlink 1
SELECT ' ä€😀 ', E'tab\tline\n', repeat('wide ', 30);
;
-- only a comment
/* and another */
SELECT;
SELECT NULL, true, '{}'::int[], ''::text;
\c - - - -
SELECT 'connected again';
\c nosuchdb
SELECT 'after';
