//! VMs that die, several VMs at once, and a base that needs cloud-init.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest as _, Sha512};
use vault_bake::builder::access::{self, Purpose};
use vault_bake::builder::{
    AccessBy, Builder as _, BuilderError, Content, Disk, DiskFile, EndCause, Machine as _,
};
use vault_bake::definition::platform::{Firmware, PlannedBase};
use vault_bake::digest::{Digest, hex};
use vault_bake::platform::qemu::machine::emulation::FIXED_ADDRESSES;
use vault_bake::platform::qemu::{LockedBase, Qemu, QemuBase, QemuOptions, kvm_works};
use vault_bake::process::Program;
use vault_bake::wait::{Interrupt, Poll, Wait};

use super::{VmHarness, banner, cache, spec};

/// Makes a disk of zeros, without an operating system.
async fn blank(folder: &Path) -> Disk {
    let path = folder.join("blank.qcow2");
    Program::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&path)
        .arg("16M")
        .run(&Interrupt::default())
        .await
        .expect("a disk");
    let file = DiskFile {
        sha256: Digest::hash_file(&path).expect("a file").0,
        path,
        format: "qcow2".into(),
    };
    Disk {
        content: Content::File(file),
        firmware: Firmware::Bios,
        access: AccessBy::Credentials,
        kernel: None,
    }
}

/// Returns the id of the process that has `marker` as an argument.
fn marked(marker: &str) -> Option<String> {
    std::fs::read_dir("/proc")
        .expect("processes")
        .find_map(|entry| {
            let entry = entry.ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            line.split(|byte| *byte == 0)
                .any(|argument| argument == marker.as_bytes())
                .then(|| entry.file_name().to_string_lossy().into_owned())
        })
}

#[tokio::test]
async fn a_machine_that_cannot_start_is_told_at_once_with_its_last_words() {
    let Some(mut harness) = VmHarness::begin("early-death") else {
        return;
    };
    let disk = blank(harness.runs.path()).await;
    let mut machine = spec();
    // QEMU refuses this many processors.
    machine.cpus = 100_000;
    let began = Instant::now();
    let error = harness
        .try_boot(&disk, machine, "build", None)
        .await
        .err()
        .expect("no machine");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let BuilderError::Died { machine, end } = error else {
        panic!("{error}");
    };
    assert_eq!((machine.as_str(), end.cause), ("build", EndCause::Exit(1)));
    assert!(end.details.contains("CPUs"), "{end}");
    std::fs::remove_file(&disk.file().expect("a file").path).expect("the disk is ours");
    harness.finish().await;
}

#[tokio::test]
async fn the_error_of_a_vm_that_dies_later_names_its_end() {
    let Some(mut harness) = VmHarness::begin("later-death") else {
        return;
    };
    let disk = blank(harness.runs.path()).await;
    let mut machine = harness.boot(&disk, "build").await;
    assert_eq!(machine.end(), None);
    let pid = marked("guest=vault-bake-later-death-build").expect("it runs");
    Program::new("kill")
        .args(["-KILL", &pid])
        .run(&harness.interrupt)
        .await
        .expect("killed");
    let end = Wait::new("the end", Duration::from_secs(10))
        .until(&harness.events, &harness.interrupt, || {
            let died = machine.end();
            async {
                died.map_or(
                    Poll::NotYet("alive".into()),
                    Poll::<_, std::io::Error>::Ready,
                )
            }
        })
        .await
        .expect("it died");
    assert_eq!(end.cause, EndCause::Signal(9), "{end}");
    drop(machine);
    std::fs::remove_file(&disk.file().expect("a file").path).expect("the disk is ours");
    harness.finish().await;
}

#[tokio::test]
async fn two_machines_at_once_do_not_disturb_each_other_and_dropping_kills() {
    let Some(mut harness) = VmHarness::begin("two") else {
        return;
    };
    let disk = blank(harness.runs.path()).await;
    let one = harness.boot(&disk, "build").await;
    let mut other = harness.boot(&disk, "test").await;
    assert_ne!(one.endpoint().address, other.endpoint().address);
    let pid = marked("guest=vault-bake-two-build").expect("it runs");
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("a command line");
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.contains("type=11,path=credential-build"), "{line}");
    let lines = if kvm_works() { "" } else { FIXED_ADDRESSES };
    let secret = access::credential(&harness.keys, Purpose::Build { lines });
    let private = harness
        .keys
        .host_private
        .expose()
        .lines()
        .nth(2)
        .expect("a key");
    assert!(
        !line.contains(&secret.expose()[40..80]) && !line.contains(private),
        "{line}"
    );
    let credential = harness.teardown.work().join("credential-build");
    assert!(!credential.exists(), "QEMU has read it");
    assert!(one.endpoint().address.ip().is_loopback());
    let address = one.endpoint().address;
    drop(one);
    Wait::new("the port to close", Duration::from_secs(10))
        .until(&harness.events, &harness.interrupt, || async {
            match tokio::net::TcpStream::connect(address).await {
                Err(_) => Poll::Ready(()),
                Ok(_) => Poll::<(), std::io::Error>::NotYet("open".into()),
            }
        })
        .await
        .expect("dropping ends the machine");
    assert_eq!(other.end(), None);
    // The end of the run kills the VM that still runs.
    std::fs::remove_file(&disk.file().expect("a file").path).expect("the disk is ours");
    harness.finish().await;
    let words = Wait::new("the end", Duration::from_secs(10))
        .until(
            &vault_bake::event::Events::silent(),
            &Interrupt::default(),
            || {
                let died = other.end();
                async {
                    died.map_or(
                        Poll::NotYet("alive".into()),
                        Poll::<_, std::io::Error>::Ready,
                    )
                }
            },
        )
        .await;
    assert!(words.is_ok());
}

#[tokio::test]
async fn a_lock_of_another_day_is_refused_before_anything_is_installed() {
    let Some(mut harness) = VmHarness::begin("old-lock") else {
        return;
    };
    let cache = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(QemuOptions::new(cache.path()));
    let mut base = super::planned(&[], Firmware::Bios, &harness.events, &harness.interrupt).await;
    let index = base.locked["index"].as_array_mut().expect("packages");
    let updates = index
        .iter_mut()
        .find(|one| one["suite"] == "trixie-updates");
    updates.expect("an index")["sha256"] = json!(Digest::hash_bytes("another day"));
    let error = qemu
        .base(
            &base,
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt,
        )
        .await
        .expect_err("refused");
    assert!(
        matches!(&error, BuilderError::IndexChanged { suite, .. } if suite.contains("trixie-updates")),
        "{error}"
    );
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("vault-bake lock"), "{hint}");
    harness.finish().await;
    assert_eq!(
        std::fs::read_dir(cache.path().join("bases"))
            .expect("a folder")
            .count(),
        1,
        "only the lock file"
    );
}

/// A base with cloud-init replaces the cloud image of a distribution.
#[tokio::test]
async fn a_cloud_image_boots_with_keys_by_cloud_init() {
    let Some(mut harness) = VmHarness::begin("cloud") else {
        return;
    };
    let made = harness.base(&["cloud-init"], Firmware::Bios).await;
    let path = &made.file().expect("a file").path;
    let sha512 = hex(&Sha512::digest(std::fs::read(path).expect("a disk")));
    let url = format!("file://{}", path.display());
    let base = PlannedBase {
        wanted: json!(QemuBase::CloudImage {
            url: url.clone(),
            sha512: sha512.clone(),
            firmware: Firmware::Bios,
        }),
        locked: json!(LockedBase::CloudImage { url, sha512 }),
    };
    let disk = harness
        .qemu
        .base(
            &base,
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt,
        )
        .await
        .expect("an image");
    assert_eq!(disk.access, AccessBy::CloudInit);
    assert!(
        disk.file()
            .expect("a file")
            .path
            .starts_with(std::fs::canonicalize(cache()).expect("a cache"))
    );
    let mut machine = harness.boot(&disk, "build").await;
    banner(&harness, &mut machine).await;
    let port = machine.endpoint().address.port().to_string();
    // cloud-init may restart the server after its first answer.
    let wait = Wait::new("a scan", Duration::from_secs(120));
    let scanned = wait.until(&harness.events, &harness.interrupt, || async {
        let scan = Program::new("ssh-keyscan")
            .args(["-T", "30", "-t", "ed25519", "-p", &port, "127.0.0.1"])
            .run(&harness.interrupt);
        match scan.await {
            Ok(scanned) => Poll::<_, String>::Ready(scanned),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    let scanned = scanned.await.unwrap_or_else(|error| panic!("{error}"));
    let scanned = String::from_utf8_lossy(&scanned).into_owned();
    assert!(
        scanned.contains(harness.keys.host_public.trim()),
        "{scanned}"
    );
    drop(machine);
    harness.finish().await;
}

#[tokio::test]
async fn a_vm_that_ignores_the_power_button_is_not_captured() {
    let Some(mut harness) = VmHarness::begin("deaf") else {
        return;
    };
    let mut settings = QemuOptions::new(cache());
    settings.shutdown_timeout = Duration::from_secs(2);
    harness.qemu = Qemu::new(settings);
    let disk = blank(harness.runs.path()).await;
    let machine = harness.try_boot(&disk, spec(), "build", None).await;
    let machine = machine.expect("a machine");
    let to = harness.runs.path().join("captured.qcow2");
    let error = harness
        .qemu
        .capture(
            machine,
            to.clone(),
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt,
        )
        .await
        .expect_err("nothing to capture");
    assert!(
        matches!(error, BuilderError::StillRunning { .. }),
        "{error}"
    );
    assert!(!to.exists());
    std::fs::remove_file(&disk.file().expect("a file").path).expect("the disk is ours");
    harness.finish().await;
}

#[tokio::test]
async fn an_interrupt_while_packages_are_installed_leaves_nothing() {
    let Some(mut harness) = VmHarness::begin("stopped") else {
        return;
    };
    let cache = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(QemuOptions::new(cache.path()));
    let base = super::planned(&[], Firmware::Bios, &harness.events, &harness.interrupt).await;
    let (interrupt, silent) = (
        harness.interrupt.clone(),
        vault_bake::event::Events::silent(),
    );
    let bases = cache.path().join("bases");
    // Late enough that programs of the new root unpack packages, with its file systems mounted.
    let stop = async {
        let never = Interrupt::default();
        let _ = Wait::new("the root", Duration::from_secs(120))
            .until(&silent, &never, || async {
                let found = std::fs::read_dir(&bases)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .any(|entry| {
                        std::fs::read_dir(entry.path())
                            .into_iter()
                            .flatten()
                            .flatten()
                            .any(|inner| {
                                inner.path().join("var/lib/dpkg/info/systemd.list").exists()
                            })
                    });
                if found {
                    Poll::Ready(())
                } else {
                    Poll::<(), std::io::Error>::NotYet("none".into())
                }
            })
            .await;
        interrupt.raise();
    };
    let (made, ()) = tokio::join!(
        qemu.base(
            &base,
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt
        ),
        stop
    );
    assert!(made.is_err());
    harness.finish().await;
    let left: Vec<_> = std::fs::read_dir(&bases)
        .expect("bases")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left.len(), 1, "only the lock file: {left:?}");
    let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(
        !mounts.contains(&cache.path().display().to_string()),
        "{mounts}"
    );
}

#[tokio::test]
async fn a_cloud_image_that_builds_on_another_file_is_refused() {
    let Some(mut harness) = VmHarness::begin("backing") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let disk = blank(folder.path()).await;
    let path = folder.path().join("overlay.qcow2");
    Program::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(&disk.file().expect("a file").path)
        .arg(&path)
        .run(&harness.interrupt)
        .await
        .expect("an overlay");
    let sha512 = hex(&Sha512::digest(std::fs::read(&path).expect("a disk")));
    let url = path.display().to_string();
    let base = PlannedBase {
        wanted: json!(QemuBase::CloudImage {
            url: url.clone(),
            sha512: sha512.clone(),
            firmware: Firmware::Bios,
        }),
        locked: json!(LockedBase::CloudImage { url, sha512 }),
    };
    let error = harness
        .qemu
        .base(
            &base,
            &mut harness.teardown,
            &harness.events,
            &harness.interrupt,
        )
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("has the backing file"), "{error}");
    harness.finish().await;
}
