//! What a bake on Azure runs on: `[machine.azure]`.
//!
//! In: the table. Out: an [`AzureMachine`] that can be reached. Azure is not asked whether a size or a subnet exists.

use std::collections::BTreeMap;

use super::values::{group, plain, range, resource};
use super::{Address, AzureMachine, Security, TAG_PREFIX};
use crate::definition::document::{Item, Table};
use crate::definition::options::choice;
use crate::definition::problem::{Location, Problem};
use crate::definition::variables::Variables;

/// Reads `[machine.azure]`.
pub(super) fn read(mut table: Table, variables: &Variables) -> Result<AzureMachine, Problem> {
    table.only(&[
        "location",
        "vm_size",
        "zone",
        "disk_gib",
        "disk_type",
        "security",
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
    let whole = table.at.clone();
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
    found.value(placed(&mut table, variables, &mut machine));
    shaped(&mut table, variables, &mut machine);
    if let Some(tags) = found.value(table.take_table("tags")).flatten() {
        machine.tags = found.value(read_tags(tags, variables)).unwrap_or_default();
    }
    location.map(|_| machine).ok_or_else(|| whole.described())
}

/// Reads the keys of a machine that say what it is.
fn shaped(table: &mut Table, variables: &Variables, machine: &mut AzureMachine) {
    let words = |expected| move |item| plain(item, variables, expected);
    table.set(
        "vm_size",
        &mut machine.vm_size,
        words("a size, as in `Standard_D2s_v5`"),
    );
    table.set("zone", &mut machine.zone, |item| {
        plain(item, variables, "a zone, as in `1`").map(Some)
    });
    table.set("disk_gib", &mut machine.disk_gib, |item| {
        variables.integer(item, 4, 4095).map(Some)
    });
    table.set(
        "disk_type",
        &mut machine.disk_type,
        words("a kind of disk, as in `Premium_LRS`"),
    );
    let kinds = [
        ("standard", Security::Standard),
        ("trusted-launch", Security::TrustedLaunch),
    ];
    table.set("security", &mut machine.security, |item| {
        choice(item, variables, &kinds)
    });
    table.set("spot", &mut machine.spot, |item| variables.flag(item));
    table.set("boot_timeout_s", &mut machine.boot_timeout_s, |item| {
        variables.integer(item, 30, 3600).map(u64::from)
    });
    let found = table.found.clone();
    table.set("identities", &mut machine.identities, |item| {
        let at = item.at.clone();
        let identity = |item| {
            let types = "Microsoft.ManagedIdentity/userAssignedIdentities";
            resource(item, variables, types, |kinds| {
                kinds == ["userAssignedIdentities"]
            })
        };
        found.all(&at, item.list()?.into_iter().map(identity))
    });
}

/// Reads the keys of a machine that say where it is and how it is reached.
fn placed(
    table: &mut Table,
    variables: &Variables,
    machine: &mut AzureMachine,
) -> Result<(), Problem> {
    let whole = table.at.clone();
    let found = table.found.clone();
    table.set("resource_group", &mut machine.resource_group, |item| {
        group(item, variables).map(Some)
    });
    let mut has_subnet = false;
    if let Some(item) = table.take("subnet") {
        has_subnet = true;
        let types = "Microsoft.Network/virtualNetworks/subnets";
        machine.subnet = found.value(resource(item, variables, types, |kinds| {
            kinds == ["virtualNetworks", "subnets"]
        }));
    }
    let ways = [("public", Address::Public), ("private", Address::Private)];
    table.set("address", &mut machine.address, |item| {
        choice(item, variables, &ways)
    });
    let allowed = table.take("allow_from");
    let says_who = allowed.is_some();
    if let Some(item) = allowed {
        let at = item.at.clone();
        let ranges = variables.texts(item).and_then(|texts| {
            let ranges = texts.into_iter();
            found.all(&at, ranges.map(|(at, text)| range(&at, text)))
        });
        machine.allow_from = found.value(ranges).unwrap_or_default();
    }
    table.set("ssh_port", &mut machine.ssh_port, |item| {
        let at = item.at.clone();
        let port = variables.integer(item, 1, 65535)?;
        u16::try_from(port).map_err(|_| at.problem("no port; expected 1 to 65535"))
    });
    reachable(&whole, machine, says_who, has_subnet)
}

/// Whether a machine can be reached as the table says.
fn reachable(
    table: &Location,
    machine: &AzureMachine,
    says_who: bool,
    has_subnet: bool,
) -> Result<(), Problem> {
    match machine.address {
        // A variable that is empty so far is no matter until the builder is Azure.
        Address::Public if !says_who => Err(table
            .below("allow_from")
            .problem("missing; expected the addresses that bakes are run from")
            .hint("as in `allow_from = [\"203.0.113.7\"]`, or `address = \"private\"` with a `subnet`")),
        Address::Private if !has_subnet => Err(table
            .below("subnet")
            .problem("missing; expected the id of a subnet that this machine reaches")
            .hint("a machine without a public address is reached through a network that exists already")),
        _ => Ok(()),
    }
}

/// At most 50 tags with names of 512 and values of 256 characters, and names that differ in more than case:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources>. Some are ours.
fn read_tags(table: Table, variables: &Variables) -> Result<BTreeMap<String, String>, Problem> {
    let (at, found) = (table.at.clone(), table.found.clone());
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
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
                .hint("our own tags are added by themselves"));
        }
        if let Some(other) = seen.insert(name.to_lowercase(), name.clone()) {
            return Err(at
                .problem(format!(
                    "differs from `{other}` in case alone, and is one tag with it to Azure; expected one of them"
                ))
                .hint("remove one"));
        }
        Ok((name, value))
    };
    let tags = found.all(&at, table.items().into_iter().map(tag))?;
    if tags.len() > 40 {
        return Err(at
            .problem("more than 40 tags; Azure takes 50, and some are ours")
            .hint("remove some"));
    }
    Ok(tags.into_iter().collect())
}
