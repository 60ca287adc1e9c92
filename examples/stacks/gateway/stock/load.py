"""Fills the volume with books, once. Running it again changes nothing."""

import sqlite3

BOOKS = [
    ("The Mythical Man-Month", 1975),
    ("A Pattern Language", 1977),
    ("The Design of the UNIX Operating System", 1986),
]

connection = sqlite3.connect("/var/lib/stock/books.db")
with connection:
    connection.execute("create table if not exists books (title text primary key, year integer)")
    connection.executemany("insert or ignore into books values (?, ?)", BOOKS)
count = connection.execute("select count(*) from books").fetchone()[0]
print(f"loaded: {count} books")
