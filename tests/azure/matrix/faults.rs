//! Builds with a fault at one request, with a table of outcomes for each class of requests.

use std::fs;
use std::time::Instant;

use super::{
    BTreeMap, BTreeSet, Class, Duration, Fault, FaultKind, RELAXED, Speed, all, assert_clean,
    block_on_new_runtime, new_harness, requests, run_all, sample,
};

const KINDS: [fn() -> FaultKind; 10] = [
    // First, because its cases take longest.
    || FaultKind::Stuck,
    || FaultKind::TokenExpired,
    || FaultKind::Throttled(1),
    || FaultKind::Status(500),
    || FaultKind::Status(503),
    || FaultKind::ResetBefore,
    || FaultKind::ResetAfter,
    || FaultKind::Busy,
    || FaultKind::NotFound,
    || FaultKind::Fails("InternalExecutionError".to_owned()),
];

/// `ok` or `fails`, by operation and kind of fault.
type Table = BTreeMap<String, BTreeMap<String, String>>;

/// Builds with each fault and returns the outcomes, `ok` or `fails`. Errors must name the operation.
fn outcomes_of(class: Class, cases: &[Fault]) -> Vec<&'static str> {
    let began = Instant::now();
    let outcomes = run_all(cases, |fault| build_with(class, fault));
    let outcomes: Vec<&str> = cases
        .iter()
        .zip(&outcomes)
        .map(|(fault, outcome)| match outcome {
            None => "ok",
            Some(message) => {
                assert!(
                    is_named(fault, message),
                    "{fault:?} is not named: {message}"
                );
                "fails"
            }
        })
        .collect();
    let good = outcomes.iter().filter(|outcome| **outcome == "ok").count();
    println!(
        "{class:?}: {} cases of faults in {:.0} s: {good} builds succeeded, {} failed with a reason",
        cases.len(),
        began.elapsed().as_secs_f64(),
        cases.len() - good
    );
    outcomes
}

/// Builds with each request hit once and each kind of fault used once, and compares with the table.
fn check_sample(class: Class) {
    let requests = class.only(&requests());
    let kinds = KINDS.map(|kind| kind());
    let cases = sample(&requests, &kinds);
    let table = read_table(class);
    let operations: BTreeSet<&String> = requests.iter().map(|one| &one.operation).collect();
    let known: BTreeSet<&String> = table.keys().collect();
    assert_eq!(
        operations, known,
        "a build sends other requests: run `INSTA_UPDATE=always cargo test --test azure matrix::exhaustive`"
    );
    for (fault, outcome) in cases.iter().zip(outcomes_of(class, &cases)) {
        let expected = &table[&fault.operation][&heading(&fault.kind)];
        let occurrences = requests
            .iter()
            .filter(|one| one.operation == fault.operation);
        // The table has `fails` if one of several occurrences fails.
        let fits = expected == outcome || (expected == "fails" && occurrences.count() > 1);
        assert!(fits, "{fault:?}: {outcome}, and the table has {expected}");
    }
}

/// Builds with every fault at every request of a class, and returns the table.
pub fn everything(class: Class) -> String {
    let requests = class.only(&requests());
    let kinds = KINDS.map(|kind| kind());
    let cases = all(&requests, &kinds);
    let mut table = Table::new();
    for (fault, outcome) in cases.iter().zip(outcomes_of(class, &cases)) {
        let row = table.entry(fault.operation.clone()).or_default();
        let cell = row.entry(heading(&fault.kind)).or_insert("ok".to_owned());
        if outcome == "fails" {
            outcome.clone_into(cell);
        }
    }
    let columns: Vec<String> = kinds.iter().map(heading).collect();
    let mut lines = vec![format!("{:<78} {}", "operation", columns.join(" "))];
    for (operation, row) in table {
        let cell = |column: &String| format!("{:<width$}", row[column], width = column.len());
        let cells: Vec<String> = columns.iter().map(cell).collect();
        lines.push(format!("{operation:<78} {}", cells.join(" ").trim_end()));
    }
    lines.join("\n")
}

/// Returns the name of the snapshot with the table of a class.
pub fn table_name(class: Class) -> String {
    format!("faults_{class:?}").to_lowercase()
}

/// Reads the committed table of a class.
fn read_table(class: Class) -> Table {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/matrix/snapshots");
    let path = format!(
        "{folder}/azure__matrix__exhaustive__{}.snap",
        table_name(class)
    );
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("operation "));
    let columns: Vec<&str> = lines
        .next()
        .expect("a heading")
        .split_whitespace()
        .skip(1)
        .collect();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (operation, cells) = words.split_at(words.len() - columns.len());
        let cells = columns
            .iter()
            .zip(cells)
            .map(|(column, cell)| ((*column).to_owned(), (*cell).to_owned()));
        (operation.join(" "), cells.collect())
    };
    lines.map(row).collect()
}

/// Returns the heading of a column of the table.
fn heading(kind: &FaultKind) -> String {
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

/// Returns the texts one of which an error about this operation must contain.
fn expected_names(operation: &str) -> Vec<&str> {
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
                "virtualMachines" => "the VM no longer exists",
                "usages" => "locations/usages",
                other => other,
            };
            vec![kind, action, more]
        }
    }
}

fn is_named(fault: &Fault, message: &str) -> bool {
    expected_names(&fault.operation)
        .iter()
        .any(|name| message.contains(name))
}

/// Builds with a fault and returns the error, if any.
///
/// `Stuck` ends by a deadline that other requests share. If a busy computer makes another request miss
/// it, the build is repeated with more time.
fn build_with(class: Class, fault: &Fault) -> Option<String> {
    if fault.kind != FaultKind::Stuck {
        return block_on_new_runtime(build_at_speed(fault, RELAXED));
    }
    let speeds = match class.is_long_running() {
        true => [(0.005, 60), (0.02, 60), (0.08, 60)],
        // The shortest deadline of an operation is 6 s at the first of these paces.
        false => [(0.02, 2), (0.08, 8), (0.3, 30)],
    };
    let mut message = None;
    for (pace, request_timeout_s) in speeds {
        let request_timeout = Duration::from_secs(request_timeout_s);
        message = block_on_new_runtime(build_at_speed(
            fault,
            Speed {
                pace,
                request_timeout,
            },
        ));
        match &message {
            Some(text) if !(class.is_long_running() && is_named(fault, text)) => {
                println!("{fault:?} at {pace}: {text}");
            }
            _ => break,
        }
    }
    message
}

async fn build_at_speed(fault: &Fault, speed: Speed) -> Option<String> {
    let mut azure = new_harness(speed).await;
    azure.simulator.set_faults(vec![fault.clone()]);
    let result = azure.bake(|_| {}).await;
    let message = match &result {
        Ok(baked) => {
            let failure = baked.tested.as_ref().and_then(|test| test.failure.clone());
            let leaks = baked.leftovers.iter().map(|leak| format!("left: {leak:?}"));
            let all: Vec<String> = failure.into_iter().chain(leaks).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Err(failed) => Some(failed.to_string()),
    };
    // Leftovers were reported, and can be deleted after the fault.
    azure.simulator.set_faults(Vec::new());
    let leaked = match &result {
        Ok(baked) => !baked.leftovers.is_empty(),
        Err(failed) => !failed.leftovers.is_empty(),
    };
    if leaked {
        // A concurrent test that starts a program holds the lock of the run too, from its fork to
        // its exec.
        let limit = Instant::now() + Duration::from_secs(10);
        let mut swept = azure.sweep().await;
        while swept.is_empty() && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(20)).await;
            swept = azure.sweep().await;
        }
        assert!(
            swept.iter().all(|one| one.leftovers.is_empty()),
            "{fault:?}: {swept:?}"
        );
    }
    assert_clean(&azure, &format!("{fault:?}")).await;
    message.map(|message| message.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn faults_of_the_token_are_survived_or_named() {
    check_sample(Class::Token);
}

#[test]
fn faults_of_reads_are_survived_or_named() {
    check_sample(Class::Reads);
}

#[test]
fn faults_of_polls_are_survived_or_named() {
    check_sample(Class::Polls);
}

#[test]
fn faults_of_writes_are_survived_or_named() {
    check_sample(Class::Writes);
}

#[test]
fn faults_of_creations_are_survived_or_named() {
    check_sample(Class::Creations);
}

#[test]
fn faults_of_actions_are_survived_or_named() {
    check_sample(Class::Actions);
}

#[test]
fn faults_of_removals_are_survived_or_named() {
    check_sample(Class::Removals);
}
