//! What a test decides about a simulated subscription.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::faults::Fault;
use super::kinds::Style;
use super::machines::{Instant, Machines};

/// How a simulator is to be. `Config::default()` has no faults, no latency and machines that are only an entry.
#[derive(Clone)]
pub struct Config {
    /// The subscription's id.
    pub subscription: String,
    /// The tenant in which tokens are asked for.
    pub tenant: String,
    pub client_id: String,
    pub client_secret: String,
    /// How long a token lasts.
    pub token_lifetime: Duration,
    /// A token that is always taken.
    pub standing_token: Option<String>,
    /// Locations that exist.
    pub locations: Vec<String>,
    /// What the modelled latencies are multiplied with: 0 ends an operation by the first request after its own.
    pub scale: f64,
    /// Latencies in seconds that differ from the table, by operation.
    pub latencies: BTreeMap<String, f64>,
    /// `Retry-After` of running operations in seconds; without it, what suits the scaled latency.
    pub retry_after_s: Option<u64>,
    /// Long-running styles that differ from the service's own, by operation (`PUT Microsoft.Compute/images`).
    pub styles: BTreeMap<String, Style>,
    /// One long-running style for all.
    pub style: Option<Style>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What stands behind a virtual machine.
    pub machines: Arc<dyn Machines>,
    /// The port at which a machine's SSH is reached, at its public address.
    pub ssh_port: u16,
    /// Most cores in a location.
    pub cores: u64,
    /// Most public addresses in a location.
    pub public_addresses: usize,
    /// Sizes that the subscription may not use.
    pub restricted: Vec<String>,
    /// Providers that nobody registered.
    pub unregistered: Vec<String>,
    /// Features of `Microsoft.Compute` that are not registered and have to be.
    pub unregistered_features: Vec<String>,
    pub policies: Vec<Policy>,
    /// Entries of one page of a list.
    pub page: usize,
}

/// An assigned policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    /// What it is about; all kinds when empty.
    pub kind: String,
    /// Denies what lacks this tag; everything when empty.
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
            standing_token: None,
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
