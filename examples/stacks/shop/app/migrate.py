"""Applies the migrations that the database has not had yet, in order, each in a transaction.

Usage: migrate.py DIRECTORY. The connection comes from PGHOST, PGUSER and the like.
"""

import sys
from pathlib import Path

import psycopg2

connection = psycopg2.connect("")
with connection, connection.cursor() as cursor:
    cursor.execute("create table if not exists migrations (name text primary key)")
    cursor.execute("select name from migrations")
    done = {name for (name,) in cursor.fetchall()}

for file in sorted(Path(sys.argv[1]).glob("*.sql")):
    if file.name in done:
        print(f"migrate: {file.name} is there already")
        continue
    with connection, connection.cursor() as cursor:
        cursor.execute(file.read_text())
        cursor.execute("insert into migrations values (%s)", [file.name])
    print(f"migrate: {file.name} applied")
connection.close()
