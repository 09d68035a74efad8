"""Microsoft's own clients drive a simulated subscription through a whole bake, with their own pollers.

In: the subscription (URL, CA file, id, a bearer token) as arguments. Out: one line per step, with what the clients understood.
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
PLACE = "westeurope"


class Standing:
    """A credential that has its token already."""

    def get_token(self, *scopes, **kwargs):
        return AccessToken(TOKEN, int(time.time()) + 3600)


def client(kind):
    return kind(
        Standing(),
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


def say(step, *what):
    print(step + ":", *what, flush=True)


def made(step, poller):
    """Waits as the client does."""
    result = poller.result(timeout=60)
    state = getattr(result, "provisioning_state", None)
    if result is not None and state is None:
        state = getattr(getattr(result, "properties", None), "provisioning_state", None)
    say(step, type(result).__name__, state, poller.status())
    return result


def refused(step, kind, act):
    try:
        act()
    except kind as error:
        # How an operation that failed is told differs with the style, what is told does not.
        code = error.error.code if getattr(error, "error", None) else None
        say(step, type(error).__name__, code)
    else:
        say(step, "was not refused")


group = resource.resource_groups.create_or_update(
    GROUP, {"location": PLACE, "tags": {"team": "vault"}}
)
say("group", type(group).__name__, group.properties.provisioning_state, group.tags)

nsg = made(
    "firewall",
    network.network_security_groups.begin_create_or_update(
        GROUP,
        "nsg",
        {
            "location": PLACE,
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
vnet = made(
    "network",
    network.virtual_networks.begin_create_or_update(
        GROUP,
        "vnet",
        {
            "location": PLACE,
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
say("subnet", type(subnet).__name__, subnet.name)
address = made(
    "address",
    network.public_ip_addresses.begin_create_or_update(
        GROUP,
        "ip",
        {
            "location": PLACE,
            "sku": {"name": "Standard", "tier": "Regional"},
            "properties": {"publicIPAllocationMethod": "Static"},
        },
    ),
)
nic = made(
    "interface",
    network.network_interfaces.begin_create_or_update(
        GROUP,
        "nic",
        {
            "location": PLACE,
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
        "location": PLACE,
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


made(
    "machine",
    compute.virtual_machines.begin_create_or_update(GROUP, "vm", machine("vm", "disk")),
)
view = compute.virtual_machines.instance_view(GROUP, "vm")
say("it runs", sorted(status.code for status in view.statuses))
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
# The simulator answers the first two of these with 429, and the client repeats it by itself.
disk = compute.disks.get(GROUP, "disk")
say("disk, after being throttled", type(disk).__name__, disk.properties.disk_size_gb)
refused(
    "an operation that ends as failed",
    HttpResponseError,
    lambda: compute.virtual_machines.begin_power_off(GROUP, "vm").result(timeout=60),
)
image = {
    "location": PLACE,
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
made("stopped", compute.virtual_machines.begin_deallocate(GROUP, "vm"))
compute.virtual_machines.generalize(GROUP, "vm")
view = compute.virtual_machines.instance_view(GROUP, "vm")
say("it is sealed", sorted(status.code for status in view.statuses))
kept = made("image", compute.images.begin_create_or_update(GROUP, "image", image))
say("image read back", compute.images.get(GROUP, "image").id == kept.id)

made("gallery", compute.galleries.begin_create_or_update(GROUP, "shelf", {"location": PLACE, "properties": {}}))
made(
    "definition",
    compute.gallery_images.begin_create_or_update(
        GROUP,
        "shelf",
        "node",
        {
            "location": PLACE,
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
    made(
        "version " + name,
        compute.gallery_image_versions.begin_create_or_update(
            GROUP,
            "shelf",
            "node",
            name,
            {
                "location": PLACE,
                "properties": {
                    "publishingProfile": {
                        "targetRegions": [
                            {"name": PLACE, "regionalReplicaCount": 1},
                            {"name": "northeurope", "regionalReplicaCount": 1},
                        ]
                    },
                    "storageProfile": {"source": source},
                },
            },
        ),
    )
versions = compute.gallery_image_versions.list_by_gallery_image(GROUP, "shelf", "node")
say("versions", sorted(version.name for version in versions))
say("in the group", sorted(one.type + " " + one.name for one in resource.resources.list_by_resource_group(GROUP)))

made("machine gone", compute.virtual_machines.begin_delete(GROUP, "vm", force_deletion=True))
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
made("group gone", resource.resource_groups.begin_delete(GROUP))
refused("group", ResourceNotFoundError, lambda: resource.resource_groups.get(GROUP))
