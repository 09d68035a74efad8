//! Builds that are killed (kill -9) at a request.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{
    AzureBakeSetup, BTreeSet, Class, Duration, Fault, FaultKind, RELAXED, assert_clean,
    block_on_new_runtime, gallery, new_harness, requests, run_all, sample,
};

/// Kills each request once, alternately before and after its effect, with both kinds in each class.
#[test]
fn killed_bakes_are_swept_clean() {
    let requests = requests();
    let classes: BTreeSet<Class> = requests
        .iter()
        .map(|one| Class::classify(one, &requests))
        .collect();
    let kinds = [FaultKind::HeldBefore, FaultKind::HeldAfter];
    let cases_of = |class: Class| sample(&class.only(&requests), &kinds);
    check(&classes.into_iter().flat_map(cases_of).collect::<Vec<_>>());
}

/// Kills a build at each of `cases`.
pub fn check(cases: &[Fault]) {
    let began = Instant::now();
    let outcomes = run_all(cases, |fault| block_on_new_runtime(kill_at(fault)));
    let killed = outcomes.iter().filter(|one| one.killed).count();
    let recorded = outcomes
        .iter()
        .filter(|one| one.killed && one.recorded)
        .count();
    println!(
        "{killed} kills in {:.0} s: {recorded} after the record was written; {} bakes ended before",
        began.elapsed().as_secs_f64(),
        cases.len() - killed
    );
    assert!(recorded > 0 && recorded < killed && killed * 10 > cases.len() * 9);
}

/// Kills a build at a request, sweeps, and returns whether there is a record.
async fn kill_at(fault: &Fault) -> Killed {
    let azure = new_harness(RELAXED).await;
    azure.simulator.set_faults(vec![fault.clone()]);
    let ca = azure.folder.path().join("store").with_file_name("ca.pem");
    std::fs::write(&ca, azure.simulator.ca_pem()).expect("a certificate");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "matrix::kills::a_bake_that_is_killed",
            "--ignored",
        ])
        .env("AZURE_ROOT", azure.folder.path())
        .env("AZURE_URL", &azure.url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Reaped(child.expect("this test again"));
    let request_arrived = || {
        let requests = azure.simulator.requests();
        requests
            .iter()
            .any(|one| fault.hits(&one.operation, one.nth))
    };
    // The number of polls varies, so a build may end before the last one.
    while !request_arrived() && child.0.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(10));
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
        swept.iter().all(|one| one.leftovers.is_empty()),
        "{fault:?}: {swept:?}"
    );
    assert_clean(&azure, &format!("{fault:?}")).await;
    Killed {
        killed,
        recorded: azure.harness.verify().await.manifests > 0,
    }
}

struct Killed {
    /// Whether it was killed at the request and had not ended before.
    killed: bool,
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
#[ignore = "started by `killed_bakes_are_swept_clean` and `exhaustive`, as a process of its own"]
async fn a_bake_that_is_killed() {
    let root = std::env::var("AZURE_ROOT").expect("a folder");
    let url = std::env::var("AZURE_URL").expect("a subscription");
    let root = std::path::Path::new(&root);
    let ca = std::fs::read_to_string(root.join("ca.pem")).expect("a certificate");
    let mut setup = AzureBakeSetup::new(root, &url, &ca);
    RELAXED.set(&mut setup);
    setup.output.gallery = Some(gallery());
    let _ = setup.bake(|_| {}).await;
}
