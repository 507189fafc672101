"""The dedup database (DDB): fingerprint -> place, hints for backups, on LMDB. Losing it loses nothing.

In here: the index as it lies on a local disk, and the cache of container footers that confirms its answers.
Not in here: the port it implements (`media.known_chunks`), and whether a place may be used (`media`, rule W9).

    directory     where an index lies, and where it must not
    occupancy     who has it open, and whether everybody stopped cleanly
    structure     is a data file whole
    environment   the LMDB files, open; the only file that knows LMDB's names
    opening       which of the above says that an index is opened, rebuilt empty or refused
    rows          keys and values, byte by byte
    writer        what is recorded and not yet committed, and the one thread that commits it
    chunk_index   `KnownChunks` over all of these
    footer_cache  footers on the local disk
    page_cache    pages on the local disk
    caches        both of them, beside an index
    history       is the repository still the one that the index and the caches are of
"""
