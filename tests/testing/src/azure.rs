//! A simulator of ARM on loopback, with state, rules, long-running operations, latencies and faults.
//!
//! Takes a [`Config`]; returns a [`Simulator`] that reports requests, violations and resources.
//! It refuses what Azure is known to refuse; modules document where it differs.

mod answer;
mod authority;
pub mod bodies;
mod call;
mod catalogue;
pub mod client;
mod config;
mod decoys;
mod faults;
pub mod harness;
mod kinds;
mod latency;
mod machines;
mod operations;
mod resources;
mod route;
mod rules;
mod schema;
mod scopes;
mod service;
pub mod sshd_machines;
mod wire;
mod world;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use config::{Config, Policy};
pub use decoys::Decoys;
pub use faults::{Fault, FaultKind};
pub use kinds::Style;
pub use machines::{Instant as InstantMachines, Machines, Source, Spec};
pub use operations::Status;
pub use world::Request;

use world::CloudState;

/// A resource as a test sees it.
#[derive(Clone, Debug)]
pub struct ResourceView {
    pub id: String,
    pub kind: &'static str,
    /// `provisioningState`.
    pub state: String,
    pub body: Value,
    /// Internal state outside of the body: `power`, `generalized`, `address`, `file` and others.
    pub inner: Value,
}

/// A long-running operation as a test sees it.
#[derive(Clone, Debug)]
pub struct OperationView {
    pub name: String,
    pub resource: String,
    pub status: Status,
    /// The modelled latency after scaling.
    pub latency: Duration,
    /// The time since the simulator's start.
    pub began: Duration,
}

/// A simulated subscription, which answers requests until it is dropped.
pub struct Simulator {
    cloud: Arc<Mutex<CloudState>>,
    wire: wire::Wire,
}

impl Simulator {
    pub fn start(config: Config) -> Self {
        // Prints once if the schemas are missing.
        schema::present();
        let bound = wire::Bound::new();
        let cloud = Arc::new(Mutex::new(CloudState::new(config, bound.address.port())));
        let served = cloud.clone();
        let wire = bound.serve(Arc::new(move |incoming| service::handle(&served, incoming)));
        Self { cloud, wire }
    }

    fn cloud(&self) -> MutexGuard<'_, CloudState> {
        let mut cloud = self.cloud.lock().expect("the state");
        cloud.advance(Instant::now());
        cloud
    }

    /// Returns the address of ARM and of the authority: `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        self.cloud().url.clone()
    }

    /// Returns the certificate authority of the simulator, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.wire.ca_pem
    }

    pub fn subscription(&self) -> String {
        self.cloud().config.subscription.clone()
    }

    /// Returns all resources and groups, ordered by id.
    pub fn resources(&self) -> Vec<ResourceView> {
        let cloud = self.cloud();
        let shown = cloud.resources.values().map(|resource| ResourceView {
            id: resource.id.clone(),
            kind: resource.kind.name,
            state: resource.state.clone(),
            body: resource.body.clone(),
            inner: resource.inner.clone(),
        });
        shown.collect()
    }

    /// Returns the log of requests.
    pub fn requests(&self) -> Vec<Request> {
        self.cloud().log.clone()
    }

    /// Returns the long-running operations in the order of their start.
    pub fn operations(&self) -> Vec<OperationView> {
        let cloud = self.cloud();
        let mut shown: Vec<OperationView> = cloud
            .operations
            .values()
            .map(|operation| OperationView {
                name: operation.name.clone(),
                resource: operation.resource.clone(),
                status: operation.status,
                latency: operation.latency,
                began: operation.began.duration_since(cloud.began),
            })
            .collect();
        shown.sort_by_key(|operation| operation.began);
        shown
    }

    /// Returns the requests that Azure does not know, and the bodies that violate a schema.
    pub fn violations(&self) -> Vec<String> {
        self.cloud().violations.clone()
    }

    /// Returns the modelled latency of an operation in seconds, before scaling.
    pub fn latency_s(&self, operation: &str) -> f64 {
        self.cloud().latency_s(operation)
    }

    /// Replaces the faults. Occurrences count from the start of the simulator.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.cloud().config.faults = faults;
    }

    /// Expires all issued tokens.
    pub fn expire_tokens(&self) {
        self.cloud().authority.revoke(Instant::now());
    }

    /// Sets the health of an instance of a scale set: `healthy`, `unhealthy`, `initializing`.
    pub fn set_health(&self, id: &str, health: &str) {
        if let Some(instance) = self.cloud().find_mut(id) {
            instance.inner["health"] = serde_json::json!(health);
        }
    }

    /// Adds a resource group in the first location.
    pub fn put_group(&self, name: &str) {
        let mut cloud = self.cloud();
        let id = format!(
            "/subscriptions/{}/resourceGroups/{name}",
            cloud.config.subscription
        );
        decoys::put(&mut cloud, &kinds::GROUP, id, &serde_json::json!({}));
    }

    /// Adds foreign resources.
    pub fn plant_decoys(&self, name: &str, tags: &[Value]) -> Decoys {
        decoys::plant(&mut self.cloud(), name, tags)
    }

    /// Returns the ids of decoys that were deleted or changed.
    pub fn touched(&self, decoys: &Decoys) -> Vec<String> {
        decoys.touched(&self.cloud())
    }

    /// Returns whether Microsoft's schemas are available to check bodies.
    pub fn checks_schemas(&self) -> bool {
        schema::present()
    }
}
