#!/bin/bash
# Makes the database's cluster, once.
set -e
rm -f /test/pg/postmaster.pid # of the last boot, whose process number may be somebody's now
install -d -o postgres -m 700 /test/pg
install -d -o postgres -m 755 /test/socket
[ ! -e /test/pg/PG_VERSION ] || exit 0
runuser -u postgres -- /usr/lib/postgresql/*/bin/initdb -D /test/pg --auth-local=trust --auth-host=scram-sha-256 --no-sync >/dev/null
echo 'host all shop 198.51.100.0/24 scram-sha-256' >>/test/pg/pg_hba.conf
