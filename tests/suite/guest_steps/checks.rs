//! Checks and the seal.

use testing::plan::provisioner;
use vault_bake::event::Event;
use vault_bake::guest_steps::{ProvisionError, inspect, run_checks, seal};
use vault_bake::secret::Scrubber;

use super::{StepHarness, clock};

#[tokio::test]
async fn all_checks_run_and_the_error_names_those_that_failed() {
    let good =
        "echo 'ok 1 - base.one: one passes'\necho 'ok 2 - base.two: two # SKIP no disk'\necho 1..2";
    let bad = "echo 1..2\necho 'ok 1 - vault.up: it is up'\necho 'not ok 2 - vault.tls: only TLS'\necho '# found plain'\nexit 1";
    let mute = "echo 'ok 1 - mute.one: one'; exit 3";
    let dies = "echo 'ok 1 - dies.one: one'; echo 1..1; echo oops >&2; exit 9";
    let steps = vec![
        provisioner("base", "", Some(good)),
        provisioner("vault", "", Some(bad)),
        provisioner("mute", "", Some(mute)),
        provisioner("dies", "", Some(dies)),
        provisioner("unchecked", "", None),
        provisioner(
            "seal",
            "echo sealed",
            Some("echo \"ok 1 - seal.phase: $VB_PHASE\"; echo 1..1"),
        ),
    ];
    let (harness, session) = StepHarness::new(steps, Scrubber::default()).await;
    let error = inspect(&harness.guest(), &session)
        .await
        .map(|_observed| ())
        .unwrap_err();
    let text = error
        .to_string()
        .replace(&session.endpoint().to_string(), "HOST");
    insta::assert_snapshot!(text, @"3 of 7 checks failed on HOST (build): vault.tls, mute.check-script, dies.check-script");
    let mut lines: Vec<String> = harness
        .recorder
        .all()
        .into_iter()
        .filter_map(|event| match event {
            Event::CheckFinished {
                check,
                description,
                ok,
                diagnostics,
            } => Some(
                format!("{ok} {check}: {description} {}", diagnostics.join(" | "))
                    .trim_end()
                    .to_owned(),
            ),
            Event::Output { source, line } => Some(format!("{source} | {line}")),
            _ => None,
        })
        .collect();
    // Two sessions run the checks, so their order varies.
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    dies/check | oops
    false dies.check-script: all its checks passed, but its exit status is 9
    false mute.check-script: its exit status is 3, and it printed no plan `1..N`
    false vault.tls: only TLS found plain
    true base.one: one passes
    true base.two: two # SKIP no disk
    true dies.one: one
    true vault.up: it is up
    "#);

    let (record, checks) = seal(&harness.guest(), &session, &clock).await.unwrap();
    assert_eq!((record.name.as_str(), record.exit), ("seal", 0));
    assert_eq!(checks[0].description, "build");
    let Err(ProvisionError::Checks { records, .. }) = run_checks(&harness.guest(), &session).await
    else {
        panic!("the same checks fail again");
    };
    assert_eq!(records.last().unwrap().description, "image");
}

#[tokio::test]
async fn a_plan_without_seal_is_not_sealed() {
    let (harness, session) =
        StepHarness::new(vec![provisioner("base", "", None)], Scrubber::default()).await;
    let error = seal(&harness.guest(), &session, &clock).await.unwrap_err();
    insta::assert_snapshot!(error, @"the last step of quickstart is not a seal");
}
