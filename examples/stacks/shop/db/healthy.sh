#!/bin/sh
# pg_isready of PATH is Debian's wrapper, which wants /etc/postgresql-common.
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
exec "$bin/pg_isready" --quiet --host=127.0.0.1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB"
