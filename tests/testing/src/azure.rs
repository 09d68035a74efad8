//! Azure Resource Manager, simulated: HTTPS on loopback, state, rules, long-running operations, latencies and faults.
//!
//! In: a [`Config`]. Out: a [`Simulator`] that answers until it is dropped, and tells what it was asked, what was asked
//! wrongly, and what is there. What it refuses is what the service is known to refuse; where it knows more or less than the
//! service, its module says so. It costs nothing, and nothing in it is real but the machines that a test puts behind it.

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

use world::World;

/// A resource as a test sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub id: String,
    pub kind: &'static str,
    /// `provisioningState`.
    pub state: String,
    pub body: Value,
    /// What the service keeps beside the body: `power`, `generalized`, `address`, `file` and others.
    pub inner: Value,
}

/// A long-running operation as a test sees it.
#[derive(Clone, Debug)]
pub struct ShownOperation {
    pub name: String,
    pub resource: String,
    pub status: Status,
    /// Modelled and scaled.
    pub latency: Duration,
    /// Since the simulator's start.
    pub began: Duration,
}

/// A simulated subscription. It answers until it is dropped.
pub struct Simulator {
    world: Arc<Mutex<World>>,
    wire: wire::Wire,
}

impl Simulator {
    pub fn start(config: Config) -> Self {
        // Said once where they are missing.
        schema::present();
        let bound = wire::Bound::new();
        let world = Arc::new(Mutex::new(World::new(config, bound.address.port())));
        let served = world.clone();
        let wire = bound.serve(Arc::new(move |incoming| service::handle(&served, incoming)));
        Self { world, wire }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().expect("the state");
        world.advance(Instant::now());
        world
    }

    /// Where ARM and the authority are: `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        self.world().url.clone()
    }

    /// The authority that signed the simulator's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.wire.ca_pem
    }

    pub fn subscription(&self) -> String {
        self.world().config.subscription.clone()
    }

    /// What is there, groups among it, by id.
    pub fn resources(&self) -> Vec<Shown> {
        let world = self.world();
        let shown = world.resources.values().map(|resource| Shown {
            id: resource.id.clone(),
            kind: resource.kind.name,
            state: resource.state.clone(),
            body: resource.body.clone(),
            inner: resource.inner.clone(),
        });
        shown.collect()
    }

    /// What was asked, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.world().log.clone()
    }

    /// The operations that were begun, in order.
    pub fn operations(&self) -> Vec<ShownOperation> {
        let world = self.world();
        let mut shown: Vec<ShownOperation> = world
            .operations
            .values()
            .map(|operation| ShownOperation {
                name: operation.name.clone(),
                resource: operation.resource.clone(),
                status: operation.status,
                latency: operation.latency,
                began: operation.began.duration_since(world.began),
            })
            .collect();
        shown.sort_by_key(|operation| operation.began);
        shown
    }

    /// What was asked that nobody understands, or answered that does not fit: empty when all was well.
    pub fn violations(&self) -> Vec<String> {
        self.world().violations.clone()
    }

    /// The modelled latency of an operation in seconds, unscaled.
    pub fn latency_s(&self, operation: &str) -> f64 {
        self.world().latency_s(operation)
    }

    /// Sets what goes wrong from now on; occurrences count from the start.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.world().config.faults = faults;
    }

    /// Ends all tokens given out so far.
    pub fn expire_tokens(&self) {
        self.world().authority.revoke(Instant::now());
    }

    /// Sets the health of an instance of a scale set: `healthy`, `unhealthy`, `initializing`.
    pub fn set_health(&self, id: &str, health: &str) {
        if let Some(instance) = self.world().find_mut(id) {
            instance.inner["health"] = serde_json::json!(health);
        }
    }

    /// Puts a resource group there, in the first location.
    pub fn put_group(&self, name: &str) {
        let mut world = self.world();
        let id = format!(
            "/subscriptions/{}/resourceGroups/{name}",
            world.config.subscription
        );
        decoys::put(&mut world, &kinds::GROUP, id, &serde_json::json!({}));
    }

    /// Puts resources of others there.
    pub fn plant_decoys(&self, name: &str, tags: &[Value]) -> Decoys {
        decoys::plant(&mut self.world(), name, tags)
    }

    /// The decoys that are gone or changed.
    pub fn touched(&self, decoys: &Decoys) -> Vec<String> {
        decoys.touched(&self.world())
    }

    /// Whether bodies are held against Microsoft's schemas on this computer.
    pub fn checks_schemas(&self) -> bool {
        schema::present()
    }
}
