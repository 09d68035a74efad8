//! Builds with fake VMs: records, messages, and texts that must stay hidden.

use jiff::Timestamp;
use testing::harness::{FakeBuilderHarness, steps};
use testing::plan::{provisioner, with_secret};
use vault_bake::event::{Event, Stage};
use vault_bake::manifest::Manifest;

#[tokio::test]
async fn a_bake_records_an_image_and_its_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let harness = FakeBuilderHarness::new(folder.path(), steps());
    let baked = harness.bake(|_| {}).await.expect("a bake");
    assert!(baked.leftovers.is_empty());
    let test = baked.tested.expect("a test");
    let ids: Vec<&str> = test.checks.iter().map(|check| check.id.as_str()).collect();
    assert!(test.passed, "{test:?}");
    assert_eq!(ids, ["boot.answers", "app.works", "seal.works"]);
    assert_eq!(test.manifest, baked.digest);

    let store = harness.store().await;
    let rows = store.images(Timestamp::UNIX_EPOCH).await.expect("a list");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].state.to_string(), "tested");
    let bytes = store.object(&baked.digest).await.expect("the manifest");
    assert_eq!(Manifest::parse(&bytes).expect("a manifest"), baked.manifest);
    let sbom = store.sbom(&baked.manifest).await.expect("the SBOM");
    let again = vault_bake::manifest::sbom(
        &baked.manifest,
        &store.packages(&baked.manifest).await.expect("the packages"),
    );
    assert_eq!(sbom, Some(again));
    assert_eq!(baked.manifest.builder.name, "fake");
    assert_eq!(baked.manifest.steps.len(), 2);
    let stages: Vec<String> = harness
        .recorded_events()
        .iter()
        .filter_map(|event| match event {
            Event::StageFinished {
                stage, ok: true, ..
            } => Some(stage.to_string()),
            _ => None,
        })
        .collect();
    insta::assert_snapshot!(stages.join(" "), @"fetch base boot upload provision seal capture record test cleanup");
}

#[tokio::test]
async fn an_image_that_fails_its_checks_is_recorded_as_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = "if [ \"$VB_PHASE\" = image ]; then echo 'not ok 1 - app.works: no'; else echo 'ok 1 - app.works: yes'; fi\necho 1..1\n";
    let mut with_bad_check = steps();
    with_bad_check[0] = provisioner("app", "true\n", Some(check));
    let harness = FakeBuilderHarness::new(folder.path(), with_bad_check);
    let baked = harness.bake(|_| {}).await.expect("it is recorded too");
    let test = baked.tested.expect("a test");
    assert!(!test.passed);
    let rows = harness
        .store()
        .await
        .images(Timestamp::UNIX_EPOCH)
        .await
        .expect("a list");
    assert_eq!(rows[0].state.to_string(), "failed");
    assert!(harness.leftovers().await.is_empty());
}

#[tokio::test]
async fn a_failed_check_in_the_build_records_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut failing = steps();
    failing[0] = provisioner(
        "app",
        "true\n",
        Some("echo 'not ok 1 - app.works: no'\necho 1..1\n"),
    );
    let harness = FakeBuilderHarness::new(folder.path(), failing);
    let failed = harness.bake(|_| {}).await.expect_err("a check failed");
    let text = failed.to_string();
    assert!(
        text.contains("1 of 1 checks failed") && text.contains("app.works"),
        "{text}"
    );
    assert_eq!(harness.verify().await.manifests, 0);
}

#[tokio::test]
async fn a_disk_with_anything_left_on_it_is_not_recorded() {
    for rule in ["disk.private-keys", "disk.run-secrets"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = FakeBuilderHarness::new(folder.path(), steps());
        harness.captured = match rule {
            "disk.private-keys" => str::to_owned,
            // In the middle of other bytes, and without the frame of a key.
            _ => |key| {
                let line = key.lines().nth(3).expect("a line of the key");
                format!("{}{line}", "x".repeat(5_000_000))
            },
        };
        let failed = harness
            .bake(|_| {})
            .await
            .expect_err("the key is on the disk");
        let text = failed.to_string();
        assert!(text.contains(rule), "{text}");
        assert!(text.contains("in no file"), "{text}");
        assert_eq!(harness.verify().await.manifests, 0);
        assert!(harness.leftovers().await.is_empty());
    }
}

#[tokio::test]
async fn a_version_is_taken_once_and_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut harness = FakeBuilderHarness::new(folder.path(), steps());
    harness.test = false;
    harness.version = Some("1.2.3".parse().expect("a version"));
    harness.bake(|_| {}).await.expect("the first");
    let before = harness.recorded_events().len();
    let failed = harness.bake(|_| {}).await.expect_err("taken");
    insta::assert_snapshot!(failed, @"quickstart@1.2.3 is already recorded, and records are never rewritten");
    let booted =
        harness.recorded_events()[before..].contains(&Event::StageStarted { stage: Stage::Boot });
    assert!(!booted, "a version that is taken is refused early");
}

#[tokio::test]
async fn bakes_at_once_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let harnesses: Vec<FakeBuilderHarness> = (0..4)
        .map(|n| {
            let mut harness = FakeBuilderHarness::new(folder.path(), steps());
            harness.upload_folder = format!("guest-{n}");
            harness
        })
        .collect();
    let [a, b, c, d] = &harnesses[..] else {
        unreachable!("four harnesses")
    };
    let (a, b, c, d) = tokio::join!(
        a.bake(|_| {}),
        b.bake(|_| {}),
        c.bake(|_| {}),
        d.bake(|_| {})
    );
    let mut versions: Vec<u32> = [a, b, c, d]
        .into_iter()
        .map(|baked| {
            let baked = baked.expect("a bake");
            assert!(baked.tested.is_some_and(|test| test.passed));
            baked
                .manifest
                .version
                .to_string()
                .rsplit('.')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [0, 1, 2, 3]);
    assert!(harnesses[0].leftovers().await.is_empty());
    assert!(harnesses[0].verify().await.is_sound());
}

#[tokio::test]
async fn a_secret_is_seen_by_its_step_only() {
    const CANARY: &str = "canary-4fQ9-zzyzx";
    let folder = tempfile::tempdir().expect("a folder");
    let proof = folder.path().join("step-saw");
    let install = format!(
        "printf %s \"$TOKEN\" | sha256sum >{}\necho \"the token is $TOKEN\"\necho \"$TOKEN\" >&2\nsleep 0.5\n",
        proof.display()
    );
    let mut secretive = steps();
    secretive[0] = with_secret(provisioner("app", &install, None), "TOKEN", CANARY);
    let harness = FakeBuilderHarness::new(folder.path(), secretive);
    let arguments = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&arguments);
    let baked = harness
        .bake(move |event| {
            if matches!(event, Event::Output { .. }) {
                seen.lock().expect("a list").extend(all_arguments());
            }
        })
        .await
        .expect("a bake");

    let saw = std::fs::read_to_string(&proof).expect("the step ran");
    let expected = vault_bake::digest::Digest::hash_bytes(CANARY).hex();
    assert!(saw.starts_with(&expected), "the step got its secret");
    let arguments = arguments.lock().expect("a list");
    assert!(!arguments.is_empty());
    assert!(
        !arguments.iter().any(|line| line.contains(CANARY)),
        "in an argument list"
    );
    let heard = serde_json::to_string(&harness.recorded_events()).expect("events are JSON");
    assert!(
        heard.contains("the token is [secret]") && !heard.contains(CANARY),
        "in an event"
    );
    for file in every_file(&folder.path().join("store")) {
        let bytes = std::fs::read(&file).expect("a file of the store");
        let found = bytes
            .windows(CANARY.len())
            .any(|window| window == CANARY.as_bytes());
        assert!(!found, "in {}", file.display());
    }
    assert!(!format!("{baked:?}").contains(CANARY));
}

fn all_arguments() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("a proc file system");
    entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

fn every_file(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| {
            if path.is_dir() {
                every_file(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
