//! Compares a build on Azure with Packer's order of requests, without the steps (`make bench`).
//! Both run on the same simulated subscription, with the same latencies.
//! **Simulated**: no figure is from Azure.

// Packer's order is that of its plugin `azure-arm` (`builder/azure/arm/builder.go`, version 2):
// group, deployment, SSH, steps, deallocate, generalize, image. It then deletes VM, interface,
// network, disk and group one after the other, and reports the artifact after that.
// Its client polls an operation every 10 s, the default of `go-azure-sdk`. The simulation omits
// template validation, some reads, and the deletion of the deployment: Packer would be slower.

#![expect(
    clippy::print_stdout,
    reason = "a separate program, not part of the library"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testing::azure::Config;
use testing::azure::bodies::{self, IMAGE, NIC, NSG, PIP, VM, VNET};
use testing::azure::client::{COMPUTE, DISKS, NETWORK, RESOURCES, RawClient};
use testing::azure::harness::AzureHarness;
use testing::plan::provisioner;
use vault_bake::event::{Event, Stage};

/// Real seconds for each simulated second.
const SCALE: f64 = 0.05;
/// Simulated seconds from the request for a VM to SSH.
const BOOT_S: f64 = 20.0;
/// Simulated seconds of the steps: the same for both, and not counted.
const STEPS_S: f64 = 120.0;
/// Simulated seconds between two polls of Packer's client.
const POLL_S: f64 = 10.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (recorded, removed) = time_vault_bake().await;
        let packer = time_packer().await;
        println!("simulated latencies: seconds without the steps");
        println!("{:<44}{:>8}{:>10}", "", "seconds", "ratio");
        println!(
            "{:<44}{packer:>8.0}{:>10}",
            "Packer's order, until the artifact exists", 1
        );
        for (what, seconds) in [
            ("vault-bake, until the image is recorded", recorded),
            ("vault-bake, until all else is removed", removed),
        ] {
            println!("{what:<44}{seconds:>8.0}{:>10.2}", seconds / packer);
        }
    });
}

fn simulated_s(real: Duration) -> f64 {
    real.as_secs_f64() / SCALE
}

fn real_time(simulated_s: f64) -> Duration {
    Duration::from_secs_f64(simulated_s * SCALE)
}

fn config() -> Config {
    Config {
        scale: SCALE,
        retry_after_s: Some(0),
        ..Config::default()
    }
}

/// Returns the seconds until the manifest is recorded, and until all else is removed.
async fn time_vault_bake() -> (f64, f64) {
    let mut azure = AzureHarness::new(config());
    azure.time_scale = SCALE;
    azure.request_timeout = Duration::from_secs(10);
    azure.harness.test = false;
    let sleep = |simulated_s: f64| format!("sleep {}\n", simulated_s * SCALE);
    // The simulated VM answers at once, so the first step contains the boot, which counts.
    let steps = sleep(BOOT_S + STEPS_S);
    let check = "echo 'ok 1 - app.works: it works'\necho 1..1\n";
    azure.harness.plan.steps[0] = provisioner("app", &steps, Some(check));
    let recorded = Arc::new(Mutex::new(None));
    let recorded_at = Arc::clone(&recorded);
    let began = Instant::now();
    let baked = azure.bake(move |event| {
        if matches!(
            event,
            Event::StageFinished {
                stage: Stage::Record,
                ..
            }
        ) {
            *recorded_at.lock().expect("no panic") = Some(began.elapsed());
        }
    });
    let baked = baked.await.unwrap_or_else(|failed| panic!("{failed}"));
    let removed = began.elapsed();
    assert!(baked.leftovers.is_empty(), "{:?}", baked.leftovers);
    azure.assert_no_violations();
    let recorded = recorded.lock().expect("no panic").expect("a record");
    (
        simulated_s(recorded) - STEPS_S,
        simulated_s(removed) - STEPS_S,
    )
}

/// Returns the seconds until Packer has an artifact, without the steps.
async fn time_packer() -> f64 {
    let arm = &RawClient::start(config()).await;
    let began = Instant::now();
    for path in ["S/resourcegroups/rg", IMAGE] {
        arm.get(path, if path == IMAGE { COMPUTE } else { RESOURCES })
            .await;
    }
    arm.put("S/resourcegroups/rg", RESOURCES, &bodies::group())
        .await;
    poll_until_done(async {
        let (nsg, vnet, pip) = (bodies::nsg(), bodies::vnet(arm), bodies::pip());
        let network = async {
            run(arm, "PUT", NSG, NETWORK, Some(&nsg)).await;
            run(arm, "PUT", VNET, NETWORK, Some(&vnet)).await;
        };
        tokio::join!(network, run(arm, "PUT", PIP, NETWORK, Some(&pip)));
        run(arm, "PUT", NIC, NETWORK, Some(&bodies::nic(arm))).await;
        run(arm, "PUT", VM, COMPUTE, Some(&bodies::vm(arm))).await;
    })
    .await;
    for (path, version) in [(PIP, NETWORK), (VM, COMPUTE), (VM, COMPUTE)] {
        arm.get(path, version).await;
    }
    // The VM has booted when the deployment ends.
    poll_until_done(run(arm, "POST", &format!("{VM}/deallocate"), COMPUTE, None)).await;
    arm.send("POST", &format!("{VM}/generalize"), COMPUTE, None)
        .await;
    poll_until_done(run(arm, "PUT", IMAGE, COMPUTE, Some(&bodies::image(arm)))).await;
    // Here the VM's disk and interface are deleted with it. Packer needs two more operations.
    poll_until_done(run(arm, "DELETE", VM, COMPUTE, None)).await;
    poll_until_done(async {
        tokio::join!(
            run(arm, "DELETE", VNET, NETWORK, None),
            run(arm, "DELETE", PIP, NETWORK, None)
        );
        run(arm, "DELETE", NSG, NETWORK, None).await;
    })
    .await;
    arm.get("G/Microsoft.Compute/disks/vm-os", DISKS).await;
    poll_until_done(run(arm, "DELETE", "S/resourcegroups/rg", RESOURCES, None)).await;
    simulated_s(began.elapsed())
}

async fn run(
    arm: &RawClient,
    method: &str,
    path: &str,
    version: &str,
    body: Option<&serde_json::Value>,
) {
    let ended = arm.run(method, path, version, body).await;
    assert!(
        ["Succeeded", "200", "204"].contains(&ended.as_str()),
        "{method} {path}: {ended}"
    );
}

/// Waits for the work, and then until the next poll, which sees its end.
async fn poll_until_done(work: impl Future<Output = ()>) {
    let began = Instant::now();
    work.await;
    let polls = (began.elapsed().as_secs_f64() / real_time(POLL_S).as_secs_f64())
        .ceil()
        .max(1.0);
    let next_poll = began + real_time(POLL_S * polls);
    tokio::time::sleep_until(next_poll.into()).await;
}
