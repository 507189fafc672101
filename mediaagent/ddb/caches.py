"""What is kept beside an index of what lies in the repository and never changes: footers, and pages of trees.

Reading does without. What is kept is of one history of the repository (`mediaagent.ddb.history`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mediaagent.ddb.footer_cache import FooterCache
from mediaagent.ddb.history import History
from mediaagent.ddb.page_cache import PageCache


class Caches:
    """The caches of one repository under the directory of its index."""

    def __init__(self, directory: Path, repository_uuid: bytes, history: History) -> None:
        self.footers = FooterCache(directory, repository_uuid, history.note)
        self.pages = PageCache(directory, repository_uuid, history.note)

    def forget(self, cids: Iterable[int]) -> None:
        """These containers are gone, or damaged."""
        gone = list(cids)
        self.footers.forget(gone)
        self.pages.forget(gone)
