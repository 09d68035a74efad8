//! The settings of a simulated subscription.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::faults::Fault;
use super::kinds::Style;
use super::machines::{Instant, Machines};

/// The settings of a simulator. The default has no faults, no latency and VMs without a server.
#[derive(Clone)]
pub struct Config {
    /// The subscription's id.
    pub subscription: String,
    /// The tenant of token requests.
    pub tenant: String,
    pub client_id: String,
    pub client_secret: String,
    /// The lifetime of a token.
    pub token_lifetime: Duration,
    /// A token that never expires.
    pub static_token: Option<String>,
    /// The locations of the cloud.
    pub locations: Vec<String>,
    /// The factor of all latencies. With 0, an operation ends by the next request.
    pub scale: f64,
    /// Latencies that differ from the table, in seconds, by operation.
    pub latencies: BTreeMap<String, f64>,
    /// `Retry-After` of running operations in seconds; the default follows the scaled latency.
    pub retry_after_s: Option<u64>,
    /// Long-running styles that differ from Azure's, by operation (`PUT Microsoft.Compute/images`).
    pub styles: BTreeMap<String, Style>,
    /// One long-running style for all operations.
    pub style: Option<Style>,
    /// The injected faults.
    pub faults: Vec<Fault>,
    /// The servers that run as virtual machines.
    pub machines: Arc<dyn Machines>,
    /// The SSH port at the public address of a VM.
    pub ssh_port: u16,
    /// The quota of cores in a location.
    pub cores: u64,
    /// The quota of public addresses in a location.
    pub public_addresses: usize,
    /// Sizes that are not available to the subscription.
    pub restricted: Vec<String>,
    /// Providers that are not registered.
    pub unregistered: Vec<String>,
    /// Required features of `Microsoft.Compute` that are not registered.
    pub unregistered_features: Vec<String>,
    pub policies: Vec<Policy>,
    /// The number of entries in one page of a list.
    pub page: usize,
}

/// An assigned policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    /// The kind to which it applies; empty for all kinds.
    pub kind: String,
    /// The required tag; if empty, the policy denies everything.
    pub without_tag: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            subscription: "11111111-2222-3333-4444-555555555555".to_owned(),
            tenant: "99999999-8888-7777-6666-555555555555".to_owned(),
            client_id: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee".to_owned(),
            client_secret: "simulated-secret".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            static_token: None,
            locations: ["westeurope", "northeurope", "eastus"]
                .map(str::to_owned)
                .to_vec(),
            scale: 0.0,
            latencies: BTreeMap::new(),
            retry_after_s: None,
            styles: BTreeMap::new(),
            style: None,
            faults: Vec::new(),
            machines: Arc::new(Instant),
            ssh_port: 2222,
            cores: 20,
            public_addresses: 20,
            restricted: Vec::new(),
            unregistered: Vec::new(),
            unregistered_features: Vec::new(),
            policies: Vec::new(),
            page: 50,
        }
    }
}
