//! The base from packages: made, found again, and started with both kinds of firmware.

use serde_json::json;
use vault_bake::builder::{Builder as _, Machine as _};
use vault_bake::definition::platform::{Firmware, PlannedMachine};
use vault_bake::platform::qemu::{MachineSpec, Qemu, QemuOptions};
use vault_bake::process::Program;

use super::{PACKAGES, VmHarness, banner, build_spec, cache};

/// Starts a build VM, checks that it answers with the injected host key, shuts it down and captures
/// it.
async fn starts_and_captures(run: &str, firmware: Firmware, spec: MachineSpec, suspend: bool) {
    let Some(mut harness) = VmHarness::begin(run) else {
        return;
    };
    harness.qemu = Qemu::new(QemuOptions {
        use_snapshots: suspend,
        ..QemuOptions::new(cache())
    });
    let disk = harness.base(&PACKAGES, firmware).await;
    let disk_bytes = u64::from(spec.disk_gib) << 30;
    let boot = vault_bake::builder::Boot {
        disk: &disk,
        layer: None,
        machine: &PlannedMachine(json!(spec)),
        keys: &harness.keys,
        identity: None,
        role: "build",
        is_retry: false,
    };
    let mut machine = harness
        .qemu
        .boot(
            boot,
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt,
        )
        .await
        .expect("a machine");
    let message = banner(&harness, &mut machine).await;
    assert!(message.starts_with("SSH-2.0-OpenSSH"), "{message}");
    let scanned = Program::new("ssh-keyscan")
        .args(["-T", "30", "-t", "ed25519", "-p"])
        .arg(machine.endpoint().address.port().to_string())
        .arg("127.0.0.1")
        .run(&harness.interrupt)
        .await
        .expect("a scan");
    let scanned = String::from_utf8_lossy(&scanned).into_owned();
    assert!(
        scanned.contains(harness.keys.host_public.trim()),
        "{scanned}"
    );

    let console = machine.console().await;
    // A VM that resumed has printed nothing since.
    assert!(machine.resumed().is_some() || !console.is_empty());
    let control = |line: &String| line.chars().any(char::is_control);
    assert!(!console.iter().any(control), "{console:?}");

    let to = harness.teardown.work().join("captured.qcow2");
    let artifact = harness
        .qemu
        .capture(
            machine,
            to.clone(),
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt,
        )
        .await
        .expect("an artifact");
    assert!(artifact.raw.is_some_and(|raw| raw.exists()));
    let artifact = artifact.artifact.file().expect("a file").clone();
    assert_eq!(artifact.format, "qcow2");
    assert_eq!(artifact.virtual_size_bytes, disk_bytes);
    assert_eq!(
        vault_bake::digest::Digest::hash_file(&to).expect("a file"),
        (artifact.sha256, artifact.size_bytes)
    );
    harness.finish().await;
}

#[tokio::test]
async fn a_build_vm_of_a_native_base_answers_with_its_host_key_and_is_captured() {
    starts_and_captures("bios", Firmware::Bios, build_spec(), true).await;
}

mod exhaustive {
    use super::super::spec;
    use super::*;

    #[tokio::test]
    async fn build_vms_that_boot_with_either_firmware_answer_and_are_captured() {
        starts_and_captures("bios", Firmware::Bios, spec(), false).await;
        starts_and_captures("uefi", Firmware::Uefi, spec(), false).await;
    }
}
