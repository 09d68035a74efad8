//! Exit status and `state` of builds and tests with fake VMs, by the functions of the binary.

use testing::harness::{FakeBuilderHarness, steps};
use testing::plan::provisioner;
use vault_bake::bake::{Baked, Failed};
use vault_bake::event::{Event, Stage};
use vault_bake::plan::PlannedStep;

use crate::ending;
use crate::exit::{Exit, Failure};

/// Returns the exit status of a run, and prints its failure.
fn exit(ended: Result<Exit, Failure>) -> u8 {
    ended.unwrap_or_else(|failure| failure.print(true, None)) as u8
}

fn of_failed(failed: Failed) -> u8 {
    exit(Err(failed.into()))
}

fn of_baked(baked: &Baked) -> (&'static str, u8) {
    let state = ending::state(baked.tested.as_ref());
    (state, exit(ending::of_build(baked)))
}

/// Steps with a check that fails in this phase.
fn failing_in(phase: &str) -> Vec<PlannedStep> {
    let check = format!(
        "case $VB_PHASE in {phase}) word='not ok' ;; *) word=ok ;; esac\necho \"$word 1 - app.works: it works\"\necho 1..1\n"
    );
    let mut failing = steps();
    failing[0] = provisioner("app", "true\n", Some(&check));
    failing
}

#[tokio::test]
async fn a_build_whose_check_fails_ends_with_4() {
    let folder = tempfile::tempdir().unwrap();
    let harness = FakeBuilderHarness::new(folder.path(), failing_in("*"));
    let failed = harness.bake(|_| {}).await.unwrap_err();
    assert!(failed.to_string().contains("app.works"), "{failed}");
    assert_eq!(of_failed(failed), 4);
}

#[tokio::test]
async fn an_image_is_tested_failed_or_untested_and_only_a_failed_test_ends_with_4() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = FakeBuilderHarness::new(folder.path(), steps());
    let tested = harness.bake(|_| {}).await.unwrap();
    assert_eq!(of_baked(&tested), ("tested", 0));
    harness.test = false;
    let untested = harness.bake(|_| {}).await.unwrap();
    assert_eq!(of_baked(&untested), ("untested", 0));

    harness.test = true;
    harness.plan.steps = failing_in("image");
    let failed = harness.bake(|_| {}).await.unwrap();
    assert_eq!(of_baked(&failed), ("failed", 4));
    let store = harness.store().await;
    for (image, status) in [(&untested, 0), (&failed, 4)] {
        let again = harness.test_image(&store, image.digest).await.unwrap();
        let name = image.manifest.name();
        assert_eq!(exit(ending::of_test(&name, &again)), status, "{name}");
    }
}

#[tokio::test]
async fn leftovers_end_a_build_with_5_whatever_else_failed() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = FakeBuilderHarness::new(folder.path(), steps());
    harness.fail_at(Stage::Cleanup);
    let baked = harness.bake(|_| {}).await.unwrap();
    assert_eq!(of_baked(&baked), ("tested", 5));
    harness.plan.steps = failing_in("image");
    let failed_too = harness.bake(|_| {}).await.unwrap();
    assert_eq!(of_baked(&failed_too), ("failed", 5));
    harness.plan.steps = failing_in("*");
    let failed = harness.bake(|_| {}).await.unwrap_err();
    assert_eq!(of_failed(failed), 5);
    let leftover = |event: &&Event| matches!(event, Event::Leftover { .. });
    assert_eq!(harness.recorded_events().iter().filter(leftover).count(), 3);
}
