//! Every stage of a build × a failure, an interrupt and a kill -9: leftovers, and the store.

use std::process::Stdio;
use std::time::Duration;

use testing::harness::{FakeBuilderHarness, steps};
use testing::plan::provisioner;
use vault_bake::bake::BakeError;
use vault_bake::event::{Event, Events, Stage};
use vault_bake::wait::{Interrupt, Poll, Wait};

const STAGES: [Stage; 10] = [
    Stage::Fetch,
    Stage::Base,
    Stage::Boot,
    Stage::Upload,
    Stage::Provision,
    Stage::Seal,
    Stage::Capture,
    Stage::Record,
    Stage::Test,
    Stage::Cleanup,
];

/// Returns whether a build that ended at the start of `stage` had recorded its manifest.
fn recorded_before(stage: Stage) -> bool {
    stage > Stage::Record
}

#[tokio::test]
async fn a_failure_in_any_stage_leaves_nothing_and_a_sound_store() {
    let mut table = Vec::new();
    for stage in STAGES {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        harness.store().await;
        harness.fail_at(stage);
        let result = harness.bake(|_| {}).await;
        let result_text = match &result {
            Ok(baked) => format!("recorded, {} leaked", baked.leftovers.len()),
            Err(failed) => failed
                .to_string()
                .replace(&folder.path().display().to_string(), "ROOT"),
        };
        let mut left = harness.leftovers().await;
        if stage == Stage::Cleanup {
            // A resource that cannot be removed stays in the journal, for a later sweep.
            assert!(
                left.iter().all(|left| left.ends_with(".journal")) && left.len() == 1,
                "{left:?}"
            );
            left.clear();
        }
        assert!(left.is_empty(), "{stage}: {left:?}");
        if stage == Stage::Record {
            // Removes the obstacle. The store without it must be sound.
            std::fs::remove_file(folder.path().join("store/artifacts")).expect("a file");
        }
        let report = harness.verify().await;
        assert!(report.is_sound(), "{stage}: {report}");
        assert_eq!(
            report.manifests,
            u64::from(recorded_before(stage)),
            "{stage}"
        );
        table.push(format!(
            "{stage:<10} {}",
            result_text.lines().next().unwrap_or_default()
        ));
    }
    insta::with_settings!({filters => vec![(r"127\.0\.0\.1:\d+", "ADDRESS"), (r"\w+@ADDRESS", "GUEST")]}, {
        insta::assert_snapshot!(table.join("\n"));
    });
}

#[tokio::test]
async fn an_interrupt_in_any_stage_leaves_nothing_and_a_sound_store() {
    for stage in STAGES {
        let folder = tempfile::tempdir().expect("a folder");
        let harness = FakeBuilderHarness::new(folder.path(), steps());
        let interrupt = harness.interrupt.clone();
        let result = harness
            .bake(move |event| {
                if *event == (Event::StageStarted { stage }) {
                    interrupt.raise();
                }
            })
            .await;
        match result {
            Err(failed) => assert!(
                matches!(failed.error, BakeError::Interrupted(_)),
                "{stage}: {failed}"
            ),
            // Recording and cleanup are short and always finish.
            Ok(_) => assert_eq!(stage, Stage::Cleanup),
        }
        let left = harness.leftovers().await;
        assert!(left.is_empty(), "{stage}: {left:?}");
        let report = harness.verify().await;
        assert!(report.is_sound(), "{stage}: {report}");
        assert_eq!(
            report.manifests,
            u64::from(stage >= Stage::Record),
            "{stage}"
        );
    }
}

#[tokio::test]
async fn a_second_interrupt_leaves_at_once_and_still_removes_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut slow = steps();
    slow[0] = provisioner("app", "sleep 2\n", None);
    let harness = FakeBuilderHarness::new(folder.path(), slow);
    let interrupt = harness.interrupt.clone();
    let result = harness
        .bake(move |event| {
            if matches!(event, Event::StepStarted { .. }) {
                interrupt.raise();
                interrupt.raise();
            }
        })
        .await;
    let failed = result.expect_err("it was interrupted");
    assert!(
        matches!(failed.error, BakeError::Interrupted(_)),
        "{failed}"
    );
    // After kill -9, processes that were told to end may still run.
    let quiet = Interrupt::default();
    Wait::new("the end of all processes", Duration::from_secs(20))
        .until(&Events::silent(), &quiet, || async {
            match harness.leftovers().await {
                left if left.is_empty() => Poll::Ready(()),
                left => Poll::<(), std::convert::Infallible>::NotYet(left.join("\n")),
            }
        })
        .await
        .expect("nothing is left");
}

#[tokio::test]
async fn after_a_kill_at_the_beginning_of_any_stage_a_sweep_leaves_nothing_and_a_sound_store() {
    for stage in STAGES {
        kill_and_sweep(stage, false).await;
    }
}

#[tokio::test]
async fn after_a_kill_at_the_end_of_any_stage_a_sweep_leaves_nothing_and_a_sound_store() {
    for stage in STAGES {
        kill_and_sweep(stage, true).await;
    }
}

async fn kill_and_sweep(stage: Stage, end: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let harness = FakeBuilderHarness::new(folder.path(), steps());
    harness.store().await;
    let died = bake_and_die(folder.path(), stage, end).await;
    assert!(died, "{stage}: the process was to be killed");
    harness.sweep().await;
    let left = harness.leftovers().await;
    assert!(left.is_empty(), "{stage} (end: {end}): {left:?}");
    let report = harness.verify().await;
    assert!(report.is_sound(), "{stage} (end: {end}): {report}");
    let recorded = recorded_before(stage) || (stage == Stage::Record && end);
    assert_eq!(
        report.manifests,
        u64::from(recorded),
        "{stage} (end: {end})"
    );
}

/// Runs a build in its own process, which kills itself when `stage` begins or ends. Returns whether
/// it did.
async fn bake_and_die(root: &std::path::Path, stage: Stage, end: bool) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the child process of a test")]
    let mut command = tokio::process::Command::new(std::env::current_exe().expect("this test"));
    let status = command
        .args([
            "--exact",
            "faults::a_process_that_dies",
            "--ignored",
            "--quiet",
        ])
        .env("VB_TEST_ROOT", root)
        .env("VB_TEST_STAGE", stage.to_string())
        .env("VB_TEST_END", end.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .expect("a process");
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

#[tokio::test]
#[ignore = "started by the tests `after_a_kill_at_…`, as a process of its own"]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent passes the case by the environment"
)]
async fn a_process_that_dies() {
    let wanted = |name| std::env::var(name).unwrap_or_default();
    let root = wanted("VB_TEST_ROOT");
    if root.is_empty() {
        return;
    }
    let (stage, end) = (wanted("VB_TEST_STAGE"), wanted("VB_TEST_END") == "true");
    let harness = FakeBuilderHarness::new(std::path::Path::new(&root), steps());
    let die = move |event: &Event| {
        let here = match event {
            Event::StageStarted { stage } if !end => stage,
            Event::StageFinished { stage, .. } if end => stage,
            _ => return,
        };
        if here.to_string() == stage {
            let own = rustix::process::getpid();
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
    };
    let _ = harness.bake(die).await;
}
