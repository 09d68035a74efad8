//! How long a bake on Azure keeps its user waiting beside provisioning, against Packer's documented order: both on the same
//! simulated subscription, with the same modelled latencies, in one run. **Simulated**: no figure here is one of Azure's.
//!
//! `make bench`. Packer's order is that of its plugin `azure-arm` (`builder/azure/arm/builder.go`, version 2): group,
//! deployment (its parts as they depend on each other), SSH, steps, deallocate, generalize, image; then machine, interface,
//! network parts, disk and group are deleted one after the other, and only then is the artifact there. Its client looks at an
//! operation every 10 s, as `go-azure-sdk` does where it is told nothing else. What is left out of it (validation of the
//! template, reads of what is known, deletion of the deployment) would only make it slower.

#![expect(
    clippy::print_stdout,
    reason = "a program of its own, not part of the library"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testing::azure::Config;
use testing::azure::bodies::{self, IMAGE, NIC, NSG, PIP, VM, VNET};
use testing::azure::client::{COMPUTE, DISKS, NETWORK, RESOURCES, RawClient};
use testing::azure::harness::AzureHarness;
use testing::plan::provisioner;
use vault_bake::event::{Event, Stage};

/// A modelled second takes so long.
const SCALE: f64 = 0.05;
/// How long a machine takes from its request to SSH, modelled.
const BOOT_S: f64 = 20.0;
/// How long the steps take, modelled: the same for both, and not counted.
const STEPS_S: f64 = 120.0;
/// How often Packer's client looks, modelled.
const LOOK_S: f64 = 10.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (recorded, gone) = ours().await;
        let packer = packer().await;
        println!("simulated, with modelled latencies: seconds beside provisioning");
        println!("{:<44}{:>8}{:>10}", "", "seconds", "ratio");
        println!(
            "{:<44}{packer:>8.0}{:>10}",
            "Packer's order, until there is an artifact", 1
        );
        for (what, seconds) in [
            ("vault-bake, until the image is recorded", recorded),
            ("vault-bake, until nothing else is left", gone),
        ] {
            println!("{what:<44}{seconds:>8.0}{:>10.2}", seconds / packer);
        }
    });
}

fn modelled(real: Duration) -> f64 {
    real.as_secs_f64() / SCALE
}

fn real(modelled_s: f64) -> Duration {
    Duration::from_secs_f64(modelled_s * SCALE)
}

fn config() -> Config {
    Config {
        scale: SCALE,
        retry_after_s: Some(0),
        ..Config::default()
    }
}

/// Until the record is written, and until all else is gone; without the steps.
async fn ours() -> (f64, f64) {
    let mut azure = AzureHarness::new(config());
    azure.pace = SCALE;
    azure.request_timeout = Duration::from_secs(10);
    azure.harness.test = false;
    let sleep = |modelled_s: f64| format!("sleep {}\n", modelled_s * SCALE);
    // The guest answers at once, so its boot is part of the first step, and counted.
    let steps = sleep(BOOT_S + STEPS_S);
    let check = "echo 'ok 1 - app.works: it holds'\necho 1..1\n";
    azure.harness.plan.steps[0] = provisioner("app", &steps, Some(check));
    let recorded = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&recorded);
    let began = Instant::now();
    let baked = azure.bake(move |event| {
        if matches!(
            event,
            Event::StageFinished {
                stage: Stage::Record,
                ..
            }
        ) {
            *seen.lock().expect("nobody panicked") = Some(began.elapsed());
        }
    });
    let baked = baked.await.unwrap_or_else(|failed| panic!("{failed}"));
    let gone = began.elapsed();
    assert!(baked.leaks.is_empty(), "{:?}", baked.leaks);
    azure.well();
    let recorded = recorded.lock().expect("nobody panicked").expect("a record");
    (modelled(recorded) - STEPS_S, modelled(gone) - STEPS_S)
}

/// Until there is an artifact, without the steps.
async fn packer() -> f64 {
    let arm = &RawClient::start(config()).await;
    let began = Instant::now();
    for path in ["S/resourcegroups/rg", IMAGE] {
        arm.get(path, if path == IMAGE { COMPUTE } else { RESOURCES })
            .await;
    }
    arm.put("S/resourcegroups/rg", RESOURCES, &bodies::group())
        .await;
    looked(async {
        let (nsg, vnet, pip) = (bodies::nsg(), bodies::vnet(arm), bodies::pip());
        let network = async {
            done(arm, "PUT", NSG, NETWORK, Some(&nsg)).await;
            done(arm, "PUT", VNET, NETWORK, Some(&vnet)).await;
        };
        tokio::join!(network, done(arm, "PUT", PIP, NETWORK, Some(&pip)));
        done(arm, "PUT", NIC, NETWORK, Some(&bodies::nic(arm))).await;
        done(arm, "PUT", VM, COMPUTE, Some(&bodies::vm(arm))).await;
    })
    .await;
    for (path, version) in [(PIP, NETWORK), (VM, COMPUTE), (VM, COMPUTE)] {
        arm.get(path, version).await;
    }
    // By the end of the deployment the machine has booted.
    looked(done(
        arm,
        "POST",
        &format!("{VM}/deallocate"),
        COMPUTE,
        None,
    ))
    .await;
    arm.send("POST", &format!("{VM}/generalize"), COMPUTE, None)
        .await;
    looked(done(arm, "PUT", IMAGE, COMPUTE, Some(&bodies::image(arm)))).await;
    // Its machine does not say that disk and interface go with it; here they do, which spares it two operations.
    looked(done(arm, "DELETE", VM, COMPUTE, None)).await;
    looked(async {
        tokio::join!(
            done(arm, "DELETE", VNET, NETWORK, None),
            done(arm, "DELETE", PIP, NETWORK, None)
        );
        done(arm, "DELETE", NSG, NETWORK, None).await;
    })
    .await;
    arm.get("G/Microsoft.Compute/disks/vm-os", DISKS).await;
    looked(done(arm, "DELETE", "S/resourcegroups/rg", RESOURCES, None)).await;
    modelled(began.elapsed())
}

async fn done(
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

/// The end is seen by the look that comes next.
async fn looked(work: impl Future<Output = ()>) {
    let began = Instant::now();
    work.await;
    let looks = (began.elapsed().as_secs_f64() / real(LOOK_S).as_secs_f64())
        .ceil()
        .max(1.0);
    let seen = began + real(LOOK_S * looks);
    tokio::time::sleep_until(seen.into()).await;
}
