//! Decides whether network security groups admit SSH to a VM.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::super::world::{CloudState, Resource, list, text};

/// Returns the SSH address of a VM with this interface.
///
/// A Standard public address is closed until a rule opens it. A private one is open in its network,
/// which includes this computer if the address is on loopback, unless a group closes it.
pub fn ssh_address(cloud: &CloudState, interface: &str, port: u16) -> Option<SocketAddr> {
    let nic = cloud.find(interface)?;
    let configurations = list(&nic.body, "/properties/ipConfigurations");
    let public = configurations
        .iter()
        .find(|it| !text(it, "/properties/publicIPAddress/id").is_empty());
    let configuration = public.or(configurations.first())?;
    let address = match public {
        Some(public) => {
            let address = cloud.find(text(public, "/properties/publicIPAddress/id"))?;
            text(&address.inner, "/address")
        }
        None => text(&nic.inner, "/private"),
    };
    let address: IpAddr = address.parse().ok()?;
    let subnet = cloud.find(text(configuration, "/properties/subnet/id"))?;
    let groups: Vec<&Resource> = [&nic.body, &subnet.body]
        .iter()
        .map(|body| text(body, "/properties/networkSecurityGroup/id"))
        .filter(|id| !id.is_empty())
        .filter_map(|id| cloud.find(id))
        .collect();
    let inside = public.is_none() && address.is_loopback();
    let open = match groups.is_empty() {
        true => inside,
        false => groups.iter().all(|group| admits(&group.body, port)),
    };
    open.then_some(SocketAddr::new(address, port))
}

/// Returns whether the first inbound rule for a TCP port allows it.
fn admits(group: &Value, port: u16) -> bool {
    let mut rules: Vec<&Value> = list(group, "/properties/securityRules")
        .iter()
        .map(|rule| &rule["properties"])
        .filter(|rule| {
            text(rule, "/direction") == "Inbound"
                && ["*", "tcp"].contains(&text(rule, "/protocol").to_lowercase().as_str())
        })
        .filter(|rule| {
            let many = list(rule, "/destinationPortRanges")
                .iter()
                .filter_map(Value::as_str);
            many.chain(rule["destinationPortRange"].as_str())
                .any(|range| covers(range, port))
        })
        .collect();
    rules.sort_by_key(|rule| rule["priority"].as_i64());
    rules
        .first()
        .is_some_and(|rule| text(rule, "/access") == "Allow")
}

fn covers(range: &str, port: u16) -> bool {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let within = |from: u16, to: u16| (from..=to).contains(&port);
    range == "*"
        || from
            .parse()
            .ok()
            .zip(to.parse().ok())
            .is_some_and(|(from, to)| within(from, to))
}
