//! Commands check their requirements before they start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use testing::harness::{FakeBuilderHarness, steps};
use vault_bake::definition::Definition;
use vault_bake::lock::requested_releases;

use super::project;

/// Runs the binary with an empty search path.
fn run_without_programs(folder: &Path, arguments: &[&str]) -> Output {
    let empty = folder.join("bin");
    fs::create_dir_all(&empty).unwrap();
    Command::new(env!("CARGO_BIN_EXE_vault-bake"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", &empty)
        .output()
        .unwrap()
}

/// Changes the base of the project's image, and locks it.
pub(super) fn lock(folder: &Path, base: &str, locked: &str) {
    let image = folder.join("images/web");
    let file = image.join("image.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("base.qemu.kind = \"packages\"\n", base)).unwrap();
    let definition =
        Definition::load(&image, &BTreeMap::new(), &vault_bake::platform::all(None)).unwrap();
    let wanted = requested_releases(&definition, &vault_bake::platform::all(None));
    let lock = format!("schema = 1\nwanted = \"{wanted}\"\n[qemu]\n{locked}");
    fs::write(image.join("image.lock"), lock).unwrap();
}

const PACKAGES: &str = "kind = \"packages\"\n[[qemu.index]]\nmirror = \"http://deb.debian.org/debian\"\nsuite = \"trixie\"\n\
    date = \"2026-11-01T00:00:00Z\"\nsha256 = \"sha256:1111111111111111111111111111111111111111111111111111111111111111\"\n";

/// Returns the missing programs, except those with absolute paths, which may exist here.
fn missing(text: &str) -> Vec<&str> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("missing  "));
    let programs = lines.filter_map(|line| line.split(':').next());
    let by_name = programs.filter(|program| !program.starts_with('/'));
    // Requirements of users other than root.
    by_name
        .filter(|program| !["fakeroot", "newuidmap"].contains(program))
        .collect()
}

#[test]
fn a_build_is_refused_before_it_begins_with_all_that_is_missing() {
    let folder = project();
    let base = "[base.qemu]\nkind = \"packages\"\nextra = []\n";
    lock(folder.path(), base, PACKAGES);
    let built = run_without_programs(folder.path(), &["build", "web"]);
    let text = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(1), "{text}");
    assert!(
        text.contains("error: cannot build web: this computer lacks required programs\n"),
        "{text}"
    );
    insta::assert_snapshot!(missing(&text).join(" "), @"qemu-system-x86_64 qemu-img mmdebstrap gpgv unshare mformat mmd mcopy grub-mkimage");
    let doctor = "missing  qemu-system-x86_64: runs the temporary VMs\n         get it: apt-get install qemu-system-x86\n";
    assert!(text.contains(doctor), "in doctor's words: {text}");
    assert!(
        text.contains("hint: Run `apt-get install ")
            && text.contains("`vault-bake doctor` to check"),
        "{text}"
    );
    assert!(
        !folder.path().join(".local/share/vault-bake").exists(),
        "no store was made: nothing had begun"
    );
    // A plan needs no program.
    let dry = run_without_programs(folder.path(), &["build", "web", "--dry-run"]);
    let text = String::from_utf8_lossy(&dry.stderr);
    assert_eq!(dry.status.code(), Some(0), "{text}");
}

#[test]
fn a_build_needs_only_what_its_base_needs() {
    let folder = project();
    let cloud = format!(
        "kind = \"cloud-image\"\nurl = \"https://example.org/base.qcow2\"\nsha512 = \"{}\"\n",
        "0".repeat(128)
    );
    lock(folder.path(), &format!("[base.qemu]\n{cloud}"), &cloud);
    let built = run_without_programs(folder.path(), &["build", "web"]);
    let text = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(1), "{text}");
    insta::assert_snapshot!(missing(&text).join(" "), @"qemu-system-x86_64 qemu-img mformat mcopy");
}

#[tokio::test]
async fn a_test_is_refused_before_it_begins_with_all_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = FakeBuilderHarness::new(folder.path(), steps());
    harness.test = false;
    harness.bake(|_| {}).await.unwrap();
    let store = folder.path().join("store").display().to_string();
    let tested = run_without_programs(folder.path(), &["--store", &store, "test", "quickstart"]);
    let text = String::from_utf8_lossy(&tested.stderr);
    assert_eq!(tested.status.code(), Some(1), "{text}");
    assert!(text.contains("error: cannot test quickstart@"), "{text}");
    insta::assert_snapshot!(missing(&text).join(" "), @"qemu-system-x86_64 qemu-img");
    assert_eq!(
        harness
            .store()
            .await
            .images(jiff::Timestamp::UNIX_EPOCH)
            .await
            .unwrap()[0]
            .state
            .to_string(),
        "untested"
    );
}
