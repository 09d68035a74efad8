"""Drives a simulated subscription through a whole build with Microsoft's clients and pollers.

Takes URL, CA file, subscription id and token as arguments; prints the result of each step.
"""

import sys
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

URL, CA, SUBSCRIPTION, TOKEN = sys.argv[1:5]
GROUP = "rg"
LOCATION = "westeurope"


class StaticCredential:
    """A credential with a fixed token."""

    def get_token(self, *scopes, **kwargs):
        return AccessToken(TOKEN, int(time.time()) + 3600)


def client(kind):
    return kind(
        StaticCredential(),
        SUBSCRIPTION,
        base_url=URL,
        credential_scopes=[URL + "/.default"],
        connection_verify=CA,
        polling_interval=0,
    )


compute, network, resource = map(
    client,
    [ComputeManagementClient, NetworkManagementClient, ResourceManagementClient],
)


def report(step, *what):
    print(step + ":", *what, flush=True)


def wait_for(step, poller):
    """Waits with the client's poller."""
    result = poller.result(timeout=60)
    state = getattr(result, "provisioning_state", None)
    if result is not None and state is None:
        state = getattr(getattr(result, "properties", None), "provisioning_state", None)
    report(step, type(result).__name__, state, poller.status())
    return result


def refused(step, kind, act):
    try:
        act()
    except kind as error:
        # The format of a failure depends on the style, its code does not.
        code = error.error.code if getattr(error, "error", None) else None
        report(step, type(error).__name__, code)
    else:
        report(step, "was not refused")


group = resource.resource_groups.create_or_update(
    GROUP, {"location": LOCATION, "tags": {"team": "vault"}}
)
report("group", type(group).__name__, group.properties.provisioning_state, group.tags)

nsg = wait_for(
    "firewall",
    network.network_security_groups.begin_create_or_update(
        GROUP,
        "nsg",
        {
            "location": LOCATION,
            "properties": {
                "securityRules": [
                    {
                        "name": "ssh",
                        "properties": {
                            "priority": 100,
                            "direction": "Inbound",
                            "access": "Allow",
                            "protocol": "Tcp",
                            "sourceAddressPrefix": "192.0.2.1/32",
                            "sourcePortRange": "*",
                            "destinationAddressPrefix": "*",
                            "destinationPortRange": "2222",
                        },
                    }
                ]
            },
        },
    ),
)
vnet = wait_for(
    "network",
    network.virtual_networks.begin_create_or_update(
        GROUP,
        "vnet",
        {
            "location": LOCATION,
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "subnets": [
                    {
                        "name": "default",
                        "properties": {
                            "addressPrefix": "10.0.0.0/24",
                            "defaultOutboundAccess": False,
                            "networkSecurityGroup": {"id": nsg.id},
                        },
                    }
                ],
            },
        },
    ),
)
subnet = network.subnets.get(GROUP, "vnet", "default")
report("subnet", type(subnet).__name__, subnet.name)
address = wait_for(
    "address",
    network.public_ip_addresses.begin_create_or_update(
        GROUP,
        "ip",
        {
            "location": LOCATION,
            "sku": {"name": "Standard", "tier": "Regional"},
            "properties": {"publicIPAllocationMethod": "Static"},
        },
    ),
)
nic = wait_for(
    "interface",
    network.network_interfaces.begin_create_or_update(
        GROUP,
        "nic",
        {
            "location": LOCATION,
            "properties": {
                "ipConfigurations": [
                    {
                        "name": "one",
                        "properties": {
                            "subnet": {"id": subnet.id},
                            "publicIPAddress": {
                                "id": address.id,
                                "properties": {"deleteOption": "Delete"},
                            },
                        },
                    }
                ]
            },
        },
    ),
)
refused(
    "no network while it is used",
    HttpResponseError,
    lambda: network.virtual_networks.begin_delete(GROUP, "vnet").result(timeout=60),
)


def machine(name, disk):
    return {
        "location": LOCATION,
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": {
                "imageReference": {
                    "publisher": "Debian",
                    "offer": "debian-12",
                    "sku": "12-gen2",
                    "version": "latest",
                },
                "osDisk": {
                    "name": disk,
                    "createOption": "FromImage",
                    "deleteOption": "Delete",
                    "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
                },
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": "baker",
                "customData": "I2Nsb3VkLWNvbmZpZwo=",
                "linuxConfiguration": {
                    "disablePasswordAuthentication": True,
                    "ssh": {
                        "publicKeys": [
                            {
                                "path": "/home/baker/.ssh/authorized_keys",
                                "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000ab x",
                            }
                        ]
                    },
                },
            },
            "networkProfile": {
                "networkInterfaces": [
                    {
                        "id": nic.id,
                        "properties": {"primary": True, "deleteOption": "Delete"},
                    }
                ]
            },
            "securityProfile": {"securityType": "Standard"},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
        },
    }


wait_for(
    "machine",
    compute.virtual_machines.begin_create_or_update(GROUP, "vm", machine("vm", "disk")),
)
view = compute.virtual_machines.instance_view(GROUP, "vm")
report("it runs", sorted(status.code for status in view.statuses))
refused(
    "no interface while it is used",
    HttpResponseError,
    lambda: network.network_interfaces.begin_delete(GROUP, "nic").result(timeout=60),
)
refused(
    "no second machine on the interface",
    HttpResponseError,
    lambda: compute.virtual_machines.begin_create_or_update(
        GROUP, "vm2", machine("vm2", "disk2")
    ).result(timeout=60),
)
# The simulator answers the first two requests with 429, and the client retries.
disk = compute.disks.get(GROUP, "disk")
report("disk, after being throttled", type(disk).__name__, disk.properties.disk_size_gb)
refused(
    "an operation that ends as failed",
    HttpResponseError,
    lambda: compute.virtual_machines.begin_power_off(GROUP, "vm").result(timeout=60),
)
image = {
    "location": LOCATION,
    "properties": {
        "hyperVGeneration": "V2",
        "sourceVirtualMachine": {"id": compute.virtual_machines.get(GROUP, "vm").id},
        "storageProfile": {"zoneResilient": False},
    },
}
refused(
    "no image of what is not generalized",
    HttpResponseError,
    lambda: compute.images.begin_create_or_update(GROUP, "early", image).result(
        timeout=60
    ),
)
wait_for("stopped", compute.virtual_machines.begin_deallocate(GROUP, "vm"))
compute.virtual_machines.generalize(GROUP, "vm")
view = compute.virtual_machines.instance_view(GROUP, "vm")
report("it is sealed", sorted(status.code for status in view.statuses))
kept = wait_for("image", compute.images.begin_create_or_update(GROUP, "image", image))
report("image read back", compute.images.get(GROUP, "image").id == kept.id)

wait_for("gallery", compute.galleries.begin_create_or_update(GROUP, "shelf", {"location": LOCATION, "properties": {}}))
wait_for(
    "definition",
    compute.gallery_images.begin_create_or_update(
        GROUP,
        "shelf",
        "node",
        {
            "location": LOCATION,
            "properties": {
                "osType": "Linux",
                "osState": "Generalized",
                "hyperVGeneration": "V2",
                "architecture": "x64",
                "identifier": {"publisher": "us", "offer": "vault", "sku": "node"},
            },
        },
    ),
)
for name, source in [
    ("1.0.0", {"id": kept.id}),
    ("1.0.1", {"virtualMachineId": image["properties"]["sourceVirtualMachine"]["id"]}),
]:
    wait_for(
        "version " + name,
        compute.gallery_image_versions.begin_create_or_update(
            GROUP,
            "shelf",
            "node",
            name,
            {
                "location": LOCATION,
                "properties": {
                    "publishingProfile": {
                        "targetRegions": [
                            {"name": LOCATION, "regionalReplicaCount": 1},
                            {"name": "northeurope", "regionalReplicaCount": 1},
                        ]
                    },
                    "storageProfile": {"source": source},
                },
            },
        ),
    )
versions = compute.gallery_image_versions.list_by_gallery_image(GROUP, "shelf", "node")
report("versions", sorted(version.name for version in versions))
report("in the group", sorted(one.type + " " + one.name for one in resource.resources.list_by_resource_group(GROUP)))

wait_for("machine gone", compute.virtual_machines.begin_delete(GROUP, "vm", force_deletion=True))
for step, act in [
    ("machine", lambda: compute.virtual_machines.get(GROUP, "vm")),
    ("its disk", lambda: compute.disks.get(GROUP, "disk")),
    ("its interface", lambda: network.network_interfaces.get(GROUP, "nic")),
    ("its address", lambda: network.public_ip_addresses.get(GROUP, "ip")),
]:
    refused(step, ResourceNotFoundError, act)
refused(
    "no gallery while it has images",
    (ResourceExistsError, HttpResponseError),
    lambda: compute.galleries.begin_delete(GROUP, "shelf").result(timeout=60),
)
wait_for("group gone", resource.resource_groups.begin_delete(GROUP))
refused("group", ResourceNotFoundError, lambda: resource.resource_groups.get(GROUP))
