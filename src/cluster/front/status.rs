//! Reads HAProxy's answers about its servers.
//! Takes the texts of two commands; returns the state of each server.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

/// The state of a server of the load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The name of the node.
    pub name: String,
    /// The address of Vault's listener.
    pub address: String,
    /// The traffic that the operator allows.
    pub mode: Mode,
    /// The result of the last probe.
    pub health: Health,
    /// HAProxy's words for the last probe, such as `L7STS 503 Service Unavailable`.
    pub probe: String,
    /// The number of open connections.
    pub connections: u64,
}

impl ServerStatus {
    /// Whether new connections may reach the node. HAProxy counts an unprobed node as up.
    pub fn takes_connections(&self) -> bool {
        self.mode == Mode::Ready && self.health != Health::Down
    }
}

/// The traffic that the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// New connections, while the probe succeeds.
    Ready,
    /// No new connections. Open ones continue, and probes go on.
    Drain,
    /// No new connections and no probes. Open connections continue.
    Maintenance,
}

/// The result of the last probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No probe has ended yet.
    Unknown,
    /// It succeeded.
    Up,
    /// It failed.
    Down,
}

/// Combines the answers of `show servers state` and `show stat … json`.
pub(super) fn parse(states: &str, statistics: &str) -> Result<Vec<ServerStatus>, String> {
    let modes = modes(states)?;
    let rows: Vec<Vec<Cell>> =
        serde_json::from_str(statistics).map_err(|error| error.to_string())?;
    let mut servers = Vec::new();
    for row in rows {
        let cells: HashMap<String, Value> = row
            .into_iter()
            .map(|cell| (cell.field.name, cell.value.value))
            .collect();
        let text = |name: &str| cells.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| cells.get(name).and_then(Value::as_u64).unwrap_or_default();
        let name = text("svname").to_owned();
        // A server that was added or removed between the two commands.
        let Some(mode) = modes.get(&name) else {
            continue;
        };
        // An asterisk marks a probe that is running; its code is not known yet.
        let result = text("check_status").trim_start_matches("* ");
        let code = match number("check_code") {
            0 => String::new(),
            code => code.to_string(),
        };
        let words = [result, &code, text("last_chk")];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        servers.push(ServerStatus {
            address: text("addr").to_owned(),
            mode: *mode,
            health: match (text("status"), result) {
                (status, _) if status.starts_with("MAINT") => Health::Unknown,
                (_, "" | "INI") => Health::Unknown,
                (status, _) if status.starts_with("DOWN") => Health::Down,
                _ => Health::Up,
            },
            probe: words.join(" "),
            connections: number("scur"),
            name,
        });
    }
    Ok(servers)
}

/// Reads the administrative state of each server: bits, as HAProxy's management guide lists them.
fn modes(states: &str) -> Result<HashMap<String, Mode>, String> {
    const DRAIN: u32 = 0x08 | 0x10;
    let mut lines = states.lines().filter(|line| !line.trim().is_empty());
    if lines.next().map(str::trim) != Some("1") {
        return Err("the format of the states is not version 1".to_owned());
    }
    let header = lines.next().unwrap_or_default().trim_start_matches("# ");
    let column = |name: &str| {
        let position = header.split(' ').position(|column| column == name);
        position.ok_or_else(|| format!("the states have no column {name}"))
    };
    let (name, state) = (column("srv_name")?, column("srv_admin_state")?);
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(' ').collect();
            let cell = |index: usize| cells.get(index).copied().unwrap_or_default();
            let bits: u32 = cell(state)
                .parse()
                .map_err(|_| format!("a state is no number: {line}"))?;
            let mode = match bits {
                0 => Mode::Ready,
                bits if bits & !DRAIN == 0 => Mode::Drain,
                _ => Mode::Maintenance,
            };
            Ok((cell(name).to_owned(), mode))
        })
        .collect()
}

/// A cell of the statistics; other members are ignored.
#[derive(Deserialize)]
struct Cell {
    field: Field,
    value: CellValue,
}

#[derive(Deserialize)]
struct Field {
    name: String,
}

#[derive(Deserialize)]
struct CellValue {
    value: Value,
}
