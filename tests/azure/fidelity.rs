//! Microsoft's own clients for Python drive the simulator through a whole bake, in every style in which Azure tells of
//! long-running operations: what they understand, the simulator says as the service does.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the clients are a program of their own, and a skipped test says why"
)]

use std::path::Path;
use std::process::Command;

use testing::azure::{Config, Fault, FaultKind, Simulator, Style};

const TOKEN: &str = "a-token-of-the-test";

/// What the clients said, and the simulator that they said it of.
fn driven(style: Option<Style>) -> Option<(String, Simulator)> {
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
        standing_token: Some(TOKEN.to_owned()),
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
        .arg(root.join("tests/azure/sdk.py"))
        .arg(simulator.url())
        .arg(&ca)
        .args([&simulator.subscription(), TOKEN])
        .env("NO_PROXY", "*")
        .output()
        .expect("Python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{style:?}:\n{said}\n{wrong}");
    Some((said, simulator))
}

#[test]
fn microsofts_clients_understand_the_simulator_in_every_style() {
    let styles = [
        None,
        Some(Style::AsyncOperation),
        Some(Style::Location),
        Some(Style::Both),
        Some(Style::StateOnly),
    ];
    let all: Vec<_> = std::thread::scope(|scope| {
        let running = styles.map(|style| scope.spawn(move || driven(style)));
        running.map(|one| one.join().expect("a style")).into()
    });
    let Some(all) = all.into_iter().collect::<Option<Vec<_>>>() else {
        return;
    };
    for (_, simulator) in &all {
        assert_eq!(simulator.violations(), Vec::<String>::new());
        assert_eq!(simulator.resources().len(), 0);
    }
    for ((said, _), style) in all.iter().zip(styles).skip(1) {
        assert_eq!(*said, all[0].0, "{style:?}");
    }
    insta::assert_snapshot!(all[0].0);
}
