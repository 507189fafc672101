"""Where machines are in a vCenter's inventory: the paths of folders and of resource pools.

Datacenter/Folder/Folder        without the folders that every inventory has: the root, and `vm` of each datacenter
Datacenter/Cluster/Pool         without `Resources`, which every cluster and host has
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pyVmomi import vim

PLACES = (vim.Folder, vim.Datacenter, vim.ResourcePool, vim.ComputeResource)  # whose names are parts of paths
PROPERTIES = ("name", "parent")
_DEPTH_MAX = 64
Read = Callable[[Any, Sequence[str]], Iterator[tuple[Any, dict[str, Any]]]]


class Places:
    """As they are when they are read; a page of objects for each kind."""

    def __init__(self, read: Read) -> None:
        """`read(kind, paths)` is that of a connection."""
        self._parent: dict[str, str | None] = {}
        self._name: dict[str, str] = {}
        self._own: dict[str, bool] = {}  # whether its name is part of a path
        for kind in PLACES:
            for managed, values in read(kind, PROPERTIES):
                self._take(managed, values)
        for app, values in read(vim.VirtualApp, ["parentFolder"]):
            folder = values.get("parentFolder")
            self._parent[f"{app._moId}/folder"] = folder._moId if folder is not None else None

    @property
    def names(self) -> frozenset[str]:
        """Of all folders and pools."""
        return frozenset(self._name.values())

    def knows(self, place: Any) -> bool:
        """Whether it was there when this was read."""
        return place._moId in self._parent or f"{place._moId}/folder" in self._parent

    def folder(self, parent: Any, app: Any) -> str:
        """Of a machine in a folder, or in a vApp, which is in one."""
        if parent is None and app is not None:
            return self._path(self._parent.get(f"{app._moId}/folder"))
        return self._path(parent and parent._moId)

    def pool(self, pool: Any) -> str:
        """Of a machine's resource pool; empty for a template, which has none."""
        return self._path(pool and pool._moId)

    def _take(self, managed: Any, values: dict[str, Any]) -> None:
        key, name, parent = managed._moId, str(values.get("name", "")), values.get("parent")
        self._name[key] = name
        self._parent[key] = parent._moId if parent is not None else None
        of_inventory = isinstance(managed, vim.Folder) and (parent is None or isinstance(parent, vim.Datacenter))
        of_cluster = isinstance(managed, vim.ResourcePool) and isinstance(parent, vim.ComputeResource)
        self._own[key] = not of_inventory and not of_cluster

    def _path(self, key: str | None) -> str:
        parts: list[str] = []
        for _ in range(_DEPTH_MAX):
            if key is None:
                break
            if self._own.get(key, False):
                parts.append(self._name[key])
            key = self._parent.get(key)
        return "/".join(reversed(parts))
