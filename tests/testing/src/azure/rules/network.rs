//! Security groups, virtual networks, subnets, public addresses, interfaces and NAT gateways.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::answer::Refusal;
use super::super::call::Call;
use super::super::kinds::{Kind, kind};
use super::super::resources::parent_of;
use super::super::world::{CloudState, Resource, list, mentions, text};
use super::{NAT, NIC, NO_REFERENCE, NSG, PUBLIC_IP, SUBNET, VM, VNET, referred};

pub fn security_group(body: &Value) -> Result<Value, Refusal> {
    let rules = list(body, "/properties/securityRules");
    let mut taken = Vec::new();
    for rule in rules {
        let priority = rule["properties"]["priority"].as_i64().unwrap_or(0);
        if !(100..=4096).contains(&priority) {
            let text = "The priority of a security rule is from 100 to 4096.";
            return Err(Refusal::new(400, "SecurityRuleInvalidPriority", text));
        }
        let place = (text(rule, "/properties/direction").to_owned(), priority);
        if taken.contains(&place) {
            let text = "Security rules of one direction have different priorities.";
            return Err(Refusal::new(400, "SecurityRuleConflict", text));
        }
        taken.push(place);
        let some = |names: [&str; 2]| {
            names
                .iter()
                .any(|name| !rule["properties"][*name].is_null())
        };
        if text(rule, "/name").is_empty()
            || !some(["sourceAddressPrefix", "sourceAddressPrefixes"])
            || !some(["destinationAddressPrefix", "destinationAddressPrefixes"])
            || !some(["destinationPortRange", "destinationPortRanges"])
        {
            let text = "A security rule has a name, a source, a destination and ports.";
            return Err(Refusal::new(400, "SecurityRuleParameterMissing", text));
        }
    }
    Ok(json!({}))
}

pub fn virtual_network(
    cloud: &CloudState,
    call: &Call,
    body: &mut Value,
) -> Result<Value, Refusal> {
    let space = prefixes(list(body, "/properties/addressSpace/addressPrefixes"))?;
    if space.is_empty() {
        let text = "A virtual network has an address space.";
        return Err(Refusal::new(400, "AddressSpaceMissing", text));
    }
    let subnets = list(body, "/properties/subnets").to_vec();
    let mut taken: Vec<Network> = Vec::new();
    for subnet in &subnets {
        let own = own_prefixes(subnet)?;
        fits_in(&own, &space, &taken, text(subnet, "/name"))?;
        taken.extend(own);
        attached(cloud, call, subnet)?;
    }
    for id in cloud.below(&call.id) {
        let name = id.rsplit('/').next().unwrap_or_default();
        let kept = subnets
            .iter()
            .any(|subnet| text(subnet, "/name").eq_ignore_ascii_case(name));
        if !kept && !body["properties"]["subnets"].is_null() {
            deletable(cloud, &id, kind(SUBNET).expect("a kind"))?;
        }
    }
    Ok(json!({}))
}

/// Stores the subnets in the body of a virtual network as separate resources.
pub fn store_subnets(cloud: &mut CloudState, call: &Call) {
    let Some(network) = cloud.find_mut(&call.id) else {
        return;
    };
    let subnets = network.body["properties"]
        .as_object_mut()
        .and_then(|properties| properties.remove("subnets"));
    let Some(subnets) = subnets.as_ref().and_then(Value::as_array) else {
        return;
    };
    let before: Vec<Resource> = cloud
        .below(&call.id)
        .iter()
        .filter_map(|id| cloud.resources.remove(id))
        .collect();
    for subnet in subnets {
        let id = format!("{}/subnets/{}", call.shown, text(subnet, "/name"));
        let mut subnet = subnet.clone();
        let old = before.iter().find(|old| old.id.eq_ignore_ascii_case(&id));
        decide_outbound_access(&mut subnet, old, &call.version);
        let resource = Resource {
            id: id.clone(),
            kind: kind(SUBNET).expect("a kind"),
            body: json!({ "properties": subnet["properties"] }),
            state: "Succeeded".to_owned(),
            hidden: 0,
            inner: json!({}),
            revision: 1,
        };
        cloud.resources.insert(id.to_lowercase(), resource);
    }
}

pub fn subnet(cloud: &CloudState, call: &Call, body: &mut Value) -> Result<Value, Refusal> {
    let parent = cloud.find(parent_of(&call.id)).expect("a parent");
    let space = prefixes(list(
        &parent.body,
        "/properties/addressSpace/addressPrefixes",
    ))?;
    let mut taken = Vec::new();
    for id in cloud.below(&parent.id) {
        if id != call.id {
            taken.extend(own_prefixes(&cloud.resources[&id].body)?);
        }
    }
    fits_in(&own_prefixes(body)?, &space, &taken, call.own_name())?;
    attached(cloud, call, body)?;
    decide_outbound_access(body, cloud.find(&call.id), &call.version);
    Ok(json!({}))
}

/// The first api-version whose new subnets have no default outbound access:
/// <https://learn.microsoft.com/azure/virtual-network/ip-services/default-outbound-access>
const PRIVATE_SUBNETS: &str = "2025-07-01";

/// Sets the default outbound access of a subnet whose request does not name it.
fn decide_outbound_access(subnet: &mut Value, before: Option<&Resource>, version: &str) {
    let access = &mut subnet["properties"]["defaultOutboundAccess"];
    if access.is_null() {
        let old = before.map(|old| old.body["properties"]["defaultOutboundAccess"].clone());
        *access = old.unwrap_or_else(|| json!(version < PRIVATE_SUBNETS));
    }
}

/// Checks the security group and the NAT gateway of a subnet.
fn attached(cloud: &CloudState, call: &Call, subnet: &Value) -> Result<(), Refusal> {
    for (at, kind) in [
        ("/properties/networkSecurityGroup/id", NSG),
        ("/properties/natGateway/id", NAT),
    ] {
        let id = text(subnet, at);
        if !id.is_empty() {
            referred(cloud, call, id, kind, NO_REFERENCE)?;
        }
    }
    Ok(())
}

pub fn public_ip(
    cloud: &mut CloudState,
    _call: &Call,
    body: &mut Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    if text(body, "/sku/name") != "Standard" {
        let text =
            "Basic SKU public IP addresses cannot be created since 2025: name the Standard SKU.";
        return Err(Refusal::new(400, "BasicSkuPublicIpAddressRetired", text));
    }
    if text(body, "/properties/publicIPAllocationMethod") != "Static" {
        let text = "Standard sku publicIp must have AllocationMethod set to Static.";
        return Err(Refusal::new(
            400,
            "StandardSkuPublicIPAddressMustBeStatic",
            text,
        ));
    }
    if before.is_some() {
        return Ok(json!({}));
    }
    let location = text(body, "/location").to_owned();
    let used = cloud
        .of_kind(PUBLIC_IP)
        .filter(|ip| ip.location() == location);
    if used.count() >= cloud.config.public_addresses {
        let text = format!(
            "Cannot create more than {} public IP addresses for this subscription in this region.",
            cloud.config.public_addresses
        );
        return Err(Refusal::new(400, "PublicIPCountLimitReached", text));
    }
    // The simulator's port is unique on this computer, so addresses derived from it are too.
    let [high, low] = cloud.port.to_be_bytes();
    let taken: Vec<String> = cloud
        .of_kind(PUBLIC_IP)
        .map(|ip| text(&ip.inner, "/address").to_owned())
        .collect();
    let free = (1..=254)
        .map(|last| Ipv4Addr::new(127, high, low, last).to_string())
        .find(|address| !taken.contains(address));
    let Some(address) = free else {
        let text = "No more addresses are simulated.";
        return Err(Refusal::new(400, "PublicIPCountLimitReached", text));
    };
    Ok(json!({ "address": address }))
}

pub fn interface(
    cloud: &CloudState,
    call: &Call,
    body: &Value,
    before: Option<&Resource>,
) -> Result<Value, Refusal> {
    let configurations = list(body, "/properties/ipConfigurations");
    if configurations.is_empty() {
        let text = "A network interface has at least one IP configuration.";
        return Err(Refusal::new(
            400,
            "NetworkInterfaceMustHaveIpConfiguration",
            text,
        ));
    }
    for configuration in configurations {
        let subnet = text(configuration, "/properties/subnet/id");
        referred(cloud, call, subnet, SUBNET, NO_REFERENCE)?;
        let network = parent_of(subnet);
        referred(cloud, call, network, VNET, NO_REFERENCE)?;
        let address = text(configuration, "/properties/publicIPAddress/id");
        if !address.is_empty() {
            referred(cloud, call, address, PUBLIC_IP, NO_REFERENCE)?;
            let users = cloud.users(address, &[NIC, NAT]);
            if let Some(user) = users
                .iter()
                .find(|user| !user.eq_ignore_ascii_case(&call.id))
            {
                let text = format!(
                    "Resource {} is referencing public IP address {address} that is already allocated to resource {user}.",
                    call.shown
                );
                return Err(Refusal::new(400, "PublicIPAddressInUse", text));
            }
        }
    }
    let group = text(body, "/properties/networkSecurityGroup/id");
    if !group.is_empty() {
        referred(cloud, call, group, NSG, NO_REFERENCE)?;
    }
    if before.is_some() {
        return Ok(json!({}));
    }
    // Azure reserves the first four addresses of a subnet and the last.
    let subnet = configurations
        .first()
        .and_then(|one| cloud.find(text(one, "/properties/subnet/id")));
    let own = subnet
        .map(|subnet| own_prefixes(&subnet.body))
        .transpose()?;
    let (first, last) = own.and_then(|own| own.first().copied()).unwrap_or_default();
    let taken = u32::try_from(cloud.of_kind(NIC).count()).unwrap_or_default();
    let room = last.saturating_sub(first).saturating_sub(4).max(1);
    let private = Ipv4Addr::from(first + 4 + taken % room);
    Ok(json!({ "private": private.to_string() }))
}

pub fn nat_gateway(cloud: &CloudState, call: &Call, body: &Value) -> Result<Value, Refusal> {
    if !text(body, "/sku/name").starts_with("Standard") {
        let text = "A NAT gateway has the Standard SKU.";
        return Err(Refusal::new(400, "NatGatewaySkuInvalid", text));
    }
    for address in list(body, "/properties/publicIpAddresses") {
        referred(cloud, call, text(address, "/id"), PUBLIC_IP, NO_REFERENCE)?;
    }
    Ok(json!({}))
}

pub fn deletable(cloud: &CloudState, id: &str, kind: &Kind) -> Result<(), Refusal> {
    let (users, code) = match kind.name {
        NSG => (
            cloud.users(id, &[NIC, SUBNET]),
            "InUseNetworkSecurityGroupCannotBeDeleted",
        ),
        SUBNET => (cloud.users(id, &[NIC]), "InUseSubnetCannotBeDeleted"),
        VNET => {
            let subnets = cloud.below(id);
            let users = subnets
                .iter()
                .flat_map(|subnet| cloud.users(subnet, &[NIC]));
            (users.collect(), "InUseSubnetCannotBeDeleted")
        }
        PUBLIC_IP => (
            cloud.users(id, &[NIC, NAT]),
            "PublicIPAddressCannotBeDeleted",
        ),
        NIC => (cloud.users(id, &[VM]), "NicInUse"),
        _ => (cloud.users(id, &[SUBNET]), "NatGatewayInUse"),
    };
    let Some(user) = users.first() else {
        return Ok(());
    };
    let text = format!(
        "{} {id} is in use by {user} and cannot be deleted.",
        kind.name
    );
    Err(Refusal::new(400, code, text))
}

pub fn view(cloud: &CloudState, resource: &Resource, body: &mut Value) {
    match resource.kind.name {
        VNET => {
            let subnets: Vec<Value> = cloud
                .below(&resource.id)
                .iter()
                .map(|id| super::view(cloud, &cloud.resources[id], "", ""))
                .collect();
            body["properties"]["subnets"] = json!(subnets);
        }
        PUBLIC_IP if resource.provisioned() => {
            body["properties"]["ipAddress"] = resource.inner["address"].clone();
        }
        NIC => {
            if let Some(configurations) = body["properties"]["ipConfigurations"].as_array_mut() {
                for configuration in configurations {
                    let properties = &mut configuration["properties"];
                    properties["privateIPAddress"] = resource.inner["private"].clone();
                    properties["provisioningState"] = json!(resource.state);
                }
            }
            if let Some(user) = cloud.users(&resource.id, &[VM]).first() {
                body["properties"]["virtualMachine"] = json!({ "id": user });
            }
        }
        _ => {}
    }
}

/// Returns whether a resource of these kinds refers to another.
pub fn used(cloud: &CloudState, id: &str, kind: &str) -> Option<String> {
    let mut all = cloud.of_kind(kind);
    all.find(|other| mentions(&other.body, id))
        .map(|other| other.id.clone())
}

/// Returns the first and the last address of a network.
type Network = (u32, u32);

fn prefixes(texts: &[Value]) -> Result<Vec<Network>, Refusal> {
    texts
        .iter()
        .map(|text| network(text.as_str().unwrap_or_default()))
        .collect()
}

fn own_prefixes(subnet: &Value) -> Result<Vec<Network>, Refusal> {
    let many = list(subnet, "/properties/addressPrefixes");
    if many.is_empty() {
        return Ok(vec![network(text(subnet, "/properties/addressPrefix"))?]);
    }
    prefixes(many)
}

fn network(text: &str) -> Result<Network, Refusal> {
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let size = u32::MAX.checked_shr(bits).unwrap_or(0);
        (address & size == 0).then_some((address, address | size))
    });
    parsed.ok_or_else(|| {
        let text = format!("The address prefix '{text}' is not valid.");
        Refusal::new(400, "InvalidAddressPrefixFormat", text)
    })
}

fn fits_in(
    own: &[Network],
    space: &[Network],
    taken: &[Network],
    name: &str,
) -> Result<(), Refusal> {
    for (first, last) in own {
        if !space.iter().any(|(from, to)| from <= first && last <= to) {
            let text = format!(
                "Subnet '{name}' is not valid because its IP address range is outside the IP address range of virtual network."
            );
            return Err(Refusal::new(400, "NetcfgSubnetRangeOutsideVnet", text));
        }
        if taken.iter().any(|(from, to)| first <= to && from <= last) {
            let text = format!(
                "Subnet '{name}' is not valid because its IP address range overlaps with that of an existing subnet."
            );
            return Err(Refusal::new(400, "NetcfgSubnetRangesOverlap", text));
        }
    }
    Ok(())
}
