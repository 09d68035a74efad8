//! Fake VMs that end by themselves: the cause decides what is recorded.

use jiff::Timestamp;
use testing::fake_builder::{EndAt, Ending, gone_file, gone_script};
use testing::harness::{FakeBuilderHarness, steps};
use testing::plan::provisioner;
use vault_bake::bake::BakeError;
use vault_bake::boot_test::BOOT_CHECK;
use vault_bake::builder::EndCause;
use vault_bake::event::Event;
use vault_bake::plan::PlannedStep;

/// Ends that say nothing about the image and may not happen again.
const CRASH: EndCause = EndCause::Signal(6);

fn ends(at: EndAt, by: EndCause) -> Option<Ending> {
    Some(Ending { at, by })
}

/// Returns the number of announced second starts.
fn second_starts(harness: &FakeBuilderHarness) -> usize {
    let heard = harness.recorded_events();
    let is_it = |event: &&Event| matches!(event, Event::Warning { message } if message.contains("starting the VM again"));
    heard.iter().filter(is_it).count()
}

async fn state(harness: &FakeBuilderHarness) -> String {
    let store = harness.store().await;
    let rows = store.images(Timestamp::UNIX_EPOCH).await.expect("a list");
    assert_eq!(rows.len(), 1);
    rows[0].state.to_string()
}

/// Steps whose check ends the VM of a boot test once.
fn deadly_check(harness: &FakeBuilderHarness) -> Vec<PlannedStep> {
    let (cache, mut deadly) = (harness.cache(), steps());
    let check = format!(
        "if [ \"$VB_PHASE\" = image ] && [ ! -e {} ]; then\n{}fi\necho 'ok 1 - app.works: it works'\necho 1..1\n",
        gone_file(&cache).display(),
        gone_script(&cache),
    );
    deadly[0] = provisioner("app", "true\n", Some(&check));
    deadly
}

type Ends = fn(&str, u32) -> Option<Ending>;

/// The end of the first VM of a boot test, and the stage that it reached.
const ONCE: [(&str, Ends); 6] = [
    ("a crash at its start", |role, start| match (role, start) {
        ("test", 1) => ends(EndAt::Start, CRASH),
        _ => None,
    }),
    ("an emulator that refuses", |role, start| {
        match (role, start) {
            ("test", 1) => ends(EndAt::Start, EndCause::Exit(1)),
            _ => None,
        }
    }),
    ("an emulator that hangs", |role, start| {
        match (role, start) {
            ("test", 1) => ends(EndAt::Start, EndCause::NeverStarted),
            _ => None,
        }
    }),
    ("a crash while it boots", |role, start| {
        match (role, start) {
            ("test", 1) => ends(EndAt::Boot, CRASH),
            _ => None,
        }
    }),
    ("a kill while it boots", |role, start| match (role, start) {
        ("test", 1) => ends(EndAt::Boot, EndCause::Signal(9)),
        _ => None,
    }),
    ("a crash in the middle of checks", |role, start| {
        match (role, start) {
            ("test", 1) => ends(EndAt::Work, CRASH),
            _ => None,
        }
    }),
];

#[tokio::test]
async fn a_tested_machine_that_its_platform_ends_is_started_once_more() {
    for (name, ends) in ONCE {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        if name.contains("checks") {
            harness.plan.steps = deadly_check(&harness);
        }
        harness.ends = Some(ends);
        let baked = harness.bake(|_| {}).await;
        let baked = baked.unwrap_or_else(|failed| panic!("{name}: {failed}"));
        let test = baked.tested.expect("a test");
        assert!(test.passed && test.failure.is_none(), "{name}: {test:?}");
        assert_eq!(test.checks.len(), 3, "{name}: of the second start alone");
        assert_eq!(second_starts(&harness), 1, "{name}");
        assert_eq!(state(&harness).await, "tested", "{name}");
    }
}

#[tokio::test]
async fn a_test_whose_machine_its_platform_ends_twice_is_no_test() {
    let twice: [(&str, Ends); 4] = [
        ("at its start", |role, _| {
            (role == "test").then(|| ends(EndAt::Start, CRASH))?
        }),
        ("while it boots", |role, _| {
            (role == "test").then(|| ends(EndAt::Boot, CRASH))?
        }),
        ("in checks", |role, _| {
            (role == "test").then(|| ends(EndAt::Work, CRASH))?
        }),
        ("in two ways", |role, start| match (role, start) {
            ("test", 1) => ends(EndAt::Boot, EndCause::Exit(1)),
            ("test", _) => ends(EndAt::Start, EndCause::Signal(9)),
            _ => None,
        }),
    ];
    for (name, ends) in twice {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        if name == "in checks" {
            harness.plan.steps = deadly_check(&harness);
        }
        harness.ends = Some(ends);
        let failed = harness.bake(|_| {}).await.expect_err("no test");
        assert!(failed.error.is_platform(), "{name}: {failed}");
        assert!(matches!(failed.error, BakeError::BootTest(_)), "{name}");
        assert_eq!(second_starts(&harness), 1, "{name}");
        assert_eq!(state(&harness).await, "untested", "{name}");
        let tested = |event: &Event| matches!(event, Event::TestFinished { .. });
        assert!(!harness.recorded_events().iter().any(tested), "{name}");
        // Later it passes.
        harness.ends = None;
        let store = harness.store().await;
        let rows = store.images(Timestamp::UNIX_EPOCH).await.expect("a list");
        let tested = harness.test_image(&store, rows[0].digest).await;
        let tested = tested.unwrap_or_else(|failed| panic!("{name}: {failed}"));
        assert!(tested.record.passed, "{name}");
        assert_eq!(state(&harness).await, "tested", "{name}");
    }
}

/// A defect of the image is reported at the first start, and recorded.
#[tokio::test]
async fn an_image_that_ends_its_machine_has_failed_its_test() {
    let cases: [(&str, Ends); 4] = [
        ("kernel panicked", |role, _| {
            (role == "test").then(|| ends(EndAt::Boot, EndCause::GuestPanic))?
        }),
        ("the VM switched itself off", |role, _| {
            (role == "test").then(|| ends(EndAt::Boot, EndCause::GuestShutdown))?
        }),
        ("did not report that it booted", |role, _| {
            (role == "test").then(|| ends(EndAt::Boot, EndCause::GuestNotReady))?
        }),
        ("in checks: the VM switched itself off", |role, _| {
            (role == "test").then(|| ends(EndAt::Work, EndCause::GuestShutdown))?
        }),
    ];
    for (name, ends) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        let in_checks = name.starts_with("in checks");
        if in_checks {
            harness.plan.steps = deadly_check(&harness);
        }
        harness.ends = Some(ends);
        let baked = harness.bake(|_| {}).await;
        let baked = baked.unwrap_or_else(|failed| panic!("{name}: {failed}"));
        let test = baked.tested.expect("a test");
        assert!(!test.passed, "{name}");
        let failure = test.failure.expect("what went wrong");
        assert!(
            failure.contains(name.trim_start_matches("in checks: ")),
            "{failure}"
        );
        assert_eq!(second_starts(&harness), 0, "{name}");
        let boot = &test.checks[0];
        assert_eq!((boot.id.as_str(), boot.ok), (BOOT_CHECK, in_checks));
        let tested = harness
            .recorded_events()
            .into_iter()
            .find_map(|event| match event {
                Event::TestFinished {
                    checks,
                    failed_checks,
                    error,
                    ..
                } => Some((checks, failed_checks, error.is_some())),
                _ => None,
            });
        let failed = usize::from(!in_checks);
        assert_eq!(tested, Some((1, failed, true)), "{name}: never 0 of 0");
    }
}

/// An allocation failure of a cloud is not retried at once, and says nothing about the image.
#[tokio::test]
async fn a_machine_that_a_cloud_does_not_give_is_no_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut harness = FakeBuilderHarness::new(folder.path(), steps());
    harness.ends = Some(|role, _| (role == "test").then(|| ends(EndAt::Boot, EndCause::Cloud))?);
    let failed = harness.bake(|_| {}).await.expect_err("no test");
    assert!(failed.error.is_platform(), "{failed}");
    assert_eq!(second_starts(&harness), 0);
    assert_eq!(state(&harness).await, "untested");
}

#[tokio::test]
async fn a_build_vm_that_its_platform_ends_at_its_start_is_started_once_more() {
    let cases: [(bool, Ends); 4] = [
        (true, |role, start| match (role, start) {
            ("build", 1) => ends(EndAt::Start, CRASH),
            _ => None,
        }),
        (true, |role, start| match (role, start) {
            ("build", 1) => ends(EndAt::Boot, EndCause::Signal(9)),
            _ => None,
        }),
        (false, |role, _| {
            (role == "build").then(|| ends(EndAt::Boot, CRASH))?
        }),
        (false, |role, _| {
            (role == "build").then(|| ends(EndAt::Start, EndCause::Exit(1)))?
        }),
    ];
    for (succeeds, ends) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        harness.ends = Some(ends);
        let result = harness.bake(|_| {}).await;
        assert_eq!(second_starts(&harness), 1);
        match result {
            Ok(baked) => assert!(succeeds && baked.tested.is_some_and(|test| test.passed)),
            Err(failed) => assert!(!succeeds && failed.error.is_platform(), "{failed}"),
        }
        assert_eq!(harness.verify().await.manifests, u64::from(succeeds));
        assert!(harness.leftovers().await.is_empty());
    }
}

/// After a failure of the platform, finished steps are kept, and the next build runs the rest.
#[tokio::test]
async fn a_build_vm_that_dies_in_a_step_costs_that_step_alone() {
    for (by, is_platform) in [(CRASH, true), (EndCause::GuestPanic, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        let cache = harness.cache();
        let deadly = format!(
            "[ -e {} ] && exit 0\n{}",
            gone_file(&cache).display(),
            gone_script(&cache)
        );
        let deadly = provisioner("deadly", &deadly, None);
        harness.plan.steps.insert(1, deadly);
        harness.layers = true;
        harness.ends = Some(match is_platform {
            true => |role, _| (role == "build").then(|| ends(EndAt::Work, CRASH))?,
            false => {
                |role, _| (role == "build").then(|| ends(EndAt::Work, EndCause::GuestPanic))?
            }
        });
        let failed = harness.bake(|_| {}).await.expect_err("its machine is gone");
        assert_eq!(failed.error.is_platform(), is_platform, "{failed}");
        let BakeError::Died { end, .. } = &failed.error else {
            panic!("{failed}");
        };
        assert_eq!(end.cause, by);
        assert!(
            failed.to_string().starts_with("the build VM ended: "),
            "{failed}"
        );
        assert_eq!(second_starts(&harness), 0, "what it had done is lost");
        harness.ends = None;
        harness.bake(|_| {}).await.expect("a bake");
        let heard = harness.recorded_events();
        let resumed = |event: &Event| matches!(event, Event::Note { message } if message.starts_with("1 of 3 steps are cached by run "));
        // A VM that ended by itself may have started to end in earlier steps.
        assert_eq!(heard.iter().any(resumed), is_platform, "{heard:?}");
    }
}
