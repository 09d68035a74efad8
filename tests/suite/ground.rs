//! The base modules: waits, child processes, secrets, undo.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use vault_bake::digest::{Digest, canonical_json};
use vault_bake::event::Events;
use vault_bake::process::{ProcessError, Program};
use vault_bake::secret::{Scrubber, Secret};
use vault_bake::teardown::{Teardown, Undo, sweep};
use vault_bake::wait::{Interrupt, Poll, Urgency, Wait, WaitError};

#[test]
fn digests_are_read_as_they_are_written_and_in_no_other_way() {
    let digest = Digest::hash_bytes("abc");
    assert_eq!(
        digest.to_string(),
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest));
    for wrong in [
        "",
        "ba78",
        "sha256:",
        &digest.hex(),
        &digest.to_string().to_uppercase(),
    ] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong} was taken");
    }
}

#[test]
fn canonical_json_sorts_and_does_not_space() {
    let value = serde_json::json!({"b": 1, "a": [true, "\u{e9}"], "B": {}});
    assert_eq!(
        String::from_utf8_lossy(&canonical_json(&value)),
        r#"{"B":{},"a":[true,"é"],"b":1}"#
    );
}

#[test]
fn secrets_are_scrubbed_in_every_form_that_programs_repeat_them_in() {
    let secret = Secret::new("s3cr'et\nline two");
    let scrubber = Scrubber::new([&secret]);
    for text in [
        "s3cr'et\nline two",
        "only s3cr'et",
        "and line two",
        "s3cr'\\''et",
        r#"s3cr'et\nline two"#,
        "czNjcidldApsaW5lIHR3bw==",
        "733363722765740a6c696e652074776f",
    ] {
        let scrubbed = scrubber.scrub(text);
        assert!(
            scrubbed.contains("[secret]"),
            "{text:?} became {scrubbed:?}"
        );
        assert!(
            !scrubbed.contains("s3cr") && !scrubbed.contains("line two"),
            "{scrubbed:?}"
        );
    }
    assert_eq!(scrubber.scrub("nothing here"), "nothing here");
}

#[tokio::test]
async fn a_wait_says_what_it_saw_last_and_ends_on_an_interrupt() {
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let wait = Wait::new("the moon", Duration::from_millis(200));
    let error = wait
        .until(&events, &interrupt, || async {
            Poll::<(), std::io::Error>::NotYet("a cloud".into())
        })
        .await
        .expect_err("nothing to be seen");
    insta::assert_snapshot!(error, @"waited 0 s for the moon; last seen: a cloud");

    let hanging = wait
        .until(&events, &interrupt, || {
            std::future::pending::<Poll<(), std::io::Error>>()
        })
        .await;
    assert!(
        matches!(hanging, Err(WaitError::Deadline { .. })),
        "a probe that hangs is dropped"
    );

    interrupt.raise();
    let began = Instant::now();
    let long = Wait::new("ever", Duration::from_secs(60));
    let ended = long
        .until(&events, &interrupt, || async {
            Poll::<(), std::io::Error>::NotYet(String::new())
        })
        .await;
    assert!(matches!(ended, Err(WaitError::Interrupted(_))));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_second_interrupt_is_more_urgent() {
    let interrupt = Interrupt::default();
    let seen: Vec<Urgency> = (0..4)
        .map(|_| {
            let urgency = interrupt.urgency();
            interrupt.raise();
            urgency
        })
        .collect();
    assert_eq!(
        seen,
        [
            Urgency::None,
            Urgency::CleanUp,
            Urgency::LeaveNow,
            Urgency::LeaveNow
        ]
    );
}

#[tokio::test]
async fn a_program_that_fails_is_an_error_with_its_last_lines() {
    let interrupt = Interrupt::default();
    let output = Program::new("cat")
        .input("in and out")
        .run(&interrupt)
        .await
        .expect("cat");
    assert_eq!(output, b"in and out");

    let failing = Program::new("sh")
        .args(["-c", "seq 1 30 >&2; exit 3"])
        .run(&interrupt)
        .await;
    let text = failing.expect_err("exit 3").to_string();
    assert!(
        text.starts_with("sh failed (exit status: 3)\n  | 11\n"),
        "{text}"
    );

    let missing = Program::new("no-such-program")
        .run(&interrupt)
        .await
        .expect_err("not there");
    assert!(matches!(missing, ProcessError::Start { .. }), "{missing}");
}

#[tokio::test]
async fn children_and_their_children_end_with_us() {
    let folder = tempfile::tempdir().expect("a folder");
    let pid_file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
    let grandchild = |path: &Path| {
        fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok())
    };

    for way in ["interrupt", "drop"] {
        let _ = fs::remove_file(&pid_file);
        let interrupt = Interrupt::default();
        let program = Program::new("sh").args(["-c", &script]);
        let run = program.run(&interrupt);
        let noticing = Wait::new("the grandchild", Duration::from_secs(10));
        let (events, quiet) = (Events::silent(), Interrupt::default());
        let started = noticing.until(&events, &quiet, || async {
            match grandchild(&pid_file) {
                Some(pid) => Poll::Ready(pid),
                None => Poll::<u32, std::convert::Infallible>::NotYet("none".into()),
            }
        });
        let pid = tokio::select! {
            ended = run => panic!("{ended:?} before its time"),
            pid = started => { if way == "interrupt" { interrupt.raise(); } pid.expect("a grandchild") }
        };
        let gone = Wait::new("its end", Duration::from_secs(10))
            .until(&events, &quiet, || async {
                let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                if state.is_empty() || state.contains(") Z ") {
                    Poll::Ready(())
                } else {
                    Poll::<(), std::convert::Infallible>::NotYet(state)
                }
            })
            .await;
        assert!(gone.is_ok(), "{way}: the grandchild lives on: {gone:?}");
    }
}

#[tokio::test]
async fn undo_runs_backwards_continues_after_a_failure_and_reports_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let mut teardown = Teardown::begin(&runs, "run-1").expect("a journal");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("a file");
    teardown
        .register(Undo::File { path: file.clone() })
        .expect("noted");
    // A folder cannot be deleted as a file.
    teardown
        .register(Undo::File { path: runs.clone() })
        .expect("noted");
    teardown
        .register(Undo::File {
            path: folder.path().join("was never made"),
        })
        .expect("noted");
    let leaks = teardown.finish(&events, &interrupt).await;
    assert_eq!(leaks.len(), 1, "{leaks:?}");
    assert!(!file.exists() && !runs.join("run-1").exists());
    assert!(
        runs.join("run-1.journal").exists(),
        "what leaked stays in the journal"
    );
}

#[tokio::test]
async fn a_dropped_program_is_gone_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    // One child has so much memory that the kernel needs a while to free it.
    let family = "(head -c 300000000 /dev/zero; echo >\"$0\"; sleep 1000) | tail -c 299999999";
    let ready = folder.path().join("ready");
    let program = Program::new("sh").args(["-c", family]).arg(&ready);
    let running = program.start().expect("a process");
    let group = running.pid().expect("it runs");
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    Wait::new("all children", Duration::from_secs(20))
        .until(&events, &interrupt, || async {
            match members(group) {
                3.. if ready.exists() => Poll::Ready(()),
                n => Poll::<(), std::convert::Infallible>::NotYet(format!("{n} processes")),
            }
        })
        .await
        .expect("a family");
    drop(running);
    assert_eq!(members(group), 0);
}

/// A daemon may leave its first group late, or never.
#[tokio::test]
async fn what_a_program_leaves_behind_runs_on_only_if_it_is_a_daemon() {
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
    for is_daemon in [false, true] {
        let program = Program::new("sh").args(["-c", script]);
        let program = match is_daemon {
            true => program.leaving_daemon(),
            false => program,
        };
        let printed = program
            .run(&Interrupt::default())
            .await
            .expect("it succeeds");
        let printed = String::from_utf8(printed).expect("a process id");
        let id = rustix::process::Pid::from_raw(printed.trim().parse().expect("an id"));
        let id = id.expect("not zero");
        let state = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
        let runs = state.is_ok_and(|state| !state.contains(") Z "));
        assert_eq!(runs, is_daemon);
        if runs {
            rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("it ends");
        }
    }
    // A daemon that failed leaves nothing behind.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("id");
    let failing = format!(
        "sleep 1000 >/dev/null 2>&1 & echo $! >'{}'; exit 1",
        file.display()
    );
    let program = Program::new("sh").args(["-c", &failing]).leaving_daemon();
    program
        .run(&Interrupt::default())
        .await
        .expect_err("it fails");
    let id = fs::read_to_string(&file).expect("a process id");
    let state = fs::read_to_string(format!("/proc/{}/stat", id.trim()));
    assert!(state.is_err() || state.is_ok_and(|state| state.contains(") Z ")));
}

/// Returns the number of running processes of a process group.
fn members(group: u32) -> usize {
    let entries = fs::read_dir("/proc").expect("a proc file system").flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let runs = |stat: &String| {
        let (_, fields) = stat.rsplit_once(") ").expect("fields after the name");
        let fields: Vec<&str> = fields.split(' ').collect();
        fields[0] != "Z" && fields[2] == group.to_string()
    };
    stats.filter(runs).count()
}

#[tokio::test]
async fn a_sweep_takes_dead_runs_and_leaves_living_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let living = Teardown::begin(&runs, "living").expect("a journal");
    let mut dead = Teardown::begin(&runs, "dead").expect("a journal");
    let marker = format!("sleeping-for-{}", folder.path().display());
    dead.register(Undo::Process {
        marker: marker.clone(),
    })
    .expect("noted");
    let mut sleeper = Program::new("sh")
        .args(["-c", "sleep 1000", &marker])
        .start()
        .expect("a process");
    fs::write(dead.work().join("disk"), "x").expect("a file");
    let work = dead.abandon();

    // A concurrent test that starts a program holds the lock too, from its fork to its exec.
    let would = Wait::new("the release of a lock", Duration::from_secs(10))
        .until(&events, &interrupt, || async {
            match sweep(&runs, true, None, &events, &interrupt).await {
                Ok(would) if would.is_empty() => Poll::NotYet("nothing dead".to_owned()),
                Ok(would) => Poll::Ready(would),
                Err(error) => Poll::Never(error),
            }
        })
        .await
        .expect("a dry run");
    assert_eq!((would[0].run.as_str(), would[0].undos.len()), ("dead", 2));
    assert!(
        work.join("disk").exists() && sleeper.exit_status().is_none(),
        "a dry run removes nothing"
    );

    let swept = sweep(&runs, false, None, &events, &interrupt)
        .await
        .expect("a sweep");
    assert_eq!(swept.len(), 1, "the lock is free");
    assert!(swept[0].leftovers.is_empty() && !work.exists());
    sleeper.wait().await.expect("its end");
    assert!(living.work().is_dir(), "a living run keeps its folder");
    assert!(
        sweep(&runs, false, None, &events, &interrupt)
            .await
            .expect("a second sweep")
            .is_empty()
    );
}
