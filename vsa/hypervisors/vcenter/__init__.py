"""A vCenter, an ESXi host or VMware Cloud on AWS as a hypervisor. Nothing outside this room knows pyVmomi."""
