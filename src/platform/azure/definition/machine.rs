//! Reads `[machine.azure]` into an [`AzureMachine`] that SSH can reach.
//! Azure is not asked if a size or a subnet exists.

use std::collections::BTreeMap;

use super::values::{group, plain, range, resource};
use super::{Address, AzureMachine, DiskController, Security, TAG_PREFIX};
use crate::definition::document::{Item, Table};
use crate::definition::options::choice;
use crate::definition::variables::Variables;
use crate::definition::{Location, Problem};

/// Reads `[machine.azure]`.
pub(super) fn read(mut table: Table, variables: &Variables) -> Result<AzureMachine, Problem> {
    table.reject_unknown(&[
        "location",
        "vm_size",
        "zone",
        "disk_gib",
        "disk_type",
        "security",
        "disk_controller",
        "spot",
        "resource_group",
        "subnet",
        "address",
        "allow_from",
        "identities",
        "ssh_port",
        "boot_timeout_s",
        "tags",
    ]);
    let table_location = table.at.clone();
    let found = table.found.clone();
    let location = table.required("location", "a region, as in \"westeurope\"", |item| {
        plain(item, variables, "a region, as in `westeurope`")
    });
    let mut machine = AzureMachine {
        location: location.clone().unwrap_or_default(),
        vm_size: String::from("Standard_D2s_v5"),
        zone: None,
        disk_gib: None,
        disk_type: String::from("Premium_LRS"),
        security: Security::Standard,
        disk_controller: DiskController::Scsi,
        spot: false,
        resource_group: None,
        subnet: None,
        address: Address::Public,
        allow_from: Vec::new(),
        identities: Vec::new(),
        ssh_port: 22,
        boot_timeout_s: 600,
        tags: BTreeMap::new(),
    };
    found.ok_or_record(read_network(&mut table, variables, &mut machine));
    read_shape(&mut table, variables, &mut machine);
    if let Some(tags) = found.ok_or_record(table.take_table("tags")).flatten() {
        machine.tags = found
            .ok_or_record(read_tags(tags, variables))
            .unwrap_or_default();
    }
    location
        .map(|_| machine)
        .ok_or_else(|| table_location.already_reported())
}

/// Reads size, disk, security and identities of a machine.
fn read_shape(table: &mut Table, variables: &Variables, machine: &mut AzureMachine) {
    let plain_name = |expected| move |item| plain(item, variables, expected);
    table.read_into(
        "vm_size",
        &mut machine.vm_size,
        plain_name("a size, as in `Standard_D2s_v5`"),
    );
    table.read_into("zone", &mut machine.zone, |item| {
        plain(item, variables, "a zone, as in `1`").map(Some)
    });
    table.read_into("disk_gib", &mut machine.disk_gib, |item| {
        variables.integer(item, 4, 4095).map(Some)
    });
    table.read_into(
        "disk_type",
        &mut machine.disk_type,
        plain_name("a kind of disk, as in `Premium_LRS`"),
    );
    let kinds = [
        ("standard", Security::Standard),
        ("trusted-launch", Security::TrustedLaunch),
    ];
    table.read_into("security", &mut machine.security, |item| {
        choice(item, variables, &kinds)
    });
    let controllers = [
        ("scsi", DiskController::Scsi),
        ("nvme", DiskController::Nvme),
    ];
    table.read_into("disk_controller", &mut machine.disk_controller, |item| {
        choice(item, variables, &controllers)
    });
    table.read_into("spot", &mut machine.spot, |item| variables.flag(item));
    table.read_into("boot_timeout_s", &mut machine.boot_timeout_s, |item| {
        variables.integer(item, 30, 3600).map(u64::from)
    });
    let found = table.found.clone();
    table.read_into("identities", &mut machine.identities, |item| {
        let at = item.at.clone();
        let identity = |item| {
            let types = "Microsoft.ManagedIdentity/userAssignedIdentities";
            resource(item, variables, types, |kinds| {
                kinds == ["userAssignedIdentities"]
            })
        };
        found.all_or_record(&at, item.list()?.into_iter().map(identity))
    });
}

/// Reads the location and network keys of a machine.
fn read_network(
    table: &mut Table,
    variables: &Variables,
    machine: &mut AzureMachine,
) -> Result<(), Problem> {
    let table_location = table.at.clone();
    let found = table.found.clone();
    table.read_into("resource_group", &mut machine.resource_group, |item| {
        group(item, variables).map(Some)
    });
    let mut has_subnet = false;
    if let Some(item) = table.take("subnet") {
        has_subnet = true;
        let types = "Microsoft.Network/virtualNetworks/subnets";
        machine.subnet = found.ok_or_record(resource(item, variables, types, |kinds| {
            kinds == ["virtualNetworks", "subnets"]
        }));
    }
    let kinds_of_address = [("public", Address::Public), ("private", Address::Private)];
    table.read_into("address", &mut machine.address, |item| {
        choice(item, variables, &kinds_of_address)
    });
    let allowed = table.take("allow_from");
    let has_allow_from = allowed.is_some();
    if let Some(item) = allowed {
        let at = item.at.clone();
        let ranges = variables.texts(item).and_then(|texts| {
            let ranges = texts.into_iter();
            found.all_or_record(&at, ranges.map(|(at, text)| range(&at, text)))
        });
        machine.allow_from = found.ok_or_record(ranges).unwrap_or_default();
    }
    table.read_into("ssh_port", &mut machine.ssh_port, |item| {
        let at = item.at.clone();
        let port = variables.integer(item, 1, 65535)?;
        u16::try_from(port).map_err(|_| at.problem("no port; expected 1 to 65535"))
    });
    check_reachable(&table_location, machine, has_allow_from, has_subnet)
}

/// Refuses a machine that SSH cannot reach.
fn check_reachable(
    table: &Location,
    machine: &AzureMachine,
    has_allow_from: bool,
    has_subnet: bool,
) -> Result<(), Problem> {
    match machine.address {
        // An empty variable is accepted here: only a build on Azure needs a value.
        Address::Public if !has_allow_from => Err(table
            .below("allow_from")
            .problem("missing; expected the addresses that builds are started from")
            .with_hint(
                "Add `allow_from = [\"203.0.113.7\"]`, or `address = \"private\"` with a `subnet`.",
            )),
        Address::Private if !has_subnet => Err(table
            .below("subnet")
            .problem("missing; expected the id of a subnet that this host can reach")
            .with_hint("Add the id of an existing `subnet`, or use `address = \"public\"`.")),
        _ => Ok(()),
    }
}

/// Reads the tags by Azure's limits: 50 tags, of which vault-bake sets some, with names of 512 and
/// values of 256 characters. Names are compared without case:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources>.
fn read_tags(table: Table, variables: &Variables) -> Result<BTreeMap<String, String>, Problem> {
    let (at, found) = (table.at.clone(), table.found.clone());
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let tag = |(name, item): (String, Item)| {
        let at = item.at.clone();
        let value = variables.text(item)?;
        let refused = name.is_empty()
            || name.chars().count() > 512
            || name.contains(['<', '>', '%', '&', '\\', '?', '/']);
        if refused
            || name.to_ascii_lowercase().starts_with(TAG_PREFIX)
            || value.chars().count() > 256
        {
            return Err(at
                .problem("not a tag; expected a name without `<>%&\\?/`, not beginning with `vault-bake-`, and a value of up to 256 characters")
                .with_hint("Rename or shorten it. Tags of vault-bake are set automatically."));
        }
        if let Some(other) = names.insert(name.to_lowercase(), name.clone()) {
            return Err(at
                .problem(format!(
                    "differs from `{other}` only in case, which is the same tag to Azure; expected one of them"
                    ))
                    .with_hint("Remove one of them."));
        }
        Ok((name, value))
    };
    let tags = found.all_or_record(&at, table.items().into_iter().map(tag))?;
    if tags.len() > 40 {
        return Err(at
            .problem("more than 40 tags; Azure allows 50, of which vault-bake sets some")
            .with_hint("Remove some tags."));
    }
    Ok(tags.into_iter().collect())
}
