"""What the CommServe remembers: tables, migrations, the engine. Queries stand by subject, beside what they are for.

SQLite today; nothing but `engine` and `inserting` knows which database it is.
"""
