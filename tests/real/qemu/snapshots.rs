//! Build VMs that resume from a VM snapshot.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use vault_bake::builder::{Disk, Machine};
use vault_bake::definition::Firmware;
use vault_bake::event::{Event, Events};
use vault_bake::platform::qemu::MachineSpec;
use vault_bake::platform::qemu::kvm_works;
use vault_bake::secret::Scrubber;
use vault_bake::ssh::{Connector, Script};

use super::{BOOT_DEADLINE, PACKAGES, VmHarness, build_spec};

/// Facts that a build VM reports.
struct VmFacts {
    resumed: Option<String>,
    facts: String,
    random: String,
    notes: Vec<String>,
}

const LOOK: &str = r#"
head -c 16 /dev/urandom | od -An -tx1
date +%s
ls /run/vault-bake /run | grep -c 'stand-by\|keys\.conf' || true
cat /run/vault-bake/authorized_keys
systemctl list-timers --no-legend | grep -c . || true
cat /proc/sys/kernel/randomize_va_space
"#;

/// Starts a build VM of this shape in its own run, and reads its facts.
async fn run(run: &str, spec: MachineSpec, disk: Option<Disk>) -> Option<(VmFacts, Disk)> {
    let mut harness = VmHarness::begin(run)?;
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&notes);
    harness.events = Events::new(move |event: &Event| {
        if let Event::Note { message } = event {
            let mut notes = noted.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(message.clone());
        }
    });
    let disk = match disk {
        Some(disk) => disk,
        None => harness.base(&PACKAGES, Firmware::Bios).await,
    };
    let (events, interrupt) = (harness.events.clone(), harness.interrupt.clone());
    let booting = harness.try_boot(&disk, spec, "build", None);
    let machine = booting.await.expect("a machine");
    let connector = Connector::new(&machine.endpoint(), &harness.keys, Scrubber::default());
    let connecting = connector.expect("keys");
    let connecting = connecting.connect(BOOT_DEADLINE, async || None, &events, &interrupt);
    let session = connecting.await.expect("a session with this run's keys");
    let script = Script {
        name: "look".to_owned(),
        text: LOOK.to_owned(),
        timeout: Duration::from_secs(60),
    };
    let text = session.output(script, &interrupt).await.expect("answers");
    let mut lines = text.lines();
    let random = lines.next().expect("random bytes").to_owned();
    let clock_s: u64 = lines
        .next()
        .and_then(|line| line.parse().ok())
        .expect("time");
    #[expect(
        clippy::disallowed_methods,
        reason = "the test compares the VM's clock with the host's"
    )]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let off_s = now.expect("after 1970").as_secs().abs_diff(clock_s);
    assert!(off_s < 10, "the VM's clock is {off_s} s off");
    let facts = lines.collect::<Vec<_>>().join("\n");
    let facts = facts.replace(harness.keys.user_public.trim_end(), "KEY OF THIS RUN");
    let vm = VmFacts {
        resumed: machine.resumed().map(|from| from.run.clone()),
        facts,
        random,
        notes: notes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    };
    drop((session, machine));
    harness.finish().await;
    Some((vm, disk))
}

/// Asserts that it has the keys of its run and none of the snapshot's, no timers, and fixed
/// addresses.
fn assert_facts(vm: &VmFacts) {
    insta::allow_duplicates! {
        insta::assert_snapshot!(vm.facts, @"
        0
        KEY OF THIS RUN
        0
        0
        ");
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped() -> bool {
    if kvm_works() {
        eprintln!("SKIPPED: build VMs boot under KVM, and have no snapshots");
    }
    kvm_works()
}

#[tokio::test]
async fn build_vms_that_resume_from_a_snapshot_have_keys_clock_and_randomness_of_their_own() {
    if skipped() {
        return;
    }
    // If no other test has saved a snapshot, the first VM boots.
    let Some((first, disk)) = run("resume-first", build_spec(), None).await else {
        return;
    };
    assert_facts(&first);
    let mut random = vec![first.random];
    for again in ["resume-again", "resume-once-more"] {
        let again = run(again, build_spec(), Some(disk.clone())).await;
        let (vm, _) = again.expect("a machine");
        assert!(vm.resumed.is_some(), "{:?}", vm.notes);
        assert_facts(&vm);
        assert!(!random.contains(&vm.random), "it has its own randomness");
        random.push(vm.random);
    }
}

mod exhaustive {
    use std::fs;
    use std::path::PathBuf;

    use super::super::{cache, spec};
    use super::*;

    /// Returns a shape that no other test uses.
    fn own_spec() -> MachineSpec {
        MachineSpec {
            memory_mib: 1000,
            ..spec()
        }
    }

    /// Returns the record of the VM snapshot that `run` saved.
    fn record_of(run: &str) -> Option<PathBuf> {
        let records = fs::read_dir(cache().join("suspended")).ok()?.flatten();
        let mut paths = records
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"));
        let is_it = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            record["run"] == run
        };
        paths.find(is_it)
    }

    /// Returns the path of its memory.
    fn memory_of(run: &str) -> PathBuf {
        cache().join("suspended").join(format!("{run}.memory"))
    }

    /// A snapshot of an earlier, maybe killed, test would be resumed.
    fn forget(run: &str) {
        let memory = memory_of(run);
        let disk = memory.with_extension("qcow2");
        for path in record_of(run).into_iter().chain([memory, disk]) {
            if path.exists() {
                fs::remove_file(path).expect("it is forgotten");
            }
        }
    }

    #[tokio::test]
    async fn a_build_vm_boots_if_the_memory_of_its_snapshot_changed() {
        if skipped() {
            return;
        }
        for old in ["suspend-first", "suspend-third"] {
            forget(old);
        }
        let Some((first, disk)) = run("suspend-first", own_spec(), None).await else {
            return;
        };
        assert_eq!(first.resumed, None);
        assert_facts(&first);
        let mut random = vec![first.random];
        for again in ["suspend-again", "suspend-once-more"] {
            let (vm, _) = run(again, own_spec(), Some(disk.clone()))
                .await
                .expect("a machine");
            assert_eq!(vm.resumed.as_deref(), Some("suspend-first"));
            assert_facts(&vm);
            assert!(!random.contains(&vm.random), "it has its own randomness");
            random.push(vm.random);
        }
        // If the memory changed, with the old time and size, a build VM boots and saves a new
        // snapshot.
        let memory = memory_of("suspend-first");
        let written = fs::metadata(&memory).and_then(|file| file.modified());
        let mut bytes = fs::read(&memory).expect("the memory");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&memory, bytes).expect("another memory");
        let file = fs::File::options().write(true).open(&memory);
        let touched = file.and_then(|file| file.set_modified(written?));
        touched.expect("as if untouched");
        let (third, _) = run("suspend-third", own_spec(), Some(disk))
            .await
            .expect("a machine");
        assert_eq!(third.resumed, None);
        assert_facts(&third);
        let noted = third.notes.iter().any(|note| {
            note.contains("cannot resume") && note.contains("the saved memory has changed")
        });
        assert!(noted, "{:?}", third.notes);
        assert!(record_of("suspend-third").is_some());
    }
}
