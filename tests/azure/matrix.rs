//! A fault, or a kill -9, at each request of a build.
//!
//! The build succeeds, or its error names the operation, the resource and the reason. Only recorded
//! images remain, and the store is sound. `make test` runs a sample, `exhaustive` every pair.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "many subscriptions on separate threads, and a printed count of cases"
)]

mod exhaustive;
mod faults;
mod kills;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use testing::azure::harness::{AzureBakeSetup, AzureHarness, gallery};
use testing::azure::{Config, Fault, FaultKind, Request};

/// The number of concurrent cases, which mostly wait.
const THREADS: usize = 6;

/// The time scale of a build.
#[derive(Clone, Copy)]
struct Speed {
    /// The factor of all pauses and deadlines.
    pace: f64,
    request_timeout: Duration,
}

/// Slow enough for a busy computer: the shortest deadline, of a network part, is 6 s.
const RELAXED: Speed = Speed {
    pace: 0.02,
    request_timeout: Duration::from_secs(60),
};

impl Speed {
    fn set(self, setup: &mut AzureBakeSetup) {
        (setup.time_scale, setup.request_timeout) = (self.pace, self.request_timeout);
    }
}

/// Returns a harness whose builds use a temporary group, a managed image and a gallery version.
async fn new_harness(speed: Speed) -> AzureHarness {
    let mut azure = AzureHarness::new(Config::default());
    speed.set(&mut azure);
    azure.with_gallery("V1", json!([])).await;
    azure
}

/// Returns the requests of a build without faults, in a fixed order.
///
/// Networks come first among the creations: their deadline is the shortest, and the first kind of
/// fault is `Stuck`.
fn requests() -> Vec<Request> {
    let mut requests = block_on_new_runtime(async {
        let mut azure = new_harness(RELAXED).await;
        let before = azure.simulator.requests().len();
        let baked = azure.bake(|_| {}).await;
        assert!(baked.is_ok_and(|baked| baked.tested.is_some_and(|test| test.passed)));
        azure.simulator.requests().split_off(before)
    });
    requests.sort_by(|a, b| (&b.operation, b.nth).cmp(&(&a.operation, a.nth)));
    requests
}

/// Requests that the library retries and reports alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Token,
    Reads,
    /// The state of a long-running operation.
    Polls,
    /// Writes that are done with their answer; the next three are long-running.
    Writes,
    Creations,
    Actions,
    Removals,
}

impl Class {
    fn classify(request: &Request, all: &[Request]) -> Self {
        let operation = &request.operation;
        let poll = format!(" of {operation}");
        let is_long_running = all.iter().any(|one| one.operation.ends_with(&poll));
        match operation.split(' ').next() {
            _ if operation == "POST token" => Self::Token,
            _ if operation.contains(" of ") => Self::Polls,
            Some("GET") => Self::Reads,
            Some("PUT") if is_long_running => Self::Creations,
            Some("POST") if is_long_running => Self::Actions,
            Some("DELETE") if is_long_running => Self::Removals,
            _ => Self::Writes,
        }
    }

    /// Returns the requests of this class. Panics if there are none.
    fn only(self, requests: &[Request]) -> Vec<Request> {
        let mut own = requests.to_vec();
        own.retain(|request| Self::classify(request, requests) == self);
        assert!(!own.is_empty(), "a bake has no {self:?}");
        own
    }

    fn is_long_running(self) -> bool {
        matches!(self, Self::Creations | Self::Actions | Self::Removals)
    }
}

/// Returns every kind of fault at every request.
fn all(requests: &[Request], kinds: &[FaultKind]) -> Vec<Fault> {
    let mut cases = Vec::new();
    for request in requests {
        let at = |kind: &FaultKind| Fault::at(&request.operation, request.nth, kind.clone());
        cases.extend(kinds.iter().map(at));
    }
    cases
}

/// Returns as few cases as have every kind of fault and every request of one class.
fn sample(requests: &[Request], kinds: &[FaultKind]) -> Vec<Fault> {
    let pairs = requests.iter().cycle().zip(kinds.iter().cycle());
    let cases: Vec<Fault> = pairs
        .map(|(request, kind)| Fault::at(&request.operation, request.nth, kind.clone()))
        .take(requests.len().max(kinds.len()))
        .collect();
    for kind in kinds {
        let hit = cases.iter().any(|case| case.kind == *kind);
        assert!(hit, "{kind:?} happens to no request");
    }
    for request in requests {
        let hit = cases
            .iter()
            .any(|case| case.hits(&request.operation, request.nth));
        assert!(
            hit,
            "nothing happens to {} {}",
            request.operation, request.nth
        );
    }
    cases
}

fn block_on_new_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// Runs `work` on all cases concurrently, and returns the results in their order.
fn run_all<C: Sync, T: Send>(cases: &[C], work: impl Fn(&C) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(0..cases.len());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = next.lock().expect("no panic").next();
                    let Some(at) = at else { break };
                    let result = work(&cases[at]);
                    results.lock().expect("no panic").insert(at, result);
                }
            });
        }
    });
    let results = results.into_inner().expect("no panic");
    results.into_values().collect()
}

/// Asserts that only recorded images remain and that no foreign resource changed.
async fn assert_clean(azure: &AzureHarness, case: &str) {
    let report = azure.harness.verify().await;
    assert!(report.is_sound(), "{case}: {report}");
    let kept: &[&str] = match report.manifests {
        0 => &[],
        _ => &[
            "Microsoft.Compute/galleries/images/versions 1.2.3",
            "Microsoft.Compute/images quickstart-1.2.3",
        ],
    };
    assert_eq!(azure.new_resource_names(), kept, "{case}");
    azure.assert_no_violations();
    let left = azure.harness.leftovers().await;
    assert!(left.is_empty(), "{case}: {left:?}");
}
