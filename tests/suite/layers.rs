//! The layer cache with fake VMs: keys of entries, and the steps that a build runs again.
//! Tests with QEMU compare the files.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use testing::harness::{FakeBuilderHarness, missing_release};
use testing::plan::{plan, provisioner, step, with_secret};
use vault_bake::bake::{Baked, layer_keys};
use vault_bake::builder::{AccessBy, Content, Disk, DiskFile, Resumed};
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::event::Event;
use vault_bake::manifest::Manifest;
use vault_bake::plan::{Plan, PlannedStep, StepKind};

/// A step as the property sees it: equal steps are the same to a VM.
#[derive(Clone, Debug, PartialEq)]
struct VisibleStep {
    name: u8,
    content: u8,
    kind: u8,
    releases: Vec<&'static str>,
}

/// All that the steps of an entry can see, except for earlier steps.
#[derive(Clone, Debug, PartialEq)]
struct StepInputs {
    base: u8,
    memory_mib: u32,
    image: bool,
    lib: bool,
    vault: u8,
    consul: u8,
}

const SECRET: u8 = 3;
const ANSIBLE: u8 = 4;

fn seen() -> impl Strategy<Value = VisibleStep> {
    let releases = prop::sample::subsequence(vec!["consul", "vault"], 0..=2);
    (0..2_u8, 0..2_u8, 0..5_u8, releases).prop_map(|(name, content, kind, releases)| VisibleStep {
        name,
        content,
        kind,
        releases,
    })
}

fn step_inputs() -> impl Strategy<Value = StepInputs> {
    let small = 0..2_u8;
    (
        small.clone(),
        512..514_u32,
        any::<bool>(),
        any::<bool>(),
        small.clone(),
        small,
    )
        .prop_map(|(base, memory_mib, image, lib, vault, consul)| StepInputs {
            base,
            memory_mib,
            image,
            lib,
            vault,
            consul,
        })
}

fn planned(seen: &VisibleStep) -> PlannedStep {
    let kind = match seen.kind {
        0 => StepKind::Reboot,
        1 => StepKind::Provisioner {
            provisioner: "app".to_owned(),
            checked: false,
            seal: false,
        },
        ANSIBLE => StepKind::Ansible {
            playbook: "site.yml".into(),
            sha256: Digest::hash_bytes("playbook"),
        },
        _ => StepKind::Shell,
    };
    let mut planned = step(&format!("step-{}", seen.name), kind, &[]);
    planned.digest = Digest::hash_bytes([seen.kind, seen.content]);
    planned.releases = seen.releases.iter().map(ToString::to_string).collect();
    if seen.kind == SECRET {
        planned = with_secret(planned, "TOKEN", "a secret");
    }
    planned
}

fn whole(step_inputs: &StepInputs, steps: &[VisibleStep]) -> (Plan, Disk) {
    let mut steps: Vec<PlannedStep> = steps.iter().map(planned).collect();
    steps.push(provisioner("seal", "true\n", None));
    let mut plan = plan(steps);
    if step_inputs.image {
        plan.image = "another".to_owned();
    }
    if step_inputs.lib {
        plan.lib.sha256 = Digest::hash_bytes("another library");
    }
    plan.target.machine.0["memory_mib"] = step_inputs.memory_mib.into();
    plan.releases = [("vault", step_inputs.vault), ("consul", step_inputs.consul)]
        .map(|(product, content)| {
            let mut release = missing_release();
            release.product = product.to_owned();
            release.sha256 = Digest::hash_bytes([content]);
            release
        })
        .to_vec();
    (plan, disk(Digest::hash_bytes([step_inputs.base])))
}

fn disk(sha256: Digest) -> Disk {
    Disk {
        content: Content::File(DiskFile {
            path: "/base.qcow2".into(),
            format: "qcow2".to_owned(),
            sha256,
        }),
        firmware: Firmware::Bios,
        access: AccessBy::Credentials,
        kernel: None,
    }
}

/// Returns all that the first `count` steps can see.
fn visible(step_inputs: &StepInputs, steps: &[VisibleStep]) -> String {
    let describe = |seen: &VisibleStep| {
        let content = |product: &&str| match *product {
            "vault" => step_inputs.vault,
            _ => step_inputs.consul,
        };
        let releases: Vec<u8> = seen.releases.iter().map(content).collect();
        format!("{seen:?} {releases:?}")
    };
    let steps: Vec<String> = steps.iter().map(describe).collect();
    let StepInputs {
        base,
        memory_mib,
        image,
        lib,
        ..
    } = step_inputs;
    format!("{base} {memory_mib} {image} {lib} {steps:?}")
}

proptest! {
    /// Two entries have the same key if and only if all their inputs are the same.
    #[test]
    fn keys_are_the_same_where_all_inputs_are(
        (a, b) in (step_inputs(), step_inputs()),
        (first, second) in (vec(seen(), 0..5), vec(seen(), 0..5)),
        share in 0..6_usize,
        same_ground in any::<bool>(),
    ) {
        // Two random plans have little in common, but most builds share nearly everything.
        let second: Vec<VisibleStep> = first.iter().take(share).cloned().chain(second).collect();
        let b = if same_ground { a.clone() } else { b };
        let keys = |step_inputs: &StepInputs, steps: &[VisibleStep]| {
            let (plan, disk) = whole(step_inputs, steps);
            layer_keys(&plan, &disk)
        };
        let (keys_a, keys_b) = (keys(&a, &first), keys(&b, &second));
        let keepable = |steps: &[VisibleStep]| steps.iter().take_while(|one| one.kind < SECRET).count();
        prop_assert_eq!(keys_a.len(), keepable(&first));
        prop_assert_eq!(keys_b.len(), keepable(&second));
        for (count_a, key_a) in (1..).zip(&keys_a) {
            for (count_b, key_b) in (1..).zip(&keys_b) {
                let same = visible(&a, &first[..count_a]) == visible(&b, &second[..count_b]);
                prop_assert_eq!(key_a == key_b, same, "{} and {} steps", count_a, count_b);
            }
        }
    }
}

/// Returns the names of the steps that a build ran, the seal included.
fn did(harness: &FakeBuilderHarness, since: usize) -> String {
    let heard = harness.recorded_events();
    let steps = heard[since..].iter().filter_map(|event| match event {
        Event::StepStarted { step, .. } => step.split('/').next().map(str::to_owned),
        _ => None,
    });
    steps.collect::<Vec<_>>().join(" ")
}

fn app(name: &str, install: &str) -> PlannedStep {
    let mut app = provisioner(name, install, None);
    app.digest = Digest::hash_bytes(install);
    app
}

fn seal() -> PlannedStep {
    provisioner("seal", "true\n", None)
}

fn layers(baked: &Baked) -> String {
    let layers = baked.manifest.layers.iter();
    layers
        .map(|layer| layer.step.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn a_cached_step_does_not_run_again_and_the_manifest_names_its_entry() {
    let folder = tempfile::tempdir().unwrap();
    let steps = vec![app("one", "true\n"), app("two", "true\n"), seal()];
    let mut harness = FakeBuilderHarness::new(folder.path(), steps);
    harness.layers = true;
    harness.test = false;
    let first = harness.bake(|_| {}).await.unwrap();
    assert_eq!(did(&harness, 0), "one two seal");
    assert_eq!(layers(&first), "");

    let since = harness.recorded_events().len();
    let second = harness.bake(|_| {}).await.unwrap();
    assert_eq!(did(&harness, since), "seal");
    assert_eq!(layers(&second), "one two");
    let made_by = |baked: &Baked| baked.manifest.layers[0].build.clone();
    assert_eq!(made_by(&second), first.manifest.build);
    // The manifest has both steps, as they ran.
    assert_eq!(second.manifest.steps[..2], first.manifest.steps[..2]);
    assert_eq!(second.manifest.steps.len(), 3);

    let since = harness.recorded_events().len();
    harness.plan.steps[1] = app("two", "echo changed\n");
    let third = harness.bake(|_| {}).await.unwrap();
    assert_eq!(did(&harness, since), "two seal");
    assert_eq!(layers(&third), "one");
}

#[tokio::test]
async fn a_bake_whose_late_step_was_mended_continues_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let steps = vec![app("one", "true\n"), app("late", "exit 3\n"), seal()];
    let mut harness = FakeBuilderHarness::new(folder.path(), steps);
    harness.layers = true;
    harness.test = false;
    let failed = harness.bake(|_| {}).await.unwrap_err();
    assert!(failed.to_string().contains("late/install"), "{failed}");
    let since = harness.recorded_events().len();
    harness.plan.steps[1] = app("late", "exit 0\n");
    harness.bake(|_| {}).await.unwrap();
    assert_eq!(did(&harness, since), "late seal");
}

#[tokio::test]
async fn nothing_is_kept_from_a_step_with_a_secret_on() {
    let folder = tempfile::tempdir().unwrap();
    let secretive = with_secret(app("secretive", "true\n"), "TOKEN", "a secret");
    let steps = vec![
        app("one", "true\n"),
        secretive,
        app("two", "true\n"),
        seal(),
    ];
    let mut harness = FakeBuilderHarness::new(folder.path(), steps);
    harness.layers = true;
    harness.test = false;
    harness.bake(|_| {}).await.unwrap();
    let kept = fs::read_dir(harness.cache().join("fake-layers")).unwrap();
    assert_eq!(kept.count(), 1);
    let since = harness.recorded_events().len();
    harness.bake(|_| {}).await.unwrap();
    assert_eq!(did(&harness, since), "secretive two seal");
}

#[tokio::test]
async fn where_no_layer_is_kept_every_step_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let steps = vec![app("one", "true\n"), seal()];
    let mut harness = FakeBuilderHarness::new(folder.path(), steps);
    harness.test = false;
    for _ in 0..2 {
        let since = harness.recorded_events().len();
        let baked = harness.bake(|_| {}).await.unwrap();
        assert_eq!(
            (did(&harness, since).as_str(), layers(&baked).as_str()),
            ("one seal", "")
        );
    }
    assert!(!harness.cache().join("fake-layers").exists());
}

#[tokio::test]
async fn the_manifest_says_whether_its_build_vm_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = FakeBuilderHarness::new(folder.path(), vec![seal()]);
    harness.test = false;
    let booted = harness.bake(|_| {}).await.unwrap().manifest;
    assert_eq!(booted.resumed, None);
    let from = Resumed {
        run: "the-first-run".to_owned(),
        memory_sha256: Digest::hash_bytes("memory"),
    };
    harness.resumed = Some(from.clone());
    let resumed = harness.bake(|_| {}).await.unwrap().manifest;
    let fact = resumed.resumed.as_ref().unwrap();
    assert_eq!(
        (&fact.build, fact.memory_sha256),
        (&from.run, from.memory_sha256)
    );
    let is_shown = |manifest: &Manifest| manifest.to_string().contains("the-first-run");
    assert!(is_shown(&resumed) && !is_shown(&booted));
}

/// Ends its ssh session, as a reboot does.
const LEAVES: &str = "p=$PPID; until grep -q sshd /proc/$p/comm; do p=$(cut -d ' ' -f 4 /proc/$p/stat); done; kill -9 $p; sleep 20\n";

#[tokio::test]
async fn no_layer_is_kept_of_a_run_whose_machine_went_away() {
    let folder = tempfile::tempdir().unwrap();
    let steps = vec![
        app("one", "true\n"),
        app("two", "exit 3\n"),
        app("three", "true\n"),
        seal(),
    ];
    let mut harness = FakeBuilderHarness::new(folder.path(), steps);
    harness.layers = true;
    harness.test = false;
    harness.bake(|_| {}).await.unwrap_err();

    // The entry of the run before stays. This run keeps no entry from before its VM ended.
    harness.plan.steps[1] = app("two", "true\n");
    harness.plan.steps[2] = app("three", LEAVES);
    let since = harness.recorded_events().len();
    let failed = harness.bake(|_| {}).await.unwrap_err();
    let failed = failed.to_string();
    assert!(
        failed.starts_with("step three/install cannot be completed: the machine "),
        "{failed}"
    );
    assert_eq!(did(&harness, since), "two three");
    for _ in 0..2 {
        let since = harness.recorded_events().len();
        harness.bake(|_| {}).await.unwrap_err();
        assert_eq!(did(&harness, since), "two three");
    }
}
