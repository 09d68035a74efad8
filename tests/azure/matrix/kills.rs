//! A kill -9 at a request.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{
    AzureBakeSetup, BTreeSet, Class, Duration, Fault, FaultKind, UNHURRIED, alone, each, gallery,
    requests, sample, settled, world,
};

/// Kills before the effect of one request and after the effect of the next: each request once, both kinds in each
/// class.
#[test]
fn killed_bakes_are_swept_clean() {
    let requests = requests();
    let classes: BTreeSet<Class> = requests
        .iter()
        .map(|one| Class::of(one, &requests))
        .collect();
    let kinds = [FaultKind::HeldBefore, FaultKind::HeldAfter];
    let of = |class: Class| sample(&class.only(&requests), &kinds);
    check(&classes.into_iter().flat_map(of).collect::<Vec<_>>());
}

/// Kills a bake at each of `cases`.
pub fn check(cases: &[Fault]) {
    let began = Instant::now();
    let outcomes = each(cases, |fault| alone(killed(fault)));
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
    let azure = world(UNHURRIED).await;
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
    let asked = || {
        let requests = azure.simulator.requests();
        requests
            .iter()
            .any(|one| fault.hits(&one.operation, one.nth))
    };
    // How often an operation is looked at differs, so a bake may end before the last look.
    while !asked() && child.0.try_wait().expect("a child").is_none() {
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
#[ignore = "started by `killed_bakes_are_swept_clean` and `exhaustive`, as a process of its own"]
async fn a_bake_that_is_killed() {
    let root = std::env::var("AZURE_ROOT").expect("a folder");
    let url = std::env::var("AZURE_URL").expect("a subscription");
    let root = std::path::Path::new(&root);
    let ca = std::fs::read_to_string(root.join("ca.pem")).expect("a certificate");
    let mut setup = AzureBakeSetup::new(root, &url, &ca);
    UNHURRIED.set(&mut setup);
    setup.output.gallery = Some(gallery());
    let _ = setup.bake(|_| {}).await;
}
