//! Generates the configuration of a Vault server. One file fits all versions from 1.15 to 2.x: keys
//! that later versions require, such as `disable_mlock`, are always set.
//! Keys: <https://developer.hashicorp.com/vault/docs/configuration>.

mod seal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::product::config::{InvalidInput, private_address, read, read_or_default};
use seal::Seal;

/// The settings that a definition can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    tls_min_version: TlsVersion,
    ui: bool,
    disable_mlock: bool,
    log_level: LogLevel,
    seal: Option<Seal>,
    telemetry: Option<Telemetry>,
    plugin_directory: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TlsVersion {
    Tls12,
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
        for (name, most) in AUDIT_LOG {
            check_count(inputs, name, most)?;
        }
        Ok(Self {
            tls_min_version: read(inputs, "tls_min_version", "`tls12` or `tls13`")?,
            ui: read(inputs, "ui", "true or false")?,
            disable_mlock: read(inputs, "disable_mlock", "true or false")?,
            log_level: read(
                inputs,
                "log_level",
                "one of `trace`, `debug`, `info`, `warn`, `error`",
            )?,
            seal: Seal::read(inputs)?,
            telemetry: Telemetry::read(inputs)?,
            plugin_directory: read_or_default(inputs, "plugin_directory", "text")?,
        })
    }
}

/// Inputs that bound the audit log, and their largest values. They are no keys of Vault.
const AUDIT_LOG: [(&str, u32); 2] = [("audit_log_mib", 1 << 16), ("audit_log_files", 1000)];

/// Fails if the input `name` is set, and not a number from 1 to `most`.
fn check_count(inputs: &BTreeMap<String, Json>, name: &str, most: u32) -> Result<(), InvalidInput> {
    let expected = format!("a number from 1 to {most}");
    let count: Option<u32> = read_or_default(inputs, name, &expected)?;
    if count.is_some_and(|count| !(1..=most).contains(&count)) {
        return Err(InvalidInput {
            input: name.to_owned(),
            found: inputs[name].to_string(),
            expected,
        });
    }
    Ok(())
}

/// Metrics for Prometheus, which a collector with a token fetches over TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Telemetry {
    prometheus_retention_time: String,
    disable_hostname: bool,
}

impl Telemetry {
    fn read(inputs: &BTreeMap<String, Json>) -> Result<Option<Self>, InvalidInput> {
        let time = "telemetry_prometheus_retention_time";
        let prometheus_retention_time: String = read_or_default(inputs, time, "text")?;
        if prometheus_retention_time.is_empty() {
            return Ok(None);
        }
        let disable_hostname = "telemetry_disable_hostname";
        Ok(Some(Self {
            prometheus_retention_time,
            disable_hostname: read(inputs, disable_hostname, "true or false")?,
        }))
    }
}

/// The file in the image: storage in Consul, one listener with TLS. A node adds its token.
#[derive(Debug, Serialize)]
pub struct Server {
    storage: Storage,
    listener: [Listener; 1],
    api_addr: String,
    cluster_addr: String,
    ui: bool,
    disable_mlock: bool,
    raw_storage_endpoint: bool,
    log_format: &'static str,
    log_level: LogLevel,
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<Seal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    telemetry: Option<Telemetry>,
    #[serde(skip_serializing_if = "String::is_empty")]
    plugin_directory: String,
}

#[derive(Debug, Serialize)]
struct Storage {
    consul: Consul,
}

#[derive(Debug, Serialize)]
struct Consul {
    address: &'static str,
    scheme: &'static str,
    path: &'static str,
    tls_ca_file: &'static str,
    tls_cert_file: &'static str,
    tls_key_file: &'static str,
    tls_min_version: TlsVersion,
}

#[derive(Debug, Serialize)]
struct Listener {
    tcp: Tcp,
}

#[derive(Debug, Serialize)]
struct Tcp {
    address: &'static str,
    cluster_address: &'static str,
    tls_cert_file: &'static str,
    tls_key_file: &'static str,
    tls_min_version: TlsVersion,
}

// Paths in tmpfs, to which the node's identity writes at boot.
const CERTIFICATE: &str = "/run/vault-tls/tls.crt";
const KEY: &str = "/run/vault-tls/tls.key";
const CONSUL_CA: &str = "/run/vault-tls/consul-ca.pem";

impl Server {
    /// Returns the file for an image.
    pub fn hardened(inputs: Inputs) -> Self {
        Self {
            storage: Storage {
                consul: Consul {
                    address: "127.0.0.1:8501",
                    scheme: "https",
                    path: "vault/",
                    tls_ca_file: CONSUL_CA,
                    tls_cert_file: CERTIFICATE,
                    tls_key_file: KEY,
                    // Consul 1.8, the oldest supported version, has no TLS 1.3 on all of its ports.
                    tls_min_version: TlsVersion::Tls12,
                },
            },
            listener: [Listener {
                tcp: Tcp {
                    address: "0.0.0.0:8200",
                    cluster_address: "0.0.0.0:8201",
                    tls_cert_file: CERTIFICATE,
                    tls_key_file: KEY,
                    tls_min_version: inputs.tls_min_version,
                },
            }],
            api_addr: private_address("https://", ":8200"),
            cluster_addr: private_address("https://", ":8201"),
            ui: inputs.ui,
            disable_mlock: inputs.disable_mlock,
            raw_storage_endpoint: false,
            log_format: "json",
            log_level: inputs.log_level,
            seal: inputs.seal,
            telemetry: inputs.telemetry,
            plugin_directory: inputs.plugin_directory,
        }
    }
}
