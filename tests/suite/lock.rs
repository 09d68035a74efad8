//! Lock files: resolved from a fake network, written, read and refused.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::BoxFuture;
use vault_bake::definition::Definition;
use vault_bake::definition::platform::{BaseError, BaseErrorKind, LockContext, Platforms};
use vault_bake::digest::Digest;
use vault_bake::event::Events;
use vault_bake::lock::{self, Bases, Lock, LockError, Releases};
use vault_bake::plan::plan;
use vault_bake::platform::azure::{
    AzureBase, AzurePlatform, AzureSpec, ImageReference, Images, LockedImage, VmGeneration,
};
use vault_bake::platform::qemu::{PackageIndex, QemuPlatform, SignedSuites, Suites};
use vault_bake::provisioner::Provisioners;
use vault_bake::release::{Architecture, LockedRelease, ReleaseMirror, ReleaseName};
use vault_bake::wait::Interrupt;

use crate::problems::lock_error;

/// A fake network that has everything.
pub struct FakeNetwork;

impl Suites for FakeNetwork {
    fn index<'a>(
        &'a self,
        mirror: &'a str,
        suite: &'a str,
        _context: LockContext<'a>,
    ) -> BoxFuture<'a, Result<PackageIndex, BaseError>> {
        Box::pin(std::future::ready(Ok(PackageIndex {
            mirror: mirror.to_owned(),
            suite: suite.to_owned(),
            date: String::from("2026-07-11T10:16:37Z"),
            sha256: Digest::hash_bytes(format!("{mirror} {suite}")),
        })))
    }
}

impl Images for FakeNetwork {
    fn image<'a>(
        &'a self,
        wanted: &'a AzureSpec,
        _events: &'a Events,
    ) -> BoxFuture<'a, Result<LockedImage, BaseError>> {
        let image = match wanted.base.clone() {
            AzureBase::Marketplace {
                publisher,
                offer,
                sku,
                ..
            } => ImageReference::Marketplace {
                publisher,
                offer,
                sku,
                version: "0.20260701.2512".to_owned(),
            },
            AzureBase::Gallery { id } => ImageReference::Gallery {
                id: format!("{id}/versions/1.2.3"),
            },
            AzureBase::ManagedImage { id } => ImageReference::ManagedImage { id },
        };
        Box::pin(std::future::ready(Ok(LockedImage {
            arch: match image.to_string().contains("arm64") {
                true => Architecture::Aarch64,
                false => Architecture::X86_64,
            },
            image,
            generation: VmGeneration::V2,
            security: None,
            disk_controllers: Vec::new(),
            plan: None,
        })))
    }
}

impl Releases for FakeNetwork {
    async fn release(
        &self,
        source: &ReleaseMirror,
        name: ReleaseName<'_>,
        _context: LockContext<'_>,
    ) -> Result<LockedRelease, LockError> {
        let ReleaseName {
            product,
            version,
            architecture,
        } = name;
        let file = match architecture {
            Architecture::X86_64 => format!("{product}_{version}_linux_amd64.zip"),
            Architecture::Aarch64 => format!("{product}_{version}_linux_arm64.zip"),
        };
        Ok(LockedRelease {
            product: product.to_owned(),
            version: version.to_owned(),
            arch: architecture,
            url: format!("https://releases.example.com/{product}/{version}/{file}"),
            sha256: Digest::hash_bytes(&file),
            file,
            sums_sha256: Digest::hash_bytes("sums"),
            signature_sha256: Digest::hash_bytes("signature"),
            primary_fingerprint: source.fingerprint.clone(),
            signing_fingerprint: source.fingerprint.clone(),
            signed_at: String::from("2026-01-02T03:04:05Z"),
            signer: String::from("A Throw-away Key <key@example.com>"),
            official: false,
        })
    }
}

/// Returns all platforms, which look up their bases in the fake network.
pub fn platforms() -> Platforms {
    Platforms::new(vec![
        Box::new(QemuPlatform {
            suites: Box::new(FakeNetwork),
        }),
        Box::new(AzurePlatform {
            images: Some(Box::new(FakeNetwork)),
        }),
    ])
}

/// Returns the lock of `definition`, resolved from the fake network.
pub fn locked(definition: &Definition) -> Lock {
    locking(definition, Bases::All)
}

fn locking(definition: &Definition, bases: Bases<'_>) -> Lock {
    resolve(definition, bases).unwrap_or_else(|error| panic!("{error}"))
}

fn resolve(definition: &Definition, bases: Bases<'_>) -> Result<Lock, LockError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let context = LockContext {
        now: jiff::Timestamp::UNIX_EPOCH,
        events: &events,
        interrupt: &interrupt,
    };
    let platforms = platforms();
    runtime.block_on(lock::resolve(
        definition,
        &platforms,
        bases,
        &FakeNetwork,
        context,
    ))
}

/// A definition with these releases is locked, or refused with the printed problem.
#[test]
fn vault_with_a_consul_that_refuses_its_keys_is_not_locked() {
    let locked = |more: &str| {
        let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
        let text = format!("{text}{more}");
        let file = Path::new("images/web/image.toml");
        let definition = Definition::parse(
            file,
            &text,
            &BTreeMap::new(),
            &vault_bake::platform::all(None),
        );
        let definition = definition.unwrap_or_else(|error| panic!("{error}"));
        match resolve(&definition, Bases::All) {
            Ok(lock) => format!("{} releases", lock.releases.len()),
            Err(error) => lock_error(&error),
        }
    };
    let both = "[releases]\nvault = \"2.2.2\"\nconsul = \"1.21.5\"\n";
    insta::assert_snapshot!(locked(both), @r#"
    images/web/image.toml:11: releases.consul: Consul 1.21.5 refuses keys that Vault writes, with a blank, `@`, `+` or `:`; expected an earlier version, or 1.22.0 or later
    hint: Use Consul 2.1.0. To accept the failing requests, add `"vault.storage-consul-keys"` and a reason to `[lint.allow]`.
    "#);
    let allowed = "[lint.allow]\n\"vault.storage-consul-keys\" = \"keys of words only\"\n";
    assert_eq!(locked(&format!("{both}{allowed}")), "2 releases");
    assert_eq!(locked("[releases]\nconsul = \"1.21.5\"\n"), "1 releases");
    for version in ["1.21.4", "1.21.6+ent", "1.22.0"] {
        assert_eq!(locked(&both.replace("1.21.5", version)), "2 releases");
    }
}

#[test]
fn the_shipped_definitions_have_versions_that_fit() {
    let releases = |image: &str| {
        let folder = Path::new("images").join(image);
        let definition =
            Definition::load(&folder, &BTreeMap::new(), &vault_bake::platform::all(None));
        let mut definition = definition.unwrap_or_else(|error| panic!("{error}"));
        definition.platforms.retain(|(name, _)| *name == "qemu");
        let versions = locked(&definition).releases.into_iter();
        let versions = versions.map(|release| format!("{} {}", release.product, release.version));
        versions.collect::<Vec<_>>()
    };
    assert_eq!(releases("quickstart"), ["consul 2.1.0", "vault 2.2.2"]);
    assert_eq!(releases("vault-server"), releases("quickstart"));
    assert_eq!(releases("consul-server"), ["consul 2.1.0"]);
}

fn definition(name: &str) -> Definition {
    let file = Path::new("tests/definitions/valid").join(name);
    let given = BTreeMap::from([(String::from("token"), String::from("canary-0123456789"))]);
    let given = if name == "everything" {
        given
    } else {
        BTreeMap::new()
    };
    Definition::load(&file, &given, &vault_bake::platform::all(None))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Each base gets programs that start on it: the lock has them for both, and a plan those of one.
#[test]
fn releases_are_locked_for_the_architecture_of_each_base() {
    let shipped = Definition::load(
        Path::new("images/vault-server"),
        &BTreeMap::new(),
        &vault_bake::platform::all(None),
    );
    let mut both = shipped.unwrap_or_else(|error| panic!("{error}"));
    let (_, azure) = both
        .platforms
        .iter_mut()
        .find(|(name, _)| *name == "azure")
        .unwrap();
    azure.machine["allow_from"] = serde_json::json!(["203.0.113.7"]);
    azure.base["sku"] = serde_json::json!("13-arm64");
    let lock = locked(&both);
    let named = |release: &LockedRelease| format!("{} {}", release.arch, release.file);
    let files: Vec<_> = lock.releases.iter().map(named).collect();
    insta::assert_snapshot!(files.join("\n"), @r"
    x86_64 consul_2.1.0_linux_amd64.zip
    aarch64 consul_2.1.0_linux_arm64.zip
    x86_64 vault_2.2.2_linux_amd64.zip
    aarch64 vault_2.2.2_linux_arm64.zip
    ");
    let text = lock.text();
    assert_eq!(
        text.matches("arch = \"aarch64\"").count(),
        1 + files.len() / 2
    );
    let provisioners = Provisioners::load(&["provisioners".into()], &both);
    let provisioners = provisioners.unwrap_or_else(|error| panic!("{error}"));
    for (builder, architecture) in [
        ("qemu", Architecture::X86_64),
        ("azure", Architecture::Aarch64),
    ] {
        let planned = plan(&both, &lock, &provisioners, &platforms(), builder);
        let planned = planned.unwrap_or_else(|error| panic!("{error}"));
        let count = planned.releases.len();
        assert_eq!(count, both.releases.len());
        assert!(planned.releases.iter().all(|one| one.arch == architecture));
    }
    // A lock of an earlier version has releases for one of them.
    let mut old = lock;
    old.releases.retain(|one| one.arch == Architecture::X86_64);
    let refused = plan(&both, &old, &provisioners, &platforms(), "azure");
    assert!(refused.is_err_and(|error| error.to_string().contains("its releases are not those")));
}

/// Without a subscription, a user can lock the base of another builder.
#[test]
fn one_base_alone_is_locked_and_that_of_others_stays() {
    let mut both = definition("everything");
    both.platforms.extend(definition("azure.toml").platforms);
    let whole = locked(&both);
    let qemu = |before: Option<&Lock>| locking(&both, Bases::Only("qemu", before));
    let alone = qemu(None);
    assert_eq!(
        (alone.base("qemu"), alone.base("azure")),
        (whole.base("qemu"), None)
    );
    assert_eq!(qemu(Some(&whole)), whole);
    let azure = locking(&both, Bases::Only("azure", Some(&alone)));
    assert_eq!(azure, whole);
    // The lock entry of another definition is not kept.
    let other = locked(&definition("azure.toml"));
    assert_eq!(qemu(Some(&other)), alone);
}

#[test]
fn a_lock_names_everything_and_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["everything", "least.toml", "cloud-image.toml", "azure.toml"] {
        let lock = locked(&definition(name));
        let path = folder.path().join("image.lock");
        lock.save(&path).unwrap();
        assert_eq!(
            Lock::load(&path, &platforms()).unwrap_or_else(|error| panic!("{error}")),
            lock
        );
        assert_eq!(Digest::hash_file(&path).unwrap().0, lock.digest());
    }
    insta::assert_snapshot!(locked(&definition("everything")).text());
    insta::assert_snapshot!(locked(&definition("cloud-image.toml")).text());
    insta::assert_snapshot!(locked(&definition("azure.toml")).text());
}

/// A rename would replace the link, not the file that it names.
#[test]
fn a_lock_replaces_only_a_regular_file() {
    let folder = tempfile::tempdir().unwrap();
    let lock = locked(&definition("least.toml"));
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    std::fs::write(&file, "kept").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let refused = lock.save(&link).expect_err("a link");
    assert!(refused.to_string().contains("no regular file"), "{refused}");
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    lock.save(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), lock.text());
}

#[test]
fn a_lock_is_for_base_releases_and_their_source_alone() {
    let wanted = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).unwrap();
        let read = Definition::load(&file, &BTreeMap::new(), &vault_bake::platform::all(None));
        let read = read.unwrap_or_else(|error| panic!("{error}"));
        lock::requested_releases(&read, &platforms())
    };
    let text = std::fs::read_to_string("tests/definitions/valid/least.toml").unwrap();
    let first = wanted(&text);
    let step = "[[step]]\ninline = \"true\"\n[machine.qemu]\ncpus = 1\n";
    assert_eq!(first, wanted(&format!("{text}{step}")));
    for more in [
        "[releases]\nvault = \"1.21.1\"\n",
        "[release_source]\nmirror = \"https://releases.example.com\"\n",
    ] {
        assert_ne!(first, wanted(&format!("{text}{more}")), "{more}");
    }
    assert_ne!(
        first,
        wanted(&text.replace("\"packages\"", "\"packages\"\nsuite = \"bookworm\""))
    );
}

#[test]
fn a_lock_that_cannot_be_read_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let good = locked(&definition("least.toml")).text();
    let azure = locked(&definition("azure.toml")).text();
    let cases = [
        ("missing", None),
        ("not toml", Some(String::from("schema = \n"))),
        ("newer", Some(good.replace("schema = 1", "schema = 2"))),
        (
            "unknown key",
            Some(good.replace("schema = 1", "schema = 1\nextra = 2")),
        ),
        (
            "unknown key of an image",
            Some(azure.replace("kind = \"", "extra = 2\nkind = \"")),
        ),
        ("bad digest", Some(good.replacen("sha256:", "sha1:", 1))),
    ];
    let image = folder.path().join("web");
    std::fs::create_dir(&image).unwrap();
    let path = image.join("image.lock");
    let mut messages = String::new();
    for (name, text) in cases {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let error = lock_error(&Lock::load(&path, &platforms()).expect_err(name));
        let error = error.replace(&folder.path().display().to_string(), "FOLDER");
        messages = format!("{messages}{name}: {error}\n");
    }
    insta::assert_snapshot!(messages);
}

/// Data that `gpgv` has not verified is refused before it is parsed.
#[test]
fn an_index_without_a_good_signature_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("dists/bookworm");
    std::fs::create_dir_all(&suite).unwrap();
    std::fs::write(
        suite.join("InRelease"),
        "Suite: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n",
    )
    .unwrap();
    let keyring = folder.path().join("keyring.gpg");
    std::fs::write(&keyring, []).unwrap();
    let suites = SignedSuites { keyring };
    let mirror = format!("file://{}", folder.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let context = LockContext {
        now: jiff::Timestamp::UNIX_EPOCH,
        events: &events,
        interrupt: &interrupt,
    };
    let error = runtime
        .block_on(suites.index(&mirror, "bookworm", context))
        .expect_err("it bears no signature");
    assert_eq!(error.kind, BaseErrorKind::Integrity, "{error}");
}
