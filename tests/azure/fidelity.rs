//! Microsoft's Python clients drive the simulator through a whole build, once for each style of
//! long-running operations. They run if the simulator changed, and in `exhaustive`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the clients are a program of their own, and a skipped test says why"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testing::azure::{Config, Fault, FaultKind, Simulator, Style};
use testing::judged;

const TOKEN: &str = "a-token-of-the-test";
/// The folder of the simulator's sources.
const SIMULATOR: &str = "tests/testing/src/azure";
/// The program that drives the clients.
const CLIENTS: &str = "tests/azure/sdk.py";

/// Runs the clients, and returns their output and the simulator. Returns `None` if they are missing.
fn run_clients(style: Option<Style>) -> Option<(String, Simulator)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/azure-sdk/bin/python3");
    if !python.exists() {
        eprintln!("SKIPPED: Microsoft's clients are missing; `scripts/setup tests` installs them");
        return None;
    }
    let throttled = Fault {
        times: 2,
        ..Fault::once("GET Microsoft.Compute/disks", FaultKind::Throttled(0))
    };
    let fails = FaultKind::Fails("AllocationFailed".to_owned());
    let simulator = Simulator::start(Config {
        static_token: Some(TOKEN.to_owned()),
        style,
        faults: vec![
            throttled,
            Fault::once("POST Microsoft.Compute/virtualMachines/powerOff", fails),
        ],
        ..Config::default()
    });
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, simulator.ca_pem()).expect("a certificate");
    let output = Command::new(python)
        .arg(root.join(CLIENTS))
        .arg(simulator.url())
        .arg(&ca)
        .args([&simulator.subscription(), TOKEN])
        .env("NO_PROXY", "*")
        .output()
        .expect("Python");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{style:?}:\n{stdout}\n{stderr}");
    Some((stdout, simulator))
}

/// Runs the clients in every style and compares their output. Returns false if they are missing.
fn clients_agree() -> bool {
    let styles = [
        None,
        Some(Style::AsyncOperation),
        Some(Style::Location),
        Some(Style::Both),
        Some(Style::StateOnly),
    ];
    let all: Vec<_> = std::thread::scope(|scope| {
        let running = styles.map(|style| scope.spawn(move || run_clients(style)));
        running.map(|one| one.join().expect("a style")).into()
    });
    let Some(all) = all.into_iter().collect::<Option<Vec<_>>>() else {
        return false;
    };
    for (_, simulator) in &all {
        assert_eq!(simulator.violations(), Vec::<String>::new());
        assert_eq!(simulator.resources().len(), 0);
    }
    for ((output, _), style) in all.iter().zip(styles).skip(1) {
        assert_eq!(*output, all[0].0, "{style:?}");
    }
    insta::assert_snapshot!("what_microsofts_clients_understand", all[0].0);
    true
}

/// Returns the inputs of the check: the simulator's sources without comment lines, the program of the
/// clients, and their versions.
fn inputs() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clients = fs::read_to_string(root.join(CLIENTS)).expect("the clients");
    let mut parts = vec![judged::pinned("azure-mgmt"), clients];
    for path in sources(&root.join(SIMULATOR)) {
        let source = fs::read_to_string(&path).expect("a source");
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code: Vec<&str> = source.lines().filter(is_code).collect();
        let name = path.strip_prefix(root.join(SIMULATOR)).expect("below it");
        parts.push(format!("\n{}\n{}", name.display(), code.join("\n")));
    }
    parts.concat()
}

/// Files in the folder that use the simulator and are not part of it.
const USERS: [&str; 3] = ["bodies.rs", "client.rs", "harness.rs"];

/// Returns the files with source code below a folder, sorted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let below = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    };
    let mut all: Vec<PathBuf> = paths.into_iter().flat_map(below).collect();
    all.retain(|path| {
        let uses = USERS.iter().any(|name| path.ends_with(name));
        !uses && path.extension().is_some_and(|it| it == "rs")
    });
    all
}

#[test]
fn microsofts_clients_were_asked_since_the_simulator_changed() {
    if let Some(changed) = judged::changed("simulator", inputs().as_bytes()) {
        changed.refuse(clients_agree());
    }
}

mod exhaustive {
    #[test]
    fn microsofts_clients_understand_the_simulator_in_every_style() {
        super::clients_agree();
    }
}
