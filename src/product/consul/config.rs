//! Generates the configuration of a Consul agent: the image's file, and the fragment of a node.
//! Keys: <https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file>.

mod node;

use std::collections::BTreeMap;
use std::net::IpAddr;

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::product::config::{InvalidInput, Subnet, private_address, read};
use crate::product::consul::changes::{GRPC_TLS, HTTP_CONFIG, PEERING, TLS, UI_CONFIG};

pub use node::Node;
pub(crate) use node::NodeAcl;

/// The settings that a definition can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    datacenter: String,
    log_level: LogLevel,
    raft_multiplier: u8,
    leave_on_terminate: bool,
    management_subnets: Vec<Subnet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Inputs {
    /// Reads the inputs of the provisioner.
    pub fn read(inputs: &BTreeMap<String, Json>) -> Result<Self, InvalidInput> {
        let raft = "a number from 1 to 10";
        let raft_multiplier: u8 = read(inputs, "raft_multiplier", raft)?;
        if !(1..=10).contains(&raft_multiplier) {
            return Err(InvalidInput {
                input: "raft_multiplier".to_owned(),
                found: raft_multiplier.to_string(),
                expected: raft.to_owned(),
            });
        }
        Ok(Self {
            datacenter: read(inputs, "datacenter", "text")?,
            log_level: read(
                inputs,
                "log_level",
                "one of `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`",
            )?,
            raft_multiplier,
            leave_on_terminate: read(inputs, "leave_on_terminate", "true or false")?,
            management_subnets: subnets(inputs, "management_subnets")?,
        })
    }
}

/// Returns whether servers with these `management_subnets` answer a controller at `address`.
pub fn answers(management_subnets: &[String], address: IpAddr) -> bool {
    let mut parsed = management_subnets
        .iter()
        .filter_map(|text| Subnet::parse(text).ok());
    parsed.any(|subnet| subnet.contains(address))
}

fn subnets(inputs: &BTreeMap<String, Json>, name: &str) -> Result<Vec<Subnet>, InvalidInput> {
    let texts: Vec<String> = read(inputs, name, "a list of subnets")?;
    let parsed = texts.into_iter().map(|text| {
        Subnet::parse(&text).map_err(|expected| InvalidInput {
            input: name.to_owned(),
            found: text,
            expected,
        })
    });
    parsed.collect()
}

/// The file in the image: TLS only, access control enabled, unused features disabled. A node adds
/// its mode (server or client), its address and its secrets.
#[derive(Debug, Serialize)]
pub struct Agent {
    datacenter: String,
    data_dir: &'static str,
    log_level: LogLevel,
    client_addr: &'static str,
    bind_addr: String,
    addresses: Addresses,
    ports: Ports,
    #[serde(flatten)]
    tls: Tls,
    encrypt_verify_incoming: bool,
    encrypt_verify_outgoing: bool,
    disable_keyring_file: bool,
    acl: Acl,
    connect: Enabled,
    #[serde(skip_serializing_if = "Option::is_none")]
    peering: Option<Enabled>,
    #[serde(flatten)]
    ui: Ui,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_config: Option<HttpConfig>,
    performance: Performance,
    retry_interval: &'static str,
    leave_on_terminate: bool,
    enable_script_checks: bool,
    enable_local_script_checks: bool,
    enable_debug: bool,
    disable_remote_exec: bool,
    disable_update_check: bool,
}

#[derive(Debug, Serialize)]
struct Addresses {
    /// Addresses, separated by blanks.
    https: String,
}

const LOOPBACK: &str = "127.0.0.1";

/// Ports of the agent. -1 closes a port; a range from 0 to 0 is empty.
#[derive(Debug, Serialize)]
struct Ports {
    http: i32,
    https: i32,
    grpc: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_tls: Option<i32>,
    dns: i32,
    serf_wan: i32,
    sidecar_min_port: i32,
    sidecar_max_port: i32,
    expose_min_port: i32,
    expose_max_port: i32,
}

const CLOSED: i32 = -1;

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Tls {
    Stanza {
        tls: Stanza,
    },
    /// Before [`TLS`].
    Flat {
        #[serde(flatten)]
        files: Files,
        tls_min_version: &'static str,
        verify_incoming: bool,
        verify_outgoing: bool,
        verify_server_hostname: bool,
    },
}

#[derive(Debug, Serialize)]
struct Stanza {
    defaults: Defaults,
    internal_rpc: InternalRpc,
}

#[derive(Debug, Serialize)]
struct Defaults {
    #[serde(flatten)]
    files: Files,
    tls_min_version: &'static str,
    verify_incoming: bool,
    verify_outgoing: bool,
}

#[derive(Debug, Serialize)]
struct InternalRpc {
    verify_incoming: bool,
    verify_server_hostname: bool,
}

/// Paths in tmpfs, to which the node's identity writes at boot.
#[derive(Debug, Serialize)]
struct Files {
    ca_file: &'static str,
    cert_file: &'static str,
    key_file: &'static str,
}

const FILES: Files = Files {
    ca_file: "/run/consul-tls/ca.pem",
    cert_file: "/run/consul-tls/tls.crt",
    key_file: "/run/consul-tls/tls.key",
};

#[derive(Debug, Serialize)]
struct Acl {
    enabled: bool,
    default_policy: &'static str,
    down_policy: &'static str,
    enable_token_persistence: bool,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

const OFF: Enabled = Enabled { enabled: false };

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Ui {
    Section {
        ui_config: Enabled,
    },
    /// Before [`UI_CONFIG`].
    Flag {
        ui: bool,
    },
}

#[derive(Debug, Serialize)]
struct HttpConfig {
    read_timeout: &'static str,
    write_timeout: &'static str,
}

#[derive(Debug, Serialize)]
struct Performance {
    raft_multiplier: u8,
}

impl Agent {
    /// Returns the file for an image with this version of Consul.
    pub fn hardened(version: &Version, inputs: Inputs) -> Self {
        let ui = if UI_CONFIG.is_in(version) {
            Ui::Section { ui_config: OFF }
        } else {
            Ui::Flag { ui: false }
        };
        // The firewall opens the port of the private address to these subnets only.
        let https = if inputs.management_subnets.is_empty() {
            LOOPBACK.to_owned()
        } else {
            private_address(&format!("{LOOPBACK} "), "")
        };
        Self {
            datacenter: inputs.datacenter,
            data_dir: "/var/lib/consul",
            log_level: inputs.log_level,
            client_addr: LOOPBACK,
            bind_addr: private_address("", ""),
            addresses: Addresses { https },
            ports: Ports {
                http: CLOSED,
                https: i32::from(super::API_PORT),
                grpc: CLOSED,
                grpc_tls: GRPC_TLS.is_in(version).then_some(CLOSED),
                dns: CLOSED,
                serf_wan: CLOSED,
                sidecar_min_port: 0,
                sidecar_max_port: 0,
                expose_min_port: 0,
                expose_max_port: 0,
            },
            tls: Tls::for_version(version),
            encrypt_verify_incoming: true,
            encrypt_verify_outgoing: true,
            disable_keyring_file: true,
            acl: Acl {
                enabled: true,
                default_policy: "deny",
                down_policy: "extend-cache",
                enable_token_persistence: false,
            },
            connect: OFF,
            peering: PEERING.is_in(version).then_some(OFF),
            ui,
            // Vault's lock waits in long requests, which must not be cut.
            http_config: HTTP_CONFIG.is_in(version).then_some(HttpConfig {
                read_timeout: "15m",
                write_timeout: "15m",
            }),
            performance: Performance {
                raft_multiplier: inputs.raft_multiplier,
            },
            // With the default of 30 s, servers that start together need 90 s to find each other.
            retry_interval: "3s",
            leave_on_terminate: inputs.leave_on_terminate,
            enable_script_checks: false,
            enable_local_script_checks: false,
            enable_debug: false,
            disable_remote_exec: true,
            disable_update_check: true,
        }
    }
}

impl Tls {
    fn for_version(version: &Version) -> Self {
        if !TLS.is_in(version) {
            return Self::Flat {
                files: FILES,
                tls_min_version: "tls12",
                verify_incoming: true,
                verify_outgoing: true,
                verify_server_hostname: true,
            };
        }
        Self::Stanza {
            tls: Stanza {
                defaults: Defaults {
                    files: FILES,
                    tls_min_version: "TLSv1_2",
                    verify_incoming: true,
                    verify_outgoing: true,
                },
                internal_rpc: InternalRpc {
                    verify_incoming: true,
                    verify_server_hostname: true,
                },
            },
        }
    }
}
