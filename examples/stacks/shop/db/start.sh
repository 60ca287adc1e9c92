#!/bin/sh
# PostgreSQL from the machine's packages. The first start makes the cluster in
# the volume; later ones find it there. Runs as root just long enough to hand
# the volume to the user postgres.
set -eu

# Debian keeps the programs in a directory per version; take the newest.
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
home=/var/lib/postgresql
data=$home/data

if ! getent passwd postgres >/dev/null; then
    echo "postgres:x:70:70::$home:/bin/sh" >>/etc/passwd
    echo "postgres:x:70:" >>/etc/group
fi
as_postgres() {
    setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
}

# The socket's directory is compiled in; the volume is root's when it is fresh.
chown postgres:postgres "$home"
cd "$home"

if [ ! -d "$data" ]; then
    # A start that is killed half way leaves no half cluster: the last step is a rename.
    rm -rf "$data.new"
    as_postgres sh -c 'umask 077; printf %s "$POSTGRES_PASSWORD" >password'
    as_postgres "$bin/initdb" --pgdata="$data.new" --username="$POSTGRES_USER" \
        --pwfile=password --auth-local=trust --auth-host=scram-sha-256 \
        --no-locale --encoding=UTF8 --no-instructions
    rm -f password
    echo "host all all all scram-sha-256" >>"$data.new/pg_hba.conf"
    echo "create database \"$POSTGRES_DB\"" |
        as_postgres "$bin/postgres" --single -D "$data.new" template1 >/dev/null
    mv "$data.new" "$data"
fi

exec setpriv --reuid=postgres --regid=postgres --init-groups -- \
    "$bin/postgres" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp
