"""Custom attributes."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.inventory import Entity
from tests.sim.vcenter.objects import Call, Simulated, serves


class CustomFields(Simulated):
    """Definitions; values are with the objects."""

    kind = vim.CustomFieldsManager
    shown = {"field": lambda self: list(self.by_key.values())}

    def __init__(self, vcenter: Any, moid: str) -> None:
        super().__init__(vcenter, moid)
        self.by_key: dict[int, Any] = {}

    def add(self, name: str, kind: type | None = None) -> Any:
        """Raises DuplicateName."""
        if any(each.name == name for each in self.by_key.values()):
            raise vim.fault.DuplicateName(name=name, object=self.ref)
        made = vim.CustomFieldsManager.FieldDef(key=101 + len(self.by_key), name=name, type=str, managedObjectType=kind)
        self.by_key[made.key] = made
        self.touch()
        return made

    def of(self, kind: type) -> list[Any]:
        return [
            each
            for each in self.by_key.values()
            if each.managedObjectType is None or issubclass(kind, each.managedObjectType)
        ]

    def set(self, entity: Entity, name: str, value: str) -> None:
        """Define the attribute where it is new."""
        found = next((each for each in self.by_key.values() if each.name == name), None) or self.add(name)
        entity.custom[found.key] = value
        entity.touch()


@serves(vim.CustomFieldsManager, "AddCustomFieldDef", "Global.ManageCustomFields")
def add_field(
    call: Call, fields: CustomFields, name: str, moType: Any = None, fieldDefPolicy: Any = None, fieldPolicy: Any = None
) -> Any:
    return fields.add(name, moType)


@serves(vim.CustomFieldsManager, "SetField", "Global.SetCustomField")
def set_field(call: Call, fields: CustomFields, entity: Any, key: int, value: str) -> None:
    if key not in fields.by_key:
        raise vim.fault.NotFound(msg=f"no custom field {key}")
    found = call.vcenter.need(entity)
    found.custom[key] = value
    found.touch()


@serves(vim.ManagedEntity, "setCustomValue", "Global.SetCustomField")
def set_value(call: Call, entity: Entity, key: str, value: str) -> None:
    call.vcenter.custom_fields.set(entity, key, value)
