//! Compares builds with and without the layer cache: the steps that ran, and the files of the disk.

#![expect(
    clippy::disallowed_methods,
    reason = "the tools of the file system read the disk"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use vault_bake::digest::Digest;

/// Returns the steps that a build ran, the seal included.
pub fn did(events: &str) -> String {
    let step = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        let step = event["event"] == "step-started";
        let name = step.then(|| event["step"].as_str().map(str::to_owned))??;
        Some(name.split('/').next()?.to_owned())
    };
    events
        .lines()
        .filter_map(step)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Paths that differ between any two builds: ids of runs, caches, and logs.
const DIFFERS: [&str; 8] = [
    "/etc/vault-bake/release.json",
    "/etc/.updated",
    "/etc/ld.so.cache",
    "/var/.updated",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
    "/var/log/",
];

/// Asserts that two disks have the same files.
pub fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let changed = before
        .iter()
        .filter(|(name, what)| after.get(*name) != Some(what));
    let added = after.iter().filter(|(name, _)| !before.contains_key(*name));
    let other: Vec<_> = changed.chain(added).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(digest(before), digest(after));
}

/// Returns one digest of a whole tree.
fn digest(tree: &BTreeMap<String, String>) -> Digest {
    Digest::hash_value(tree)
}

/// Returns the files of an image's root file system: the digest, or the kind, by path.
pub fn tree(image: &Path) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = folder.path().join("raw");
    let out = folder.path().join("tree");
    fs::create_dir(&out).expect("a folder");
    run(
        "qemu-img",
        &["convert", "-O", "raw", &text(image), &text(&raw)],
    );
    let table = run("/usr/sbin/sgdisk", &["-i", "3", &text(&raw)]);
    let sector = table
        .lines()
        .find_map(|line| line.strip_prefix("First sector: "))
        .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok())
        .expect("the third partition");
    let dump = format!("rdump / {}", text(&out));
    let place = format!("{}?offset={}", text(&raw), sector * 512);
    run("/usr/sbin/debugfs", &["-R", &dump, &place]);
    let mut tree = BTreeMap::new();
    let mut folders = vec![out.clone()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(&out).expect("below it");
            let name = format!("/{}", inside.display());
            if DIFFERS.iter().any(|differs| name.starts_with(differs)) {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let what = if metadata.is_symlink() {
                format!(
                    "link to {}",
                    fs::read_link(&path).expect("a link").display()
                )
            } else if metadata.is_dir() {
                folders.push(path);
                "folder".to_owned()
            } else {
                Digest::hash_file(&path).expect("a file").0.to_string()
            };
            tree.insert(name, what);
        }
    }
    tree
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("it starts");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

mod exhaustive {
    use std::path::PathBuf;

    use vault_bake::platform::qemu::kvm_works;

    use super::*;
    use crate::project::{TestProject, output_text};

    #[tokio::test]
    async fn a_bake_continues_after_a_failed_step_and_not_from_a_spoilt_layer() {
        let Some(project) = TestProject::open(&[]).await else {
            return;
        };
        let steps = |late: &str| {
            let step = |name: &str, line: &str| {
                format!("[[step]]\nname = \"{name}\"\ninline = \"{line}\"\n\n")
            };
            let files = "dd if=/dev/urandom of=/opt/early bs=1M count=8 status=none; sha256sum /opt/early >/opt/early.sum";
            project.small(&(step("early", files) + &step("late", late)))
        };
        let build = ["build", "late", "--skip-test", "--json"];
        project.define("late", &steps("echo halfway >/opt/half; exit 3"));
        project.lock("late").await;
        let failed = project.run(&build, &[]).await;
        assert_eq!(failed.status.code(), Some(3), "{}", output_text(&failed));
        assert_eq!(did(&output_text(&failed)), "early late");
        project.assert_nothing_left().await;

        // Files of earlier steps exist, those of the failed step do not.
        project.define(
            "late",
            &steps("sha256sum -c /opt/early.sum && test ! -e /opt/half"),
        );
        project.lock("late").await;
        let mended = project.run(&build, &[]).await;
        assert_eq!(mended.status.code(), Some(0), "{}", output_text(&mended));
        assert_eq!(did(&output_text(&mended)), "late seal");
        let printed = output_text(&project.run(&["show", "late"], &[]).await);
        assert!(printed.contains("cache entries"), "{printed}");
        let doctor = output_text(&project.run(&["doctor"], &[]).await);
        assert!(doctor.contains("layer cache: 2 entries"), "{doctor}");

        // A cache entry whose bytes changed is not used, nor are those on top of it.
        let layers = project.root().join("cache/layers");
        let early = fs::read_dir(&layers).expect("layers");
        let early = early.map(|entry| entry.expect("an entry").path());
        let first: PathBuf = early
            .filter(|path| path.to_string_lossy().ends_with("-1.qcow2"))
            .min_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
            .expect("the first layer");
        let mut bytes = fs::read(&first).expect("a layer");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&first, bytes).expect("a spoilt layer");
        let cold = project.run(&build, &[]).await;
        assert_eq!(
            did(&output_text(&cold)),
            "early late seal",
            "{}",
            output_text(&cold)
        );
        assert_eq!(cold.status.code(), Some(0), "{}", output_text(&cold));
        project.assert_nothing_left().await;
    }

    #[tokio::test]
    async fn a_bake_from_layers_gives_the_files_that_a_cold_one_gives() {
        let Some(project) = TestProject::open(&["python3", "/usr/sbin/debugfs"]).await else {
            return;
        };
        project.define("quick", &project.quickstart());
        project.lock("quick").await;
        let bake = async |options: &[&str], steps: &str| {
            let build = [&["build", "quick", "--json"], options].concat();
            let baked = project.run(&build, &[]).await;
            let message = output_text(&baked);
            assert_eq!(baked.status.code(), Some(0), "{message}");
            assert_eq!(did(&message), steps);
            assert!(!message.contains("has no upload disk"), "{message}");
            (tree(&project.artifact_of("quick").await), message)
        };
        let all = "base consul vault harden seal";
        let (before, _) = bake(&["--fresh-boot", "--skip-test"], all).await;
        assert!(before.len() > 5_000, "{} files", before.len());
        // The boot test passes too.
        let (after, booted) = bake(&[], "seal").await;
        assert_same(&before, &after);
        // The third build resumes from the VM snapshot of the second one.
        let (again, resumed) = bake(&["--skip-test"], "seal").await;
        assert_same(&before, &again);
        let resumes = |message: &str| message.contains("resuming from the VM snapshot of run ");
        assert!(!resumes(&booted), "{booted}");
        if !kvm_works() {
            assert!(resumes(&resumed), "{resumed}");
            let printed = output_text(&project.run(&["show", "quick"], &[]).await);
            assert!(
                printed.contains("resumed from the VM snapshot of build"),
                "{printed}"
            );
        }
    }
}
