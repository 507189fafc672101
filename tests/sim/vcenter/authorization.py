"""Who may do what: roles on objects of the inventory, inherited by what is below, enforced at every call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.inventory import Entity
from tests.sim.vcenter.objects import Call, Simulated, all_served, serves

VISIBLE = ("System.Anonymous", "System.Read", "System.View")
ADMIN = "Admin"
READ_ONLY = "ReadOnly"
NO_ACCESS = "NoAccess"


@dataclass
class Role:
    """A name for privileges; None means all there are."""

    id: int
    name: str
    privileges: frozenset[str] | None
    system: bool = False

    def has(self, privilege: str) -> bool:
        return self.privileges is None or privilege in self.privileges


@dataclass
class Permission:
    """A user's role on an object."""

    user: str
    role: Role
    entity: Entity
    propagates: bool


class Authorization(Simulated):
    """`set` gives somebody a role; the nearest permission above an object counts."""

    kind = vim.AuthorizationManager
    shown = {
        "privilegeList": lambda self: [
            vim.AuthorizationManager.Privilege(
                privId=each,
                name=each.rpartition(".")[2],
                privGroupName=each.rpartition(".")[0],
                onParent=False,
            )
            for each in sorted(self.known_privileges())
        ],
        "roleList": lambda self: [self.describe(each) for each in self.roles.values()],
    }

    def __init__(self, vcenter: Any, moid: str) -> None:
        super().__init__(vcenter, moid)
        self.roles: dict[str, Role] = {}
        self.permissions: list[Permission] = []
        self.privileges: set[str] = set(VISIBLE)
        self.add_role(ADMIN, None, role_id=-1)
        self.add_role(READ_ONLY, VISIBLE, role_id=-2)
        self.add_role(NO_ACCESS, (), role_id=-5)

    def add_role(self, name: str, privileges: Any, role_id: int | None = None) -> Role:
        number = 500 + len(self.roles) if role_id is None else role_id
        visible = () if role_id == -5 else VISIBLE
        held = None if privileges is None else frozenset({*privileges, *visible})
        role = self.roles[name] = Role(number, name, held, system=role_id is not None)
        self.privileges |= held or set()
        return role

    def set(self, user: str, role: str, entity: Entity, *, propagates: bool = True) -> None:
        self.permissions = [each for each in self.permissions if (each.user, each.entity) != (user.lower(), entity)]
        self.permissions.append(Permission(user.lower(), self.roles[role], entity, propagates))
        self.vcenter.changes.note_structure()

    def role_on(self, user: str, entity: Entity) -> Role | None:
        for distance, here in enumerate(entity.ancestors()):
            for each in self.permissions:
                if each.user == user and each.entity is here and (distance == 0 or each.propagates):
                    return each.role
        return None

    def holds(self, user: str, privilege: str, on: Simulated) -> bool:
        """What is no part of the inventory counts as its root."""
        entity = _entity_of(on) or self.vcenter.root
        role = self.role_on(user, entity)
        return role is not None and role.has(privilege)

    def need(self, user: str, privilege: str, on: Simulated) -> None:
        """Raises NoPermission."""
        if privilege and not self.holds(user, privilege, on):
            raise vim.fault.NoPermission(
                object=(_entity_of(on) or self.vcenter.root).ref,
                privilegeId=privilege,
                msg="Permission to perform this operation was denied.",
            )

    def sees(self, user: str, on: Simulated) -> bool:
        mine = [each for each in self.permissions if each.user == user]
        if len(mine) == 1 and mine[0].entity is self.vcenter.root and mine[0].role.has("System.Read"):
            return mine[0].propagates or on is self.vcenter.root
        entity = _entity_of(on)
        return entity is None or self.holds(user, "System.Read", entity) or self._leads_to_visible(user, entity)

    def _leads_to_visible(self, user: str, entity: Entity) -> bool:
        """What is above something that a user may see, he sees too."""
        mine = [each.entity for each in self.permissions if each.user == user and each.role.has("System.View")]
        return any(entity in each.ancestors() for each in mine)

    def on(self, entity: Entity) -> list[Any]:
        return [_described(each) for each in self.permissions if each.entity is entity]

    def known_privileges(self) -> set[str]:
        return self.privileges | {each.privilege for each in all_served() if each.privilege}

    def describe(self, role: Role) -> Any:
        held = self.known_privileges() if role.privileges is None else role.privileges
        return vim.AuthorizationManager.Role(
            roleId=role.id,
            system=role.system,
            name=role.name,
            info=vim.Description(label=role.name, summary=role.name),
            privilege=sorted(held),
        )


def _entity_of(on: Simulated) -> Entity | None:
    if isinstance(on, Entity):
        return on
    return getattr(on, "machine", None)


def _described(permission: Permission) -> Any:
    return vim.AuthorizationManager.Permission(
        entity=permission.entity.ref,
        principal=permission.user,
        group=False,
        roleId=permission.role.id,
        propagate=permission.propagates,
    )


@serves(vim.AuthorizationManager, "HasPrivilegeOnEntities")
def has_on_entities(
    call: Call, authorization: Authorization, entity: list[Any], sessionId: str, privId: list[str] | None = None
) -> list[Any]:
    user = _user_of(call, sessionId)
    return [
        vim.AuthorizationManager.EntityPrivilege(
            entity=each,
            privAvailability=[
                vim.AuthorizationManager.PrivilegeAvailability(
                    privId=privilege, isGranted=authorization.holds(user, privilege, call.vcenter.need(each))
                )
                for privilege in privId or []
            ],
        )
        for each in entity
    ]


@serves(vim.AuthorizationManager, "HasPrivilegeOnEntity")
def has_on_entity(
    call: Call, authorization: Authorization, entity: Any, sessionId: str, privId: list[str] | None = None
) -> list[bool]:
    user = _user_of(call, sessionId)
    return [authorization.holds(user, privilege, call.vcenter.need(entity)) for privilege in privId or []]


@serves(vim.AuthorizationManager, "HasUserPrivilegeOnEntities")
def user_has_on_entities(
    call: Call, authorization: Authorization, entities: list[Any], userName: str, privId: list[str] | None = None
) -> list[Any]:
    return [
        vim.AuthorizationManager.EntityPrivilege(
            entity=each,
            privAvailability=[
                vim.AuthorizationManager.PrivilegeAvailability(
                    privId=privilege,
                    isGranted=authorization.holds(userName.lower(), privilege, call.vcenter.need(each)),
                )
                for privilege in privId or []
            ],
        )
        for each in entities
    ]


@serves(vim.AuthorizationManager, "FetchUserPrivilegeOnEntities")
def fetch_privileges(call: Call, authorization: Authorization, entities: list[Any], userName: str) -> list[Any]:
    found = []
    for each in entities:
        role = authorization.role_on(userName.lower(), call.vcenter.need(each))
        held = [] if role is None else authorization.describe(role).privilege
        found.append(vim.AuthorizationManager.UserPrivilegeResult(entity=each, privileges=held))
    return found


@serves(vim.AuthorizationManager, "RetrieveEntityPermissions")
def entity_permissions(call: Call, authorization: Authorization, entity: Any, inherited: bool) -> list[Any]:
    here = list(call.vcenter.need(entity).ancestors())
    return [_described(each) for each in authorization.permissions if each.entity in (here if inherited else here[:1])]


def _user_of(call: Call, session: str) -> str:
    found = call.vcenter.sessions.by_key.get(session)
    if found is None:
        raise vim.fault.NotFound(msg="no such session")
    return str(found.user)
