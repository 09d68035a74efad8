//! A third platform, in one folder: the library knows it only by the list of platforms.

mod toy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use testing::harness::FakeBuilderHarness;
use toy::{Toy, ToyBuilder};
use vault_bake::definition::Definition;
use vault_bake::definition::platform::{LockContext, Platforms};
use vault_bake::event::Events;
use vault_bake::lock::{self, Bases, Lock};
use vault_bake::plan::{Plan, plan};
use vault_bake::platform::qemu::QemuPlatform;
use vault_bake::provisioner::Provisioners;
use vault_bake::wait::Interrupt;

use crate::lock::FakeNetwork;

const DEFINITION: &str = r#"schema = 1
description = "an image of a toy"

[variables.colour]
type = "string"
default = "red"

[base.toy]
brick = "{{ var.colour }}"

[machine.toy]
boot_timeout_s = 60

[[step]]
inline = "echo a step"

[[step]]
provisioner = "seal"
"#;

const SEAL: &str = "schema = 1\ndescription = \"seals\"\nseal = true\n";
const CHECK: &str = "echo 'ok 1 - seal.works: it works'\necho 1..1\n";

fn platforms() -> Platforms {
    Platforms::new(vec![Box::new(QemuPlatform::default()), Box::new(Toy)])
}

/// Locks and plans a definition.
async fn planned(text: &str) -> Result<(Lock, Plan), String> {
    let platforms = platforms();
    let file = Path::new("images/brick/image.toml");
    let definition = Definition::parse(file, text, &BTreeMap::new(), &platforms);
    let definition = definition.map_err(|problems| problems.to_string())?;
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let context = LockContext {
        now: testing::harness::clock(),
        events: &events,
        interrupt: &interrupt,
    };
    let locking = lock::resolve(&definition, &platforms, Bases::All, &FakeNetwork, context);
    let lock = locking.await.map_err(|error| error.to_string())?;
    let search = tempfile::tempdir().unwrap();
    let seal = search.path().join("seal");
    fs::create_dir(&seal).unwrap();
    for (file, text) in [
        (search.path().join("lib.sh"), "greet() { echo hello; }\n"),
        (seal.join("provisioner.toml"), SEAL),
        (seal.join("install.sh"), "echo sealing\n"),
        (seal.join("check.sh"), CHECK),
    ] {
        fs::write(file, text).unwrap();
    }
    let provisioners = Provisioners::load(&[search.path().to_owned()], &definition).unwrap();
    let planned = plan(&definition, &lock, &provisioners, &platforms, "toy");
    let planned = planned.map_err(|error| error.to_string())?;
    Ok((lock, planned))
}

#[tokio::test]
async fn a_third_platform_builds_tests_and_records_an_image() {
    let (lock, plan) = planned(DEFINITION).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.lock");
    lock.save(&path).unwrap();
    assert_eq!(Lock::load(&path, &platforms()).unwrap(), lock);
    let shown = plan.render();
    let lines = shown.lines().filter(|line| {
        let names = ["base", "machine", "output"];
        names.iter().any(|name| line.starts_with(name))
    });
    let shown = lines.collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(shown, @r"
    base       a red brick
    machine    a toy, up to 60 s to boot
    output     a file
    ");

    let mut harness = FakeBuilderHarness::new(folder.path(), plan.steps.clone());
    harness.plan = plan;
    let builder = ToyBuilder(harness.builder());
    let store = harness.store().await;
    let baked = harness.bake_with(&builder, &store, |_| {}).await;
    let baked = baked.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(baked.tested.is_some_and(|tested| tested.passed));
    let manifest = &baked.manifest;
    assert_eq!(manifest.builder.name, "toy");
    let base = &manifest.base;
    assert_eq!(base.requested, json!({ "brick": "red" }));
    assert_eq!(base.resolved, json!({ "brick": "red", "pieces": 3 }));
}

/// What each part refuses has the words of the library around it.
#[tokio::test]
async fn problems_of_a_third_platform_are_shown_as_those_of_others() {
    let mut shown = String::new();
    for (from, to) in [
        ("brick = \"{{ var.colour }}\"", "brik = 1"),
        ("\"{{ var.colour }}\"", "\"{{ var.size }}\""),
        ("red", "black"),
        ("[base.toy]", "[base.toys]"),
    ] {
        let refused = planned(&DEFINITION.replacen(from, to, 1)).await;
        let refused = refused
            .err()
            .unwrap_or_else(|| format!("{to} was accepted"));
        shown = format!("{shown}{refused}\n");
    }
    insta::assert_snapshot!(shown, @r"
    images/brick/image.toml:8: base.toy: unknown field `brik`, expected `brick`
    images/brick/image.toml:9: base.toy.brick: undefined variable `size`; expected one of `colour`
    cannot lock the base: there is no black brick
    images/brick/image.toml:8: base.toys: unknown key; expected one of `qemu`, `toy`
    ");
}
