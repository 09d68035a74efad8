//! The stores and files that the commands of the pages expect.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use jiff::Timestamp;
use serde_json::{Value, json};
use testing::recorded_store::{self, in_cloud, with};
use testing::sample::{check, digest, sample, step, test_record};
use testing::signing::{key, key_pem, signer, trust};
use uuid::Uuid;
use vault_bake::definition::{Definition, ReleaseSource};
use vault_bake::digest::Digest;
use vault_bake::lock::Lock;
use vault_bake::manifest::{Input, Manifest, Package, StepFact};
use vault_bake::plan::plan;
use vault_bake::platform;
use vault_bake::provisioner::Provisioners;
use vault_bake::store::event::{Body, Retention, Revoke};
use vault_bake::store::gc::ExternalUses;
use vault_bake::store::revocation::Rule;
use vault_bake::store::{Dir, Store};
use vault_bake::wait::Interrupt;

use super::pages::{blocks, root};
use super::project::Project;
use crate::cli::channels::key_of;
use crate::lock::locked;

const FIXTURE_SIGNER: &str = "vault-bake fixture releases (throw-away key, not HashiCorp)";

const FIXTURE_FINGERPRINT: &str = "D6AE8B6700000000000000000000000000000000";

fn now() -> Timestamp {
    "2026-11-29T02:45:18Z".parse().unwrap()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// Makes an empty store where the binary looks for it, in place of any other, and the key that may write to it.
async fn empty(project: &Project) -> Store<Dir> {
    for old in [".local", ".cache/vault-bake/stores", ".config"] {
        let _ = fs::remove_dir_all(project.path(old));
    }
    let _ = fs::remove_file(project.path("vault-bake.pins.json"));
    key_of(project.root());
    let root = project.path(".local/share/vault-bake/store");
    fs::create_dir_all(root.parent().unwrap()).unwrap();
    recorded_store::open(&root, &trust(), &[1]).await
}

async fn existing(project: &Project) -> Store<Dir> {
    let store = Store::open(Dir::new(project.path(".local/share/vault-bake/store"))).await;
    store
        .unwrap()
        .with_signers(vec![signer(1)], Interrupt::default())
}

/// The packages of an image.
fn packages() -> Vec<Package> {
    let package = |number: usize| Package {
        name: format!("package-{number:03}"),
        arch: "amd64".to_owned(),
        version: "1.0-1".to_owned(),
        source: format!("package-{number:03}"),
    };
    (0..160).map(package).collect()
}

/// The manifest of the quickstart that pages show.
fn quickstart(project: &Project, version: &str, datacenter: &str) -> Manifest {
    let mut manifest = sample(version, &format!("disk {version}"));
    manifest.build = "01a2f5c0-0000-7000-8000-000000000001".to_owned();
    manifest.created_at = "2026-11-29T02:40:20Z".parse().unwrap();
    manifest.source.repo = None;
    manifest.source.commit = None;
    manifest.source.dirty = None;
    manifest.releases[1] = testing::sample::release("vault", "1.15.6+fixture", false);
    for release in &mut manifest.releases {
        release.signer = FIXTURE_SIGNER.to_owned();
        release.signed_at = "2026-11-29T02:26:53Z".to_owned();
        release.primary_fingerprint = FIXTURE_FINGERPRINT.to_owned();
    }
    manifest.variables = BTreeMap::from([
        ("azure_allow_from".to_owned(), json!([])),
        ("azure_gallery".to_owned(), json!("")),
        ("azure_group".to_owned(), json!("images")),
        ("azure_location".to_owned(), json!("westeurope")),
        ("consul_version".to_owned(), json!("1.8.7")),
        ("datacenter".to_owned(), json!(datacenter)),
        ("vault_version".to_owned(), json!("1.15.6+fixture")),
    ]);
    let input = |role: &str, name: &str| Input {
        role: role.to_owned(),
        name: name.to_owned(),
        digest: digest(&format!("{name} {datacenter}")),
        size: 7,
    };
    let inputs = [
        input("checks", "checks"),
        input("file", "consul/configuration/consul.json"),
    ];
    manifest.inputs.extend(inputs);
    let steps = [
        ("base", 5000),
        ("consul", 10700),
        ("vault", 10200),
        ("harden", 16400),
        ("seal", 24100),
    ];
    manifest.steps = steps
        .map(|(name, elapsed_ms)| StepFact {
            elapsed_ms,
            ..step(name, "provisioner")
        })
        .into();
    manifest.checks = (0..92)
        .map(|number| {
            let mut check = check(&format!("vault.check-{number}"), true);
            check.skipped = (number < 3).then(|| "no ssh server".to_owned());
            check
        })
        .collect();
    manifest.os.kernel = "6.12.118+deb13-cloud-amd64".to_owned();
    manifest.os.version = "13".to_owned();
    manifest.repro.not_pinned = vec!["times and generated ids within the image".to_owned()];
    if let Some(file) = &mut manifest.outputs[0].file {
        file.virtual_size = 4 << 30;
    }
    as_planned(project, &mut manifest, datacenter);
    manifest
}

/// Records an image, and its test if there was one.
async fn record(
    store: &Store<Dir>,
    mut manifest: Manifest,
    at: Timestamp,
    passed: Option<bool>,
) -> Digest {
    let disk = format!("disk {}", manifest.version);
    let captured = store.backend().root().with_extension("captured");
    fs::write(&captured, &disk).unwrap();
    let adopted = store
        .adopt_artifact(&captured, Digest::hash_bytes(&disk))
        .await;
    adopted.unwrap();
    let datacenter = manifest.variables.get("datacenter").and_then(Value::as_str);
    let checks = format!("checks {}", datacenter.unwrap_or_default());
    store.put_object(checks.as_bytes()).await.unwrap();
    manifest.packages = store.put_packages(&packages(), "dpkg").await.unwrap();
    manifest.sbom = Some(store.put_sbom(&manifest, &packages()).await.unwrap());
    let digest = store.put_manifest(&manifest, at).await.unwrap();
    if let Some(passed) = passed {
        let mut record = test_record(digest, at, passed);
        record.checks = (0..97)
            .map(|number| check(&format!("vault.check-{number}"), passed || number > 0))
            .collect();
        store.put_test(&record, at).await.unwrap();
    }
    digest
}

async fn promote(store: &Store<Dir>, manifest: &Digest, channel: &str) {
    let set = store.plan_promotion(manifest, channel, None, None, now());
    store.move_channel(set.await.unwrap(), now()).await.unwrap();
}

/// `quickstart@2026.1129.0`, tested.
pub fn one_image(project: &Project) {
    wait(async {
        let store = empty(project).await;
        record(
            &store,
            quickstart(project, "2026.1129.0", "dc1"),
            now(),
            Some(true),
        )
        .await;
    });
}

/// The same in the channel `staging`.
pub fn staged(project: &Project) {
    one_image(project);
    wait(async {
        let store = existing(project).await;
        let image = store.resolve(&"quickstart".parse().unwrap()).await.unwrap();
        promote(&store, &image, "staging").await;
    });
}

/// The same in the channels `staging` and `prod`.
pub fn promoted(project: &Project) {
    staged(project);
    wait(async {
        let store = existing(project).await;
        let image = store.resolve(&"quickstart:staging".parse().unwrap()).await;
        promote(&store, &image.unwrap(), "prod").await;
    });
}

/// The same, and after it a newer image in `staging`.
pub fn newer_staged(project: &Project) {
    promoted(project);
    wait(async {
        let store = existing(project).await;
        let newer = quickstart(project, "2026.1130.0", "dc1");
        let newer = record(&store, newer, now(), Some(true)).await;
        promote(&store, &newer, "staging").await;
    });
}

/// The same in the channel `prod` alone.
pub fn in_production(project: &Project) {
    one_image(project);
    wait(async {
        let store = existing(project).await;
        let image = store.resolve(&"quickstart".parse().unwrap()).await.unwrap();
        promote(&store, &image, "prod").await;
    });
}

/// `quickstart@2026.1129.0`, tested, and `2026.1129.1` of another datacenter, whose test is given, in six or five entries.
fn two(project: &Project, second: Option<bool>) {
    wait(async {
        let store = empty(project).await;
        let first = record(
            &store,
            quickstart(project, "2026.1129.0", "dc1"),
            now(),
            Some(true),
        )
        .await;
        record(
            &store,
            quickstart(project, "2026.1129.1", "dc2"),
            now(),
            second,
        )
        .await;
        promote(&store, &first, "staging").await;
        promote(&store, &first, "prod").await;
    });
}

/// Two images, the second failed, in six entries.
pub fn one_failed(project: &Project) {
    two(project, Some(false));
}

/// Two images, the second untested, in five entries.
pub fn one_untested(project: &Project) {
    two(project, None);
}

/// Two images, the second failed and revoked.
pub fn one_revoked(project: &Project) {
    two(project, Some(false));
    let reason = "--reason 'wrong datacenter'";
    let revoke = format!("vault-bake revoke quickstart@2026.1129.1 {reason}");
    assert_eq!(project.run(&revoke, ""), 0, "{}", project.printed());
}

/// Two images in no channel, both built from the plan of the quickstart, the second with another datacenter.
pub fn unpromoted(project: &Project) {
    let first = quickstart(project, "2026.1129.0", "dc1");
    let second = quickstart(project, "2026.1129.1", "dc2");
    wait(async {
        let store = empty(project).await;
        record(&store, first, now(), Some(true)).await;
        record(&store, second, now(), Some(false)).await;
    });
}

/// `quickstart@1.0.0` and `1.0.1`, both tested, one after the other in `staging`.
pub fn two_generations(project: &Project) {
    wait(async {
        let store = empty(project).await;
        for version in ["1.0.0", "1.0.1"] {
            record(
                &store,
                quickstart(project, version, "dc1"),
                now(),
                Some(true),
            )
            .await;
        }
    });
    for command in [
        "vault-bake promote quickstart@1.0.0 staging",
        "vault-bake promote quickstart@1.0.1 staging --note November",
    ] {
        assert_eq!(project.run(command, ""), 0, "{}", project.printed());
    }
}

/// `quickstart@1.0.0` pinned, and `1.0.1` with a newer Vault in its channel.
pub fn outdated_pin(project: &Project) {
    let (first, second) = wait(async {
        let store = empty(project).await;
        let first = recorded_store::bake(&store, &with("1.0.0", "1.20.0", "1.8.7")).await;
        promote(&store, &first, "prod").await;
        let second = recorded_store::bake(&store, &with("1.0.1", "1.21.0", "1.8.7")).await;
        (first, second)
    });
    assert_ne!(first, second);
    assert_eq!(project.run("vault-bake pin quickstart:prod", ""), 0);
    wait(async {
        let store = existing(project).await;
        promote(&store, &second, "prod").await;
    });
}

/// A plan of Terraform that uses `vault-server@2026.1122.0`, in the gallery.
pub fn planned(project: &Project) {
    let id = "/subscriptions/s/resourceGroups/images/providers/Microsoft.Compute/galleries/images/images/vault-server/versions/2026.1122.0";
    wait(async {
        let store = empty(project).await;
        let mut manifest = quickstart(project, "2026.1122.0", "dc1");
        manifest.image = "vault-server".to_owned();
        let output = in_cloud("westeurope", "azure-gallery-version", id.to_owned());
        manifest.outputs.push(output);
        record(&store, manifest, now(), Some(true)).await;
    });
    let change = json!({
        "address": "azurerm_linux_virtual_machine.vault", "mode": "managed",
        "type": "azurerm_linux_virtual_machine", "name": "vault",
        "change": { "actions": ["create"], "before": null, "after": { "source_image_id": id }, "after_unknown": {} },
    });
    let plan = json!({ "format_version": "1.2", "terraform_version": "1.11.4", "resource_changes": [change] });
    project.write("planned.json", &plan.to_string());
    project.set("PLAN", "planned.json");
}

/// A plan of `gc`, of which entry 41 is due.
pub fn due(project: &Project) {
    wait(async {
        let store = empty(project).await;
        record(
            &store,
            quickstart(project, "1.0.1", "dc1"),
            now(),
            Some(true),
        )
        .await;
        record(&store, quickstart(project, "1.0.0", "dc1"), now(), None).await;
        while store.history().await.unwrap().head() < 40 {
            // Any entry will do.
            let revoke = Revoke {
                rule: Rule::Versions {
                    image: "another".to_owned(),
                    from: None,
                    to: None,
                },
                why: "a test".to_owned(),
                effective_at: now().into(),
                replacement: None,
            };
            let body = Body::Revoke(revoke);
            store.append(Uuid::now_v7(), now(), body).await.unwrap();
        }
        let keep = Retention {
            generations: 1,
            min_age_s: 0,
            pin_files: 0,
            in_use_lists: 0,
        };
        let planned = store
            .plan_gc(&keep, &ExternalUses::default(), 0, now())
            .await;
        assert_eq!(planned.unwrap().1.map(|planned| planned.seq), Some(41));
    });
}

/// The key of the signing program.
pub fn signing_program(project: &Project) {
    one_image(project);
    project.write("signer-key.pem", &key_pem(1));
    let command = "openssl pkey -in signer-key.pem -pubout -out key.pem";
    assert_eq!(project.run(command, ""), 0, "{}", project.printed());
}

/// Locks an image of the project.
fn lock(project: &Project, image: &str) {
    lock_from(project, image, |_| {});
}

/// Locks the quickstart with releases from the mirror that `fixture_mirror` makes.
pub fn lock_from_mirror(project: &Project) {
    let mirror = project.path("target/fixture-mirror");
    lock_from(project, "quickstart", |source| {
        source.mirror = mirror.display().to_string();
        source.key_file = Some(mirror.join("key.asc"));
        source.fingerprint = FIXTURE_FINGERPRINT.to_owned();
    });
}

fn lock_from(project: &Project, image: &str, change: impl FnOnce(&mut ReleaseSource)) {
    let mut definition = load(project, image, &[]);
    change(&mut definition.release_source);
    let lock = locked_as_fixture(&definition);
    let file = project.path("images").join(image).join("image.lock");
    lock.save(&file).unwrap();
}

/// The lock of a definition with fixture releases.
fn locked_as_fixture(definition: &Definition) -> Lock {
    // It has a runtime of its own.
    let lock = thread::scope(|scope| scope.spawn(|| locked(definition)).join());
    let mut lock = lock.unwrap();
    for release in &mut lock.releases {
        release.signer = FIXTURE_SIGNER.to_owned();
        release.primary_fingerprint = FIXTURE_FINGERPRINT.to_owned();
        release.signing_fingerprint = FIXTURE_FINGERPRINT.to_owned();
    }
    lock
}

/// Loads a definition with the versions of the fixture releases, and these variables.
fn load(project: &Project, image: &str, more: &[(&str, &str)]) -> Definition {
    let folder = project.path("images").join(image);
    let names = Definition::variable_names(&folder).unwrap();
    let given = [
        ("vault_version", "1.15.6+fixture"),
        ("consul_version", "1.8.7"),
        ("token", "a-value"),
    ];
    let given = given.iter().chain(more);
    let given = given.filter(|(name, _)| names.iter().any(|known| known == name));
    let given = given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Definition::load(&folder, &given.collect(), &platform::all(None))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Gives a manifest the digests of the plan of the quickstart, as if it was built from that plan.
/// The lock that it was built with is in no file: one with another source of releases may be there.
fn as_planned(project: &Project, manifest: &mut Manifest, datacenter: &str) {
    let definition = load(project, "quickstart", &[("datacenter", datacenter)]);
    let lock = locked_as_fixture(&definition);
    let search = [root().join("provisioners")];
    let provisioners = Provisioners::load(&search, &definition).unwrap();
    let plan = plan(
        &definition,
        &lock,
        &provisioners,
        &platform::all(None),
        "qemu",
    );
    let plan = plan.unwrap_or_else(|error| panic!("{error}"));
    manifest.source.plan_digest = plan.digest();
    for (step, planned) in manifest.steps.iter_mut().zip(&plan.steps) {
        assert_eq!(step.name, planned.name);
        step.digest = planned.digest;
    }
}

/// The locks of the shipped images.
pub fn locks(project: &Project) {
    for image in ["quickstart", "vault-server", "consul-server"] {
        lock(project, image);
    }
}

/// An image `web` with a sensitive variable.
pub fn web(project: &Project) {
    let definition = "schema = 1\ndescription = \"web\"\nbase.qemu.kind = \"packages\"\n\n\
        [variables.token]\ntype = \"string\"\nsensitive = true\n\n[[step]]\nprovisioner = \"seal\"\n";
    project.write("images/web/image.toml", definition);
    lock(project, "web");
}

/// The script that makes fixture releases: it takes the one argument that the real one takes.
pub fn fixture_mirror(project: &Project) {
    let script = "#!/bin/sh\n[ $# = 1 ] && mkdir -p \"$1\" && touch \"$1/key.asc\" && echo FINGERPRINT >\"$1/fingerprint\"\n";
    let script = script.replace("FINGERPRINT", FIXTURE_FINGERPRINT);
    project.program("../tests/fixture-mirror/make", &script);
}

/// A cluster whose images are in the store.
pub fn cluster(project: &Project) {
    project.write(
        "clusters/dev/cluster.toml",
        "schema = 1\ndatacenter = \"dc1\"\n[consul]\nimage = \"consul-server:stable\"\nnodes = 3\n\
         [vault]\nimage = \"vault-server:stable\"\nnodes = 3\n",
    );
    wait(async {
        let store = empty(project).await;
        for image in ["consul-server", "vault-server"] {
            let mut manifest = quickstart(project, "2026.1129.0", "dc1");
            manifest.image = image.to_owned();
            let digest = record(&store, manifest, now(), Some(true)).await;
            promote(&store, &digest, "stable").await;
        }
    });
}

/// The files of an identity archive, and the units of a node.
pub fn identity(project: &Project) {
    for file in ["node.json", "consul/ca.pem", "vault/ca.pem"] {
        project.write(&format!("vault-1/{file}"), "");
    }
    let provisioners = root().join("provisioners");
    project.set("PROVISIONERS", &provisioners.display().to_string());
}

/// A repository for `git add`.
pub fn repository(project: &Project) {
    assert_eq!(
        project.run("git init --quiet", ""),
        0,
        "{}",
        project.printed()
    );
}

/// The envelope that the commands of the store verify.
pub fn envelope(project: &Project) {
    promoted(project);
    let entry = project.path(".local/share/vault-bake/store/log/entries/000/000/001");
    project.set("ENVELOPE", &entry.display().to_string());
}

/// An entry that several keys could have signed.
pub fn approved(project: &Project) {
    let revoke = "vault-bake revoke quickstart --reason CVE-2026-0001 --propose";
    let complete = "vault-bake complete $(vault-bake proposals --json | jq -r .proposal)";
    for command in [revoke, complete] {
        assert_eq!(project.run(command, ""), 0, "{}", project.printed());
    }
    let head = wait(async { existing(project).await.history().await.unwrap().head() });
    let entry = format!(".local/share/vault-bake/store/log/entries/000/000/{head:03}");
    project.set("ENVELOPE", &project.path(&entry).display().to_string());
}

/// No store, and the keys of three people; that of Alice signs by default.
pub fn team(project: &Project) {
    wait(empty(project));
    fs::remove_dir_all(project.path(".local")).unwrap();
    for (name, n) in [("alice", 1), ("bob", 2), ("carol", 3)] {
        let private = format!("{name}.pem");
        project.write(&private, &key_pem(n));
        fs::set_permissions(project.path(&private), fs::Permissions::from_mode(0o600)).unwrap();
        project.write(&format!("{name}.pub"), &key(n).public().to_pem());
    }
}

/// Two tested images in the store of the team.
pub fn images_of_team(project: &Project) {
    wait(async {
        let store = existing(project).await;
        for version in ["2026.1128.0", "2026.1129.0"] {
            let manifest = quickstart(project, version, "dc1");
            record(&store, manifest, now(), Some(true)).await;
        }
    });
}

/// The role and the federated credential of `docs/azure.md`, as files.
pub fn role(project: &Project) {
    let blocks = blocks("docs/azure.md");
    let blocks = blocks.iter().filter(|block| block.tag == "json");
    for (file, block) in ["role.json", "github.json"].iter().zip(blocks) {
        project.write(file, &block.text());
    }
}

/// The provisioner of `docs/provisioners.md`.
pub fn motd(project: &Project) {
    let blocks = blocks("docs/provisioners.md");
    for (file, start) in [
        ("provisioner.toml", "schema = 1\ndescription = \"Writes"),
        ("templates/motd", "{{ inputs.text }}"),
        ("install.sh", ". \"$VB_LIB\"\nplace"),
        ("check.sh", ". \"$VB_LIB\"\ncheck"),
    ] {
        let block = blocks.iter().find(|block| block.text().starts_with(start));
        project.write(&format!("provisioners/motd/{file}"), &block.unwrap().text());
    }
}

/// A pin file.
pub fn pinned(project: &Project) {
    in_production(project);
    assert_eq!(project.run("vault-bake pin quickstart:prod", ""), 0);
}
