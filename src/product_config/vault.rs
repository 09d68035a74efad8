//! Vault's server: its baked file. The same for all versions that we know, 1.15 to 2.x: what later ones want to be said
//! is said for all, such as `disable_mlock`.
//!
//! Keys: <https://developer.hashicorp.com/vault/docs/configuration>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{InvalidInput, private_address, read};

/// What the image's owner decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    tls_min_version: TlsVersion,
    ui: bool,
    disable_mlock: bool,
    log_level: LogLevel,
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
    /// Reads the inputs of a provisioner, by their names.
    pub fn read(inputs: &BTreeMap<String, Json>) -> Result<Self, InvalidInput> {
        Ok(Self {
            tls_min_version: read(inputs, "tls_min_version", "`tls12` or `tls13`")?,
            ui: read(inputs, "ui", "true or false")?,
            disable_mlock: read(inputs, "disable_mlock", "true or false")?,
            log_level: read(
                inputs,
                "log_level",
                "one of `trace`, `debug`, `info`, `warn`, `error`",
            )?,
        })
    }
}

/// The baked file: Consul for storage, one listener with TLS. Addresses to others and the token are the node's.
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

/// Where the node's identity puts them, in memory.
const CERTIFICATE: &str = "/run/vault-tls/tls.crt";
const KEY: &str = "/run/vault-tls/tls.key";
const CONSUL_CA: &str = "/run/vault-tls/consul-ca.pem";

impl Server {
    /// The file of an image.
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
                    // Consul 1.8, the oldest one, speaks no more than that everywhere.
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
        }
    }
}
