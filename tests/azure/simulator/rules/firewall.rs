//! Whether a machine is reached from outside: a public address is closed until the rules of its groups open it.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::super::world::{Resource, World, list, text};

/// Where the SSH of a machine with this interface is reached: a Standard address is closed until a rule opens it.
pub fn reached(world: &World, interface: &str, port: u16) -> Option<SocketAddr> {
    let nic = world.find(interface)?;
    let configuration = list(&nic.body, "/properties/ipConfigurations").iter();
    let configuration = configuration
        .clone()
        .find(|it| !text(it, "/properties/publicIPAddress/id").is_empty())?;
    let address = world.find(text(configuration, "/properties/publicIPAddress/id"))?;
    let address: IpAddr = text(&address.inner, "/address").parse().ok()?;
    let subnet = world.find(text(configuration, "/properties/subnet/id"))?;
    let groups: Vec<&Resource> = [&nic.body, &subnet.body]
        .iter()
        .map(|body| text(body, "/properties/networkSecurityGroup/id"))
        .filter(|id| !id.is_empty())
        .filter_map(|id| world.find(id))
        .collect();
    let open = !groups.is_empty() && groups.iter().all(|group| admits(&group.body, port));
    open.then_some(SocketAddr::new(address, port))
}

/// Whether the first inbound rule about a TCP port lets it in.
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
