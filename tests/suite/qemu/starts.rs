//! Failing starts: leftovers of one do not affect the next, and the causes of ends are
//! distinguished.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;

use vault_bake::builder::{AccessBy, BuilderError, EndCause, Machine as _};
use vault_bake::definition::Firmware;
use vault_bake::platform::qemu::kvm_works;

use super::fake::{Lab, Run, Start};

const RUNS: Start = Start::Run(Run {
    keys: false,
    closes_keys: false,
    memory: false,
    refuses: "",
    status: "running",
    says: "",
    ends_after: "",
    ends: "",
});

/// A QEMU that runs, changed by `change`.
fn runs(change: impl FnOnce(&mut Run)) -> Start {
    let mut run = Run {
        status: "paused",
        ..Run::default()
    };
    change(&mut run);
    Start::Run(run)
}

/// Every file, folder and socket that a start of a VM can make.
fn leave_everything(lab: &Lab, role: &str) {
    let work = lab.teardown.work();
    let files = [
        format!("overlay-{role}.qcow2"),
        format!("upload-{role}.raw"),
        format!("vars-{role}.fd"),
        format!("credential-{role}"),
        format!("cloud-{role}.raw"),
        format!("identity-{role}.raw"),
        format!("serial-{role}.log"),
    ];
    for name in files {
        fs::write(work.join(name), "of an earlier start").expect("a file");
    }
    let seed = work.join(format!("cloud-{role}"));
    fs::create_dir(&seed).expect("a folder");
    fs::write(seed.join("user-data"), "of an earlier start").expect("a file");
    for end in ["qmp", "keys", "memory"] {
        let socket = UnixListener::bind(work.join(format!("{role}.{end}")));
        drop(socket.expect("a socket"));
    }
}

#[tokio::test]
async fn what_an_earlier_start_left_is_in_the_way_of_no_later_one() {
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        for access in [AccessBy::Credentials, AccessBy::CloudInit] {
            for role in ["build", "test"] {
                let mut lab = Lab::new(firmware, access);
                lab.settings.use_snapshots = false;
                leave_everything(&lab, role);
                let booted = lab.boot(&[RUNS], role, false).await;
                if let Err(error) = booted {
                    panic!("{firmware:?} {access:?} {role}: {error}");
                }
                let stale: Vec<_> = fs::read_dir(lab.teardown.work())
                    .expect("the work folder")
                    .map(|entry| entry.expect("an entry").path())
                    .filter(|path| path.metadata().is_ok_and(|it| it.len() < 100))
                    .filter(|path| {
                        fs::read_to_string(path).is_ok_and(|text| text == "of an earlier start")
                    })
                    .collect();
                assert_eq!(stale, Vec::<std::path::PathBuf>::new());
            }
        }
    }
}

#[tokio::test]
async fn wherever_a_snapshot_fails_the_machine_boots_from_scratch() {
    if skipped() {
        return;
    }
    let cases: [(&str, Start); 4] = [
        ("QEMU crashes", Start::Abort),
        ("QEMU refuses", Start::Refuse),
        ("no port for keys", runs(|_| {})),
        (
            "QEMU crashes while the VM boots",
            runs(|run| {
                run.keys = true;
                run.ends_after = "human-monitor-command";
                run.ends = "kill -ABRT $$";
            }),
        ),
    ];
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        for (name, first) in &cases {
            let mut lab = Lab::new(firmware, AccessBy::Credentials);
            let booted = lab.boot(&[*first, RUNS], "build", false).await;
            let mut machine = booted.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(machine.end(), None, "{name}");
            assert_eq!(lab.starts(), 2, "{name}");
            let notes = lab.notes().join("\n");
            assert!(
                notes.starts_with("cannot save a VM snapshot, booting again: "),
                "{name}: {notes}"
            );
            assert_eq!(lab.snapshots(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test]
async fn wherever_a_resume_fails_the_machine_boots_from_scratch() {
    if skipped() {
        return;
    }
    let all = |run: &mut Run| {
        run.keys = true;
        run.memory = true;
    };
    let cases: [(&str, &str, Start); 10] = [
        ("signal 6", "memory", Start::Abort),
        ("exited with status 1", "memory", Start::Refuse),
        (
            "told to refuse",
            "memory",
            runs(|run| run.refuses = "query-version"),
        ),
        // Its socket for memory does not exist.
        ("No such file", "memory", runs(|run| run.keys = true)),
        ("the saved memory has changed", "another", runs(all)),
        (
            "told to refuse",
            "memory",
            runs(|run| {
                all(run);
                run.refuses = "query-status";
            }),
        ),
        (
            "failed",
            "memory",
            runs(|run| {
                all(run);
                run.status = "failed";
            }),
        ),
        (
            "told to refuse",
            "memory",
            runs(|run| {
                all(run);
                run.refuses = "cont";
            }),
        ),
        // The port for keys does not exist.
        ("No such file", "memory", runs(|run| run.memory = true)),
        (
            "cannot control the build VM: ",
            "memory",
            runs(|run| {
                all(run);
                run.closes_keys = true;
            }),
        ),
    ];
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        for (why, memory, first) in &cases {
            let mut lab = Lab::new(firmware, AccessBy::Credentials);
            lab.put_snapshot(memory);
            // The next start saves a new snapshot, which fails too.
            let starts = [*first, Start::Abort, RUNS];
            let booted = lab.boot(&starts, "build", false).await;
            let mut machine = booted.unwrap_or_else(|error| panic!("{why}: {error}"));
            assert_eq!(machine.end(), None, "{why}");
            assert_eq!(machine.resumed(), None, "{why}");
            assert_eq!(lab.starts(), 3, "{why}");
            let notes = lab.notes();
            let assert_noted = |prefix: &str, text: &str| {
                let is_it = |one: &String| one.starts_with(prefix) && one.contains(text);
                assert!(notes.iter().any(is_it), "{why}: {notes:?}");
            };
            assert_noted("cannot resume from the VM snapshot, booting instead: ", why);
            assert_noted("cannot save a VM snapshot, booting again: ", "signal 6");
            assert_eq!(lab.snapshots(), Vec::<String>::new(), "{why}");
        }
    }
}

/// A missing program fails every way to start. It is reported once, and no snapshot is lost.
#[tokio::test]
async fn a_missing_qemu_is_told_as_such_and_costs_no_snapshot() {
    if skipped() {
        return;
    }
    for has_snapshot in [false, true] {
        let mut lab = Lab::new(Firmware::Bios, AccessBy::Credentials);
        lab.settings.tools.qemu_system = "/nonexistent/qemu-system-x86_64".into();
        if has_snapshot {
            lab.put_snapshot("memory");
        }
        let before = lab.snapshots();
        let error = lab.boot(&[], "build", false).await.err().expect("no QEMU");
        let expected = "cannot start qemu-system-x86_64: No such file or directory (os error 2)";
        assert_eq!(error.to_string(), expected);
        assert_eq!(lab.notes(), Vec::<String>::new());
        assert_eq!(lab.snapshots(), before);
    }
}

/// A second start after a failure of the platform uses nothing that may have been the cause.
#[tokio::test]
async fn a_second_start_uses_no_snapshot() {
    let mut lab = Lab::new(Firmware::Bios, AccessBy::Credentials);
    lab.put_snapshot("memory");
    let booted = lab.boot(&[RUNS], "build", true).await;
    assert_eq!(booted.expect("a machine").resumed(), None);
    assert_eq!(lab.notes(), Vec::<String>::new());
    assert_eq!(lab.snapshots().len(), 3, "it is there for the next one");
}

/// A snapshot's disk keeps its size, so a VM with a larger disk does not resume from it.
#[tokio::test]
async fn a_build_vm_with_another_disk_size_uses_no_snapshot() {
    if skipped() {
        return;
    }
    for (more_gib, resumes) in [(0, true), (1, false)] {
        let mut lab = Lab::new(Firmware::Bios, AccessBy::Credentials);
        lab.put_snapshot("memory");
        lab.disk_gib += more_gib;
        // A resume fails at the first start, and the new snapshot at the next one.
        let starts = [Start::Abort, Start::Abort, RUNS];
        let starts = &starts[usize::from(!resumes)..];
        let booted = lab.boot(starts, "build", false).await;
        booted.unwrap_or_else(|error| panic!("{more_gib} GiB more: {error}"));
        let notes = lab.notes().join("\n");
        let tried = notes.contains("cannot resume from the VM snapshot");
        assert_eq!(tried, resumes, "{more_gib} GiB more: {notes}");
    }
}

#[tokio::test]
async fn what_ended_a_machine_that_ran_is_told_apart() {
    let cases: [(&str, &str, EndCause); 11] = [
        ("kill -ABRT $$", "", EndCause::Signal(6)),
        ("kill -KILL $$", "", EndCause::Signal(9)),
        ("kill -SEGV $$", "", EndCause::Signal(11)),
        ("echo 'out of memory' >&2; exit 1", "", EndCause::Exit(1)),
        // The host asked QEMU to end, which it does without an error.
        ("exit 0", "host-signal", EndCause::Exit(0)),
        ("exit 0", "host-qmp-quit", EndCause::Exit(0)),
        ("exit 0", "host-error", EndCause::Exit(0)),
        ("exit 0", "guest-shutdown", EndCause::GuestShutdown),
        ("exit 0", "guest-reset", EndCause::GuestReset),
        ("exit 0", "guest-panic", EndCause::GuestPanic),
        // The first event counts: what the VM did.
        ("kill -ABRT $$", "guest-panic", EndCause::GuestPanic),
    ];
    for (ends, says, expected) in cases {
        let mut lab = Lab::new(Firmware::Bios, AccessBy::Credentials);
        let start = runs(|run| {
            run.says = says;
            run.ends = ends;
        });
        let mut machine = lab.boot(&[start], "test", false).await.expect("a machine");
        assert_eq!(machine.end(), None);
        let end = lab.end(&mut machine).await;
        assert_eq!(end.cause, expected, "{ends} {says}: {end}");
        let is_guest = says.starts_with("guest-");
        assert_eq!(end.cause.is_platform(), !is_guest, "{end}");
        assert_eq!(machine.end(), Some(end), "it does not change");
    }
}

/// QEMU runs on after its guest's kernel ended, if that kernel has no driver that tells it.
#[tokio::test]
async fn what_the_console_says_of_the_kernel_ends_the_machine() {
    let stale = "[   27.3] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI";
    let of_emulation = match kvm_works() {
        true => EndCause::GuestPanic,
        false => EndCause::Emulation,
    };
    let panic = "[   28.8] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---";
    let cases = [
        (vec![panic], EndCause::GuestPanic),
        (vec![stale, panic], of_emulation),
    ];
    for (lines, expected) in cases {
        let mut lab = Lab::new(Firmware::Bios, AccessBy::Credentials);
        let mut machine = lab.boot(&[RUNS], "test", false).await.expect("a machine");
        let serial = lab.teardown.work().join("serial-test.log");
        fs::write(&serial, "[    0.0] Linux version 6.12\n[    1.0] int3: 0").expect("a file");
        assert_eq!(machine.end(), None);
        // Half a line was there before.
        let text = format!("\n{}\n", lines.join("\n"));
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&serial)
            .expect("the file");
        file.write_all(text.as_bytes()).expect("written");
        let end = lab.end(&mut machine).await;
        assert_eq!(end.cause, expected, "{end}");
        let is_emulation = expected == EndCause::Emulation;
        assert_eq!(end.cause.is_platform(), is_emulation, "{end}");
        assert_eq!(end.cause.is_retryable(), is_emulation, "{end}");
        assert!(end.details.contains(lines[0]), "{end}");
    }
}

#[tokio::test]
async fn what_ended_a_machine_that_never_ran_is_told_with_its_words() {
    let mut printed = Vec::new();
    for start in [Start::Abort, Start::Refuse] {
        let mut lab = Lab::new(Firmware::Bios, AccessBy::Credentials);
        let error = lab.boot(&[start], "test", false).await.err();
        let error = error.expect("no machine");
        let BuilderError::Died { end, .. } = &error else {
            panic!("{error}");
        };
        assert!(end.cause.is_platform() && end.cause.is_retryable());
        printed.push(error.to_string());
    }
    insta::assert_snapshot!(printed.join("\n"), @"
    test VM: the emulator was killed by signal 6 (SIGABRT, such as after a failed assertion): QEMU ended (signal: 6 (SIGABRT))
      | msix_table_mmio_write: Assertion failed.
    the serial console is empty
    test VM: the emulator exited with status 1: QEMU ended (exit status: 1)
      | cannot set up guest memory
    the serial console is empty
    ");
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped() -> bool {
    if kvm_works() {
        eprintln!("SKIPPED: machines boot under KVM, and have no snapshots");
    }
    kvm_works()
}
