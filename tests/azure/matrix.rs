//! Every request of a bake × everything that can happen to it; and a kill -9 at every request, before its effect and after.
//!
//! A bake succeeds, or fails and says which operation on which resource failed and why. Either way nothing of it is left but
//! what its record names, nothing of others is touched, and the store is sound.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "many small worlds on threads of their own, and a count of them for people"
)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use testing::azure::harness::{AzureBakeSetup, AzureHarness, gallery};
use testing::azure::{Config, Fault, FaultKind, Request};

/// So many cases at a time: most of a case is waiting.
const THREADS: usize = 4;

/// A world whose bakes ask for everything: a group of their own, a managed image and a version in a gallery.
async fn world() -> AzureHarness {
    let mut azure = AzureHarness::new(Config::default());
    azure.with_gallery("V1", json!([])).await;
    azure
}

/// The requests of a bake to which nothing happens.
fn requests() -> Vec<Request> {
    alone(async {
        let mut azure = world().await;
        let before = azure.simulator.requests().len();
        let baked = azure.bake(|_| {}).await;
        assert!(baked.is_ok_and(|baked| baked.tested.is_some_and(|test| test.passed)));
        azure.simulator.requests().split_off(before)
    })
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// Does `work` on all of `cases`, and gives what came of it in their order.
fn each<C: Sync, T: Send>(cases: &[C], work: impl Fn(&C) -> T + Sync) -> Vec<T> {
    let next = Mutex::new(0..cases.len());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = next.lock().expect("nobody panicked").next();
                    let Some(at) = at else { break };
                    let result = work(&cases[at]);
                    results.lock().expect("nobody panicked").insert(at, result);
                }
            });
        }
    });
    let results = results.into_inner().expect("nobody panicked");
    results.into_values().collect()
}

const FAULTS: [fn() -> FaultKind; 9] = [
    || FaultKind::Throttled(1),
    || FaultKind::Status(500),
    || FaultKind::Status(503),
    || FaultKind::ResetBefore,
    || FaultKind::ResetAfter,
    || FaultKind::Busy,
    || FaultKind::NotFound,
    || FaultKind::Fails("InternalExecutionError".to_owned()),
    || FaultKind::Stuck,
];

#[test]
fn matrix_of_faults() {
    let began = Instant::now();
    let requests = requests();
    let faults = FAULTS
        .iter()
        .map(|kind| kind())
        .chain([FaultKind::TokenExpired]);
    let faults: Vec<FaultKind> = faults.collect();
    let cases = requests.iter().flat_map(|request| {
        let of = |kind: &FaultKind| Fault::at(&request.operation, request.nth, kind.clone());
        faults.iter().map(of).collect::<Vec<_>>()
    });
    let cases: Vec<Fault> = cases.collect();
    let outcomes = each(&cases, |fault| alone(faulted(fault)));
    let mut table: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    let mut good = 0;
    for (fault, outcome) in cases.iter().zip(&outcomes) {
        let row = table.entry(&fault.operation).or_default();
        let cell = row.entry(word(&fault.kind)).or_insert("ok");
        match outcome {
            None => good += 1,
            Some(said) => {
                let named = names(&fault.operation)
                    .iter()
                    .any(|name| said.contains(name));
                assert!(named, "{fault:?} is not named: {said}");
                *cell = "fails";
            }
        }
    }
    println!(
        "{} cases of faults in {:.0} s: {good} bakes succeeded, {} failed and said why",
        cases.len(),
        began.elapsed().as_secs_f64(),
        cases.len() - good
    );
    let columns: Vec<String> = faults.iter().map(word).collect();
    let mut lines = vec![format!("{:<78} {}", "", columns.join(" "))];
    for (operation, row) in table {
        let cell = |column: &String| format!("{:<width$}", row[column], width = column.len());
        let cells: Vec<String> = columns.iter().map(cell).collect();
        lines.push(format!("{operation:<78} {}", cells.join(" ").trim_end()));
    }
    insta::assert_snapshot!("faults", lines.join("\n"));
}

/// A column of the table. A poll that fails or is not answered ends some operations and not others, by how many there are.
fn word(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Throttled(_) => "429".to_owned(),
        FaultKind::Status(status) => status.to_string(),
        FaultKind::ResetBefore => "reset-before".to_owned(),
        FaultKind::ResetAfter => "reset-after".to_owned(),
        FaultKind::Busy => "409-busy".to_owned(),
        FaultKind::NotFound => "404".to_owned(),
        FaultKind::Fails(_) => "failed".to_owned(),
        FaultKind::Stuck => "stuck".to_owned(),
        FaultKind::TokenExpired => "401".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What an error about this operation says of it.
fn names(operation: &str) -> Vec<&str> {
    match operation {
        "POST token" => vec!["no token"],
        "POST policy restrictions" => vec!["policies"],
        "GET provider" => vec!["GET Microsoft.", "the provider is"],
        "PATCH tags" => vec!["PATCH Microsoft.Resources/tags"],
        "GET marketplace version" => vec!["base Debian", "skus/versions"],
        other => {
            let kind = other.rsplit(' ').next().unwrap_or_default();
            let action = kind.rsplit('/').next().unwrap_or_default();
            let more = match action {
                "resourceGroups" => "resource group",
                "images" => "image definition",
                "virtualMachines" => "the machine is gone",
                "usages" => "locations/usages",
                other => other,
            };
            vec![kind, action, more]
        }
    }
}

/// Bakes with a fault; what it said where it failed.
async fn faulted(fault: &Fault) -> Option<String> {
    let mut azure = world().await;
    azure.simulator.set_faults(vec![fault.clone()]);
    let result = azure.bake(|_| {}).await;
    let said = match &result {
        Ok(baked) => {
            let failure = baked.tested.as_ref().and_then(|test| test.failure.clone());
            let leaks = baked.leaks.iter().map(|leak| format!("left: {leak:?}"));
            let all: Vec<String> = failure.into_iter().chain(leaks).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Err(failed) => Some(failed.to_string()),
    };
    // What was left behind was said, and goes once the fault is over.
    azure.simulator.set_faults(Vec::new());
    let leaked = match &result {
        Ok(baked) => !baked.leaks.is_empty(),
        Err(failed) => !failed.leaks.is_empty(),
    };
    if leaked {
        let swept = azure.sweep().await;
        assert!(
            swept.iter().all(|one| one.leaks.is_empty()),
            "{fault:?}: {swept:?}"
        );
    }
    settled(&azure, &format!("{fault:?}")).await;
    said.map(|said| said.lines().next().unwrap_or_default().to_owned())
}

/// Nothing is there but what the store has a record of, and nobody else's things were touched.
async fn settled(azure: &AzureHarness, case: &str) {
    let report = azure.harness.verify().await;
    assert!(report.is_sound(), "{case}: {report}");
    let kept: &[&str] = match report.manifests {
        0 => &[],
        _ => &[
            "Microsoft.Compute/galleries/images/versions 1.2.3",
            "Microsoft.Compute/images quickstart-1.2.3",
        ],
    };
    assert_eq!(azure.left_names(), kept, "{case}");
    azure.well();
    let left = azure.harness.left_behind().await;
    assert!(left.is_empty(), "{case}: {left:?}");
}

#[test]
fn matrix_of_kills() {
    let began = Instant::now();
    let requests = requests();
    let cases = requests.iter().flat_map(|request| {
        [FaultKind::HeldBefore, FaultKind::HeldAfter]
            .map(|kind| Fault::at(&request.operation, request.nth, kind))
    });
    let cases: Vec<Fault> = cases.collect();
    let outcomes = each(&cases, |fault| alone(killed(fault)));
    let killed = outcomes.iter().filter(|one| one.asked).count();
    let recorded = outcomes
        .iter()
        .filter(|one| one.asked && one.recorded)
        .count();
    println!(
        "{killed} kills in {:.0} s: {recorded} after the record was written; {} bakes ended before",
        began.elapsed().as_secs_f64(),
        cases.len() - killed
    );
    assert!(recorded > 0 && recorded < killed && killed * 10 > cases.len() * 9);
}

/// Kills a bake at a request, sweeps, and says whether there is a record.
async fn killed(fault: &Fault) -> Killed {
    let azure = world().await;
    azure.simulator.set_faults(vec![fault.clone()]);
    let ca = azure.folder.path().join("store").with_file_name("ca.pem");
    std::fs::write(&ca, azure.simulator.ca_pem()).expect("a certificate");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "matrix::a_bake_that_is_killed", "--ignored"])
        .env("AZURE_ROOT", azure.folder.path())
        .env("AZURE_URL", &azure.url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Reaped(child.expect("this test again"));
    let asked = || {
        let requests = azure.simulator.requests();
        requests
            .iter()
            .any(|one| fault.hits(&one.operation, one.nth))
    };
    // How often an operation is looked at differs, so a bake may end before the last look.
    while !asked() && child.0.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.0.kill();
    let ended = child.0.wait().expect("a child");
    let killed = ended.signal() == Some(9);
    assert!(
        killed || ended.success(),
        "{fault:?}: the bake ended with {ended}"
    );
    std::fs::remove_file(&ca).expect("a certificate");
    azure.simulator.set_faults(Vec::new());
    let swept = azure.sweep().await;
    assert!(
        swept.iter().all(|one| one.leaks.is_empty()),
        "{fault:?}: {swept:?}"
    );
    settled(&azure, &format!("{fault:?}")).await;
    Killed {
        asked: killed,
        recorded: azure.harness.verify().await.manifests > 0,
    }
}

struct Killed {
    /// Whether it was killed at the request, and had not ended before.
    asked: bool,
    recorded: bool,
}

struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "started by the matrix of kills, as a process of its own"]
async fn a_bake_that_is_killed() {
    let root = std::env::var("AZURE_ROOT").expect("a folder");
    let url = std::env::var("AZURE_URL").expect("a subscription");
    let root = std::path::Path::new(&root);
    let ca = std::fs::read_to_string(root.join("ca.pem")).expect("a certificate");
    let mut setup = AzureBakeSetup::new(root, &url, &ca);
    setup.output.gallery = Some(gallery());
    let _ = setup.bake(|_| {}).await;
}
