//! The native base: made, found again, and started with both kinds of firmware.

use vault_bake::builder::qemu::{Qemu, QemuOptions};
use vault_bake::builder::{Builder as _, Machine as _};
use vault_bake::definition::{Firmware, MachineSpec};
use vault_bake::plan::PlannedMachine;
use vault_bake::process::Program;

use super::{PACKAGES, World, banner, build_spec, cache};

/// Starts a build VM, checks that it answers with the injected host key, shuts it down and captures it.
async fn starts_and_captures(run: &str, firmware: Firmware, spec: MachineSpec, suspend: bool) {
    let Some(mut world) = World::begin(run) else {
        return;
    };
    world.qemu = Qemu::new(QemuOptions {
        suspend,
        ..QemuOptions::new(cache())
    });
    let disk = world.base(&PACKAGES, firmware).await;
    let disk_bytes = u64::from(spec.disk_gib) << 30;
    let boot = vault_bake::builder::Boot {
        disk: &disk,
        layer: None,
        machine: &PlannedMachine::Qemu(spec),
        keys: &world.keys,
        identity: None,
        role: "build",
        again: false,
    };
    let mut machine = world
        .qemu
        .boot(boot, &mut world.teardown, &world.events, &world.interrupt)
        .await
        .expect("a machine");
    let said = banner(&world, &mut machine).await;
    assert!(said.starts_with("SSH-2.0-OpenSSH"), "{said}");
    let scanned = Program::new("ssh-keyscan")
        .args(["-T", "30", "-t", "ed25519", "-p"])
        .arg(machine.endpoint().address.port().to_string())
        .arg("127.0.0.1")
        .run(&world.interrupt)
        .await
        .expect("a scan");
    let scanned = String::from_utf8_lossy(&scanned).into_owned();
    assert!(scanned.contains(world.keys.host_public.trim()), "{scanned}");

    let console = machine.console().await;
    // One that resumed has printed nothing since.
    assert!(machine.resumed().is_some() || !console.is_empty());
    let control = |line: &String| line.chars().any(char::is_control);
    assert!(!console.iter().any(control), "{console:?}");

    let to = world.teardown.work().join("captured.qcow2");
    let artifact = world
        .qemu
        .capture(
            machine,
            to.clone(),
            &mut world.teardown,
            &world.events,
            &world.interrupt,
        )
        .await
        .expect("an artifact");
    assert!(artifact.raw.is_some_and(|raw| raw.exists()));
    let artifact = artifact.artifact.file().expect("a file").clone();
    assert_eq!(artifact.format, "qcow2");
    assert_eq!(artifact.virtual_size_bytes, disk_bytes);
    assert_eq!(
        vault_bake::digest::Digest::of_file(&to).expect("a file"),
        (artifact.sha256, artifact.size_bytes)
    );
    world.finish().await;
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
