//! VMs that end during a step, or right after it.

use vault_bake::plan::StepKind;

use super::*;

/// What systemd prints: the default target, and that of a shutdown.
fn state(active: &str, entered: u64, job: &str, more: &str) -> String {
    format!(
        "Job={job}\nId=multi-user.target\nActiveState={active}\nActiveEnterTimestampMonotonic={entered}\n\n\
         {more}\nId=shutdown.target\nActiveState=inactive\nActiveEnterTimestampMonotonic=0"
    )
}

#[tokio::test]
async fn a_step_after_which_the_machine_leaves_fails_and_says_what_was_seen() {
    let mut table = Vec::new();
    for (what, state) in [
        ("runs", state("active", 9, "", "Job=0")),
        ("starts still", state("inactive", 0, "12", "Job=0")),
        ("is no systemd's", String::new()),
        ("shuts down", state("active", 9, "", "Job=77")),
        ("shuts down, and left", state("inactive", 9, "", "Job=77")),
        (
            "has shut down",
            state("active", 9, "", "Job=0").replace(
                "shutdown.target\nActiveState=inactive",
                "shutdown.target\nActiveState=active",
            ),
        ),
        ("was isolated", state("inactive", 9, "", "Job=0")),
        (
            "is scheduled to go",
            state("active", 9, "", "Job=0") + "\nscheduled",
        ),
    ] {
        for exit in [0, 3] {
            let (mut harness, session) = StepHarness::new(Vec::new(), Scrubber::default()).await;
            let endpoint = session.endpoint().to_string();
            std::fs::write(harness.folder.path().join("state"), &state).expect("a file");
            let script = format!("exit {exit}");
            harness.plan = plan(vec![
                step("leaves", StepKind::Shell, &[("script.sh", &script)]),
                step("next", StepKind::Shell, &[("script.sh", "echo never")]),
            ]);
            upload(&harness.guest(), &session, 0)
                .await
                .expect("an upload");
            let guest = harness.guest();
            let done = run_step(&guest, session, 0, async || None, true, &clock).await;
            let ended = match done {
                Ok(_) => "done".to_owned(),
                Err(error) => error.to_string().replace(&endpoint, "HOST"),
            };
            let first = ended.lines().next().unwrap_or_default();
            table.push(format!("{what}, exit {exit}: {first}"));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[tokio::test]
async fn a_script_that_is_ended_by_a_shutdown_is_told_from_one_that_ends_by_itself() {
    for (state, expected) in [
        (
            state("active", 9, "", "Job=77"),
            "the machine HOST went away: it is shutting down",
        ),
        (state("active", 9, "", "Job=0"), "did not exit normally"),
    ] {
        let own = step(
            "own",
            StepKind::Shell,
            &[("script.sh", "kill -TERM $PPID; sleep 5")],
        );
        let (harness, session) = StepHarness::new(vec![own], Scrubber::default()).await;
        let endpoint = session.endpoint().to_string();
        std::fs::write(harness.folder.path().join("state"), &state).expect("a file");
        let error = harness.steps(session).await.unwrap_err().to_string();
        let error = error.replace(&endpoint, "HOST");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
async fn a_step_that_fails_on_a_full_disk_names_the_file_system() {
    let fills = "dd if=/dev/zero of=fill bs=64k 2>/dev/null\n";
    let own = step("own", StepKind::Shell, &[("script.sh", fills)]);
    let (harness, session) = StepHarness::new(vec![own], Scrubber::default()).await;
    let (events, interrupt) = (&harness.events, &harness.interrupt);
    let script = |text: String| Script {
        name: "mount".to_owned(),
        text,
        timeout: SOON,
    };
    let mount = script(format!(
        "mount -t tmpfs -o size=2m tmpfs '{}'",
        harness.work
    ));
    let mounted = session.run(mount, events, interrupt).await.unwrap();
    if mounted.exit != 0 {
        eprintln!("SKIPPED: no file system can be mounted here: {mounted:?}");
        return;
    }
    let after = session.open_another(events, interrupt).await.unwrap();
    upload(&harness.guest(), &session, 0).await.unwrap();
    let error = harness.steps(session).await.unwrap_err().to_string();
    let unmount = script(format!("umount -l '{}'", harness.work));
    after.run(unmount, events, interrupt).await.unwrap();
    let full = format!(
        "the disk of the build VM is full: {} has 0 of 2 MiB free",
        harness.work
    );
    assert!(error.contains(&full), "{error}");
}
