"""Tags with their categories, and the REST interface that alone knows them."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.sim.vcenter.inventory import Entity

if TYPE_CHECKING:
    from tests.sim.vcenter.endpoint import Answering

JSON = "application/json"
HEADER = "vmware-api-session-id"


class Refused(Exception):
    """An answer of REST that is no success."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass
class Category:
    """What tags are grouped by."""

    id: str
    name: str
    description: str = ""
    cardinality: str = "MULTIPLE"
    associable_types: list[str] = field(default_factory=list)


@dataclass
class Tag:
    """A tag, and what it is on: ids of objects."""

    id: str
    name: str
    category_id: str
    description: str = ""
    on: set[str] = field(default_factory=set)


class Tags:
    """All of a vCenter."""

    def __init__(self, vcenter: Any) -> None:
        self._vcenter = vcenter
        self.category_by_id: dict[str, Category] = {}
        self.tag_by_id: dict[str, Tag] = {}

    def category(self, name: str, **more: Any) -> Category:
        """The one with this name; a new one where there is none."""
        found = next((each for each in self.category_by_id.values() if each.name == name), None)
        return found or self.add_category(name, **more)

    def add_category(self, name: str, **more: Any) -> Category:
        made = Category(f"urn:vmomi:InventoryServiceCategory:{uuid.uuid4()}:GLOBAL", name, **more)
        return self.category_by_id.setdefault(made.id, made)

    def tag(self, category: str, name: str) -> Tag:
        """The same of tags."""
        group = self.category(category)
        for each in self.tag_by_id.values():
            if (each.category_id, each.name) == (group.id, name):
                return each
        return self.add_tag(name, group.id)

    def add_tag(self, name: str, category_id: str, description: str = "") -> Tag:
        made = Tag(f"urn:vmomi:InventoryServiceTag:{uuid.uuid4()}:GLOBAL", name, category_id, description)
        return self.tag_by_id.setdefault(made.id, made)

    def attach(self, tag: Tag, moid: str, user: str) -> None:
        """And an event, as of `detach`. With the lock held."""
        tag.on.add(moid)
        self._tell("attach", "attached tag {} to", tag, moid, user)

    def detach(self, tag: Tag, moid: str, user: str) -> None:
        tag.on.discard(moid)
        self._tell("detach", "detached tag {} from", tag, moid, user)

    def _tell(self, what: str, how: str, tag: Tag, moid: str, user: str) -> None:
        found = self._vcenter.find(moid)
        name = found.name if isinstance(found, Entity) else moid
        message = f"User {user} {how.format(tag.name)} object {name}"
        more = {"Tag": tag.name, "Object": name, "User": user}
        self._vcenter.events.post_extended(f"com.vmware.cis.tagging.{what}", user, message, **more)

    def on(self, moid: str) -> list[Tag]:
        return [each for each in self.tag_by_id.values() if moid in each.on]


class RestRoom:
    """/api as of 7.0.2, and /rest before it, where answers are wrapped in `value`."""

    def __init__(self, vcenter: Any) -> None:
        self._vcenter = vcenter
        self._tags: Tags = vcenter.tags
        self.user_by_session: dict[str, str] = {}

    def answer(self, ask: Answering, verb: str, path: str, query: dict[str, list[str]]) -> None:
        old = path.startswith("/rest/")
        room = path.removeprefix("/rest/com/vmware/").removeprefix("/api/")
        vcenter = self._vcenter
        try:
            vcenter.faults.meet(f"rest.{room.rpartition('/')[2]}", room)
            body = ask.body()
            document = json.loads(body) if body else {}
            with vcenter.changes.lock:
                if room in ("session", "cis/session"):
                    value = self._session(ask, verb)
                    status = 201 if verb == "POST" and not old else 200
                else:
                    value, status = self._route(self._user(ask), verb, room, _action(query), document), 200
        except Refused as refused:
            message = [{"default_message": str(refused), "id": refused.kind, "args": []}]
            ask.answer(refused.status, json.dumps({"error_type": refused.kind, "messages": message}).encode(), JSON)
            return
        text = json.dumps({"value": value} if old else value) if value is not None or old else ""
        ask.answer(status if text else 204, text.encode(), JSON)

    def expire(self) -> None:
        """Control: everybody has to log in again."""
        self.user_by_session.clear()

    def _session(self, ask: Answering, verb: str) -> Any:
        if verb == "POST":
            scheme, _, rest = (ask.headers.get("Authorization") or "").partition(" ")
            user, _, password = (base64.b64decode(rest).decode() if scheme == "Basic" else "").partition(":")
            try:
                self._vcenter.sessions.check(user, password)
            except vim.fault.InvalidLogin:
                raise Refused(401, "UNAUTHENTICATED", "Authentication required.") from None
            key = uuid.uuid4().hex
            self.user_by_session[key] = user.lower()
            return key
        user = self._user(ask)
        if verb == "DELETE":
            self.user_by_session.pop(ask.headers.get(HEADER) or "")
            return None
        return {
            "user": user,
            "created_time": "2026-01-01T00:00:00.000Z",
            "last_accessed_time": "2026-01-01T00:00:00.000Z",
        }

    def _user(self, ask: Answering) -> str:
        user = self.user_by_session.get(ask.headers.get(HEADER) or "")
        if user is None:
            raise Refused(401, "UNAUTHENTICATED", "Authentication required.")
        return user

    def _route(self, user: str, verb: str, room: str, action: str, document: Any) -> Any:
        start, _, rest = room.removeprefix("cis/tagging/").partition("/")
        ident = rest.removeprefix("id:")
        document = document.get("create_spec", document) if isinstance(document, dict) else document
        if not room.startswith("cis/tagging/") or start not in ("tag", "category", "tag-association"):
            raise Refused(404, "NOT_FOUND", f"{room} is not simulated")
        if start == "tag-association":
            return self._association(user, ident, action, document)
        return self._things(verb, start, ident, action, document)

    def _things(self, verb: str, start: str, ident: str, action: str, document: Any) -> Any:
        """Tags and categories themselves."""
        if verb == "POST" and action == "list-tags-for-category":
            return [
                each.id
                for each in self._tags.tag_by_id.values()
                if each.category_id in (ident, document.get("category_id"))
            ]
        known: dict[str, Any] = self._tags.tag_by_id if start == "tag" else self._tags.category_by_id  # type: ignore[assignment]
        if verb == "POST" and not ident:
            return self._create(start, document)
        if verb == "GET" and not ident:
            return list(known)
        if ident not in known:
            raise Refused(404, "NOT_FOUND", f"{start} {ident} was not found")
        if verb == "DELETE":
            del known[ident]
            return None
        return _shown(known[ident])

    def _create(self, start: str, document: Any) -> str:
        if start == "category":
            if any(each.name == document["name"] for each in self._tags.category_by_id.values()):
                raise Refused(400, "ALREADY_EXISTS", f"category {document['name']}")
            more = {key: document[key] for key in ("description", "cardinality", "associable_types") if key in document}
            return self._tags.add_category(document["name"], **more).id
        group = document["category_id"]
        if group not in self._tags.category_by_id:
            raise Refused(404, "NOT_FOUND", f"category {group} was not found")
        if any((each.category_id, each.name) == (group, document["name"]) for each in self._tags.tag_by_id.values()):
            raise Refused(400, "ALREADY_EXISTS", f"tag {document['name']}")
        return self._tags.add_tag(document["name"], group, document.get("description", "")).id

    def _association(self, user: str, ident: str, action: str, document: Any) -> Any:
        match action:
            case "list-attached-tags":
                return [each.id for each in self._tags.on(self._seen(user, document["object_id"]["id"]))]
            case "list-attached-tags-on-objects":
                ids = [each["id"] for each in document["object_ids"]]
                return [
                    {"object_id": self._dynamic(moid), "tag_ids": [each.id for each in self._tags.on(moid)]}
                    for moid in ids
                    if self._tags.on(moid)
                ]
            case "list-attached-objects":
                return [self._dynamic(moid) for moid in sorted(self._tag(ident).on)]
            case "list-attached-objects-on-tags":
                return [
                    {"tag_id": tag, "object_ids": [self._dynamic(moid) for moid in sorted(self._tag(tag).on)]}
                    for tag in document["tag_ids"]
                ]
        return self._change(user, ident, action, document)

    def _change(self, user: str, ident: str, action: str, document: Any) -> Any:
        """Attach and detach."""
        match action:
            case "attach":
                self._tags.attach(self._tag(ident), self._seen(user, document["object_id"]["id"]), user)
                return None
            case "detach":
                self._tags.detach(self._tag(ident), document["object_id"]["id"], user)
                return None
            case "attach-multiple-tags-to-object":
                for tag in document["tag_ids"]:
                    self._tags.attach(self._tag(tag), self._seen(user, document["object_id"]["id"]), user)
                return {"success": True, "error_messages": []}
        raise Refused(404, "NOT_FOUND", f"tag-association?action={action} is not simulated")

    def _tag(self, ident: str) -> Tag:
        if ident not in self._tags.tag_by_id:
            raise Refused(404, "NOT_FOUND", f"tag {ident} was not found")
        return self._tags.tag_by_id[ident]

    def _seen(self, user: str, moid: str) -> str:
        found = self._vcenter.find(moid)
        if not isinstance(found, Entity):
            raise Refused(404, "NOT_FOUND", f"object {moid} was not found")
        if not self._vcenter.authorization.sees(user, found):
            raise Refused(403, "UNAUTHORIZED", f"object {moid}: no permission")
        return moid

    def _dynamic(self, moid: str) -> dict[str, str]:
        found = self._vcenter.find(moid)
        return {"id": moid, "type": found.kind._wsdlName if found is not None else "VirtualMachine"}


def _shown(found: Tag | Category) -> dict[str, Any]:
    if isinstance(found, Tag):
        return {
            "id": found.id,
            "name": found.name,
            "description": found.description,
            "category_id": found.category_id,
            "used_by": [],
        }
    return {
        "id": found.id,
        "name": found.name,
        "description": found.description,
        "cardinality": found.cardinality,
        "associable_types": found.associable_types,
        "used_by": [],
    }


def _action(query: dict[str, list[str]]) -> str:
    return (query.get("action") or query.get("~action") or [""])[0]
