"""A disk's tree of pages: read lazily, written copy-on-write against the parent's (docs/format.md, section 6)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from media.container_reader import ContainerReader
from media.faults import ContainerMissing, DamageFault
from media.ids import cid_text
from media.page import FANOUT, Interior, Leaf, Page, PageRef, decode

_PAGES_IN_MEMORY = 64  # interior pages on the way to the leaf in hand; a leaf is used once


class Root(NamedTuple):
    """A disk's tree: its depth, and its root page unless the disk is all holes."""

    depth: int
    ref: PageRef | None


def depth_of(segment_count: int) -> int:
    """The smallest d >= 1 with 256^d >= segments."""
    depth = 1
    while FANOUT**depth < segment_count:
        depth += 1
    return depth


class TreeReader:
    """Pages by place. Safe to use from several threads."""

    def __init__(self, containers: ContainerReader, page_key: bytes) -> None:
        self._containers = containers
        self._page_key = page_key
        # By place, never by fingerprint alone: two copies of a page may say the same and name different places. And a
        # slot is a hint: two references to one place may mean different pages.
        self._interiors: OrderedDict[PageRef, Interior] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, ref: PageRef, level: int, index: int) -> Page:
        """The page at `ref`. Raises any DamageFault."""
        with self._lock:
            known = self._interiors.get(ref)
            if known is not None and (known.level, known.index) == (level, index):
                self._interiors.move_to_end(ref)
                return known
        page = self._kept(ref, level, index)
        if page is None:
            page = self._decoded(self._containers.page(ref.cid, ref.slot, ref.fingerprint), ref, level, index)
        if isinstance(page, Interior):
            with self._lock:
                self._interiors[ref] = page
                if len(self._interiors) > _PAGES_IN_MEMORY:
                    self._interiors.popitem(last=False)
        return page

    def _kept(self, ref: PageRef, level: int, index: int) -> Page | None:
        """The page from the local cache; whatever is wrong with it, it is as if it were not there."""
        plain = self._containers.kept_page(ref.cid, ref.slot, ref.fingerprint)
        try:
            return None if plain is None else self._decoded(plain, ref, level, index)
        except DamageFault:
            return None

    def _decoded(self, plain: bytes, ref: PageRef, level: int, index: int) -> Page:
        return decode(plain, ref, self._page_key, level, index, f"{cid_text(ref.cid)} slot {ref.slot}")

    def leaf(self, ref: PageRef, segment: int) -> Leaf:
        """The leaf page of a segment. Raises any DamageFault."""
        page = self.page(ref, 0, segment)
        assert isinstance(page, Leaf)
        return page

    def interior(self, ref: PageRef, level: int, index: int) -> dict[int, PageRef]:
        """The children of an interior page, not to be changed. Raises any DamageFault."""
        page = self.page(ref, level, index)
        assert isinstance(page, Interior)
        return page.refs

    def leaf_ref(self, root: Root, segment: int) -> PageRef | None:
        """Where the leaf of a segment is; None for a segment of holes, or past the end."""
        if segment >= FANOUT**root.depth:
            return None
        ref = root.ref
        for level in range(root.depth, 0, -1):
            if ref is None:
                return None
            ref = self.interior(ref, level, segment // FANOUT**level).get(segment // FANOUT ** (level - 1) % FANOUT)
        return ref

    def next_leaf(self, root: Root, segment: int) -> int | None:
        """The first segment from `segment` on that has a leaf. Raises any DamageFault."""
        return None if root.ref is None else self._next_leaf(root.ref, root.depth, 0, segment)

    def _next_leaf(self, ref: PageRef, level: int, index: int, segment: int) -> int | None:
        span = int(FANOUT ** (level - 1))
        for number, child in self.interior(ref, level, index).items():
            first = (index * FANOUT + number) * span
            if first + span <= segment:
                continue
            if level == 1:
                return first
            found = self._next_leaf(child, level - 1, index * FANOUT + number, segment)
            if found is not None:
                return found
        return None

    def leaves(
        self, root: Root, on_damage: Callable[[int, int, DamageFault], None] | None = None
    ) -> Iterator[tuple[int, PageRef]]:
        """Every (segment, where its leaf is), ascending.

        A damaged interior page raises; with `on_damage` it is told (first segment, segment count, fault) and the walk
        goes on.
        """
        if root.ref is not None:
            yield from self._walk(root.ref, root.depth, 0, on_damage)

    def _walk(
        self, ref: PageRef, level: int, index: int, on_damage: Callable[[int, int, DamageFault], None] | None
    ) -> Iterator[tuple[int, PageRef]]:
        try:
            children = self.interior(ref, level, index)
        except DamageFault as fault:
            if on_damage is None:
                raise
            on_damage(index * FANOUT**level, FANOUT**level, fault)
            return
        for number, child in children.items():
            if level == 1:
                yield index * FANOUT + number, child
            else:
                yield from self._walk(child, level - 1, index * FANOUT + number, on_damage)


class TreeUpdate:
    """The tree of a disk after some of its leaves changed: pages that say the same at the same place are inherited.

    `write(page)` stores a page and returns where it is; `there(cid)` says whether a container that the old tree refers
    to still lies in the repository: a page in one that does not is not inherited, and raises ContainerMissing.
    """

    def __init__(
        self,
        reader: TreeReader,
        old: Root,
        segment_count: int,
        there: Callable[[int], bool],
        write: Callable[[Page], PageRef],
    ) -> None:
        self._reader = reader
        self._old = old
        self._segment_count = segment_count
        self._there = there
        self._write = write

    def apply(self, changes: dict[int, PageRef | None]) -> Root:
        """The new root, given segment -> its new leaf.

        None stands for a leaf that became a hole, or lies past the end of a disk that shrank.
        """
        depth = depth_of(self._segment_count)
        top = self._old.ref
        for level in range(self._old.depth, depth, -1):  # a disk that shrank by so much: what is left hangs on child 0
            top = None if top is None else self._reader.interior(top, level, 0).get(0)
        reachable = {segment: ref for segment, ref in changes.items() if segment < FANOUT**depth}
        return Root(depth, self._page(depth, 0, top, reachable))

    def _page(self, level: int, index: int, old: PageRef | None, changes: dict[int, PageRef | None]) -> PageRef | None:
        span = FANOUT ** (level - 1)
        grown = level > self._old.depth and index == 0  # above the old root: it, or what leads to it, is child 0
        before = {} if old is None or grown else self._reader.interior(old, level, index)
        children = dict(before)
        if grown and old is not None:
            children[0] = old
        touched: dict[int, dict[int, PageRef | None]] = {0: {}} if grown and level > self._old.depth + 1 else {}
        for segment, ref in changes.items():
            touched.setdefault(segment // span % FANOUT, {})[segment] = ref
        for number, below in touched.items():
            if level == 1:
                new = below[index * FANOUT + number]
            else:
                new = self._page(level - 1, index * FANOUT + number, children.get(number), below)
            if new is None:
                children.pop(number, None)
            else:
                children[number] = new
        first = index * FANOUT
        children = {n: ref for n, ref in children.items() if (first + n) * span < self._segment_count}
        for number, kept in children.items():
            if number not in touched and not self._there(kept.cid):
                where = f"page of level {level - 1}, index {first + number}"
                raise ContainerMissing(f"{cid_text(kept.cid)}: expected with the {where}, found nothing")
        if children == before and old is not None and not grown:
            return old
        return self._write(Interior.of(level, index, children)) if children else None
