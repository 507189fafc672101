"""A vCenter of VMware Cloud on AWS: what a customer sees and may not touch, and what his CloudAdmin role allows."""

from __future__ import annotations

from typing import Any

from tests.sim.vcenter.authorization import READ_ONLY
from tests.sim.vcenter.inventory import Datastore, Folder, Pool, Portgroup, Switch

CLOUD_ADMIN = "CloudAdmin"
USER, PASSWORD = "cloudadmin@vmc.local", "Cloud-Secret-1"
MANAGEMENT = ("vcenter", "NSX-Manager-0", "NSX-Edge-0")

PRIVILEGES = (
    "Cryptographer.Access",
    "Datastore.AllocateSpace",
    "Datastore.Browse",
    "Datastore.FileManagement",
    "Datastore.UpdateVirtualMachineFiles",
    "Folder.Create",
    "Folder.Delete",
    "Folder.Move",
    "Folder.Rename",
    "Global.CancelTask",
    "Global.GlobalTag",
    "Global.ManageCustomFields",
    "Global.SetCustomField",
    "Network.Assign",
    "Resource.ApplyRecommendation",
    "Resource.AssignVMToPool",
    "Resource.ColdMigrate",
    "Resource.CreatePool",
    "Resource.HotMigrate",
    "Sessions.ValidateSession",
    "StorageProfile.View",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.ChangeTracking",
    "VirtualMachine.Config.DiskExtend",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Inventory.Move",
    "VirtualMachine.Inventory.Register",
    "VirtualMachine.Inventory.Unregister",
    "VirtualMachine.Provisioning.DiskRandomAccess",
    "VirtualMachine.Provisioning.DiskRandomRead",
    "VirtualMachine.Provisioning.GetVmFiles",
    "VirtualMachine.Provisioning.MarkAsTemplate",
    "VirtualMachine.Provisioning.MarkAsVM",
    "VirtualMachine.Provisioning.PutVmFiles",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.State.RenameSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
)


def furnish(vcenter: Any) -> None:
    """Make an empty vCenter one of the cloud. Its user for tests is the customer's."""
    vcenter.datacenter.name, vcenter.cluster.name = "SDDC-Datacenter", "Cluster-1"
    vcenter.named(Datastore, "datastore2").name = "WorkloadDatastore"
    management_store = vcenter.named(Datastore, "datastore1")
    management_store.name = "vsanDatastore"
    workload_store = vcenter.named(Datastore, "WorkloadDatastore")
    management_store.type = workload_store.type = "vsan"
    management_pool = Pool(vcenter, "Mgmt-ResourcePool", vcenter.cluster.pool, vcenter.cluster)
    pool = Pool(vcenter, "Compute-ResourcePool", vcenter.cluster.pool, vcenter.cluster)
    folders = {}
    for name in ("Discovered virtual machine", "Management VMs", "Templates", "Workloads"):
        folders[name] = Folder(vcenter, name, None, "v")
        vcenter.datacenter.machines.put(folders[name])
    segment = Portgroup(vcenter, "sddc-cgw-network-1", vcenter.datacenter, next(iter(vcenter.each(Switch))))
    for name in MANAGEMENT:
        vcenter.add_machine(
            name,
            [16 << 30],
            folder="Management VMs",
            pool=management_pool.name,
            datastore=management_store.name,
            networks=[],
        )
    vcenter.user, vcenter.password = USER, PASSWORD
    vcenter.sessions.password_by_user[USER] = PASSWORD
    grants = vcenter.authorization
    grants.add_role(CLOUD_ADMIN, PRIVILEGES)
    grants.set(USER, CLOUD_ADMIN, vcenter.root)
    for hidden in (folders["Management VMs"], management_pool, management_store):
        grants.set(USER, READ_ONLY, hidden)
    vcenter.workloads = {
        "folder": folders["Workloads"].name,
        "pool": pool.name,
        "datastore": workload_store.name,
        "networks": [segment.name],
    }
