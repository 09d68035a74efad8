//! Artifacts that processes of this host use, by the real `/proc` and by fake ones. Only artifacts
//! can be
//! deleted.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts a process that has a file open"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use vault_bake::process::users;
use vault_bake::store::backend::{ArtifactName, BackendError};
use vault_bake::store::gc::Hold;

use super::*;

#[tokio::test]
async fn a_file_that_a_process_has_open_stays_until_it_ends() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let (old, newer) = (good(&store, "1.0.0").await, good(&store, "1.0.1").await);
    good(&store, "1.0.2").await;
    // Under another name: the file counts, not its path.
    let link = folder.path().join("disk.img");
    fs::hard_link(root.join(file("1.0.0")), &link).unwrap();
    let open = fs::File::open(&link).unwrap();
    let mut reader = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::from(open))
        .spawn()
        .unwrap();
    let named = root.join(file("1.0.1"));
    // As QEMU names its disks, with options around.
    let drive = format!("file={},if=virtio", named.display());
    // Starts no program, which would have its command line for a moment.
    let mut runner = Command::new("sh")
        .args(["-c", "read -r end", "sh", &drive])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();

    let seen = async || {
        let mut outside = ExternalUses::default();
        store
            .scan_processes(&mut outside, Path::new("/proc"))
            .await
            .unwrap();
        outside
    };
    let found = survey(&store, &seen().await, after_days(40)).await;
    let holds = |manifest: &Digest| found.row(manifest).unwrap().holds.clone();
    let by = format!("process {} (sleep)", reader.id());
    assert_eq!(holds(&old), [Hold::InUse { by }]);
    let by = format!("process {} (sh)", runner.id());
    assert_eq!(holds(&newer), [Hold::InUse { by }]);
    let planned = store.plan_gc(&KEEP, &seen().await, 0, after_days(40)).await;
    assert_eq!(planned.unwrap().1, None);

    for child in [&mut reader, &mut runner] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let found = survey(&store, &seen().await, after_days(40)).await;
    assert_eq!(
        found.rows.iter().filter(|row| row.is_removable()).count(),
        2
    );
}

#[test]
fn a_process_that_may_not_be_looked_into_is_counted_and_its_command_line_read() {
    let folder = TempDir::new().unwrap();
    let proc = folder.path().join("proc");
    let disk = folder.path().join("disk.qcow2");
    fs::write(&disk, "disk").unwrap();
    let process = |id: &str, command: &str| {
        let own = proc.join(id);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cmdline"), command).unwrap();
        fs::write(own.join("comm"), "qemu\n").unwrap();
        own
    };
    // Even root cannot read a file as a folder.
    fs::write(
        process("7", "qemu\0-drive\0file=/x/disk.qcow2").join("fd"),
        "",
    )
    .unwrap();
    fs::write(process("8", "qemu").join("fd"), "").unwrap();
    let open = process("9", "qemu");
    fs::create_dir(open.join("fd")).unwrap();
    symlink(&disk, open.join("fd/3")).unwrap();
    symlink(folder.path().join("gone"), open.join("fd/4")).unwrap();
    // A zombie of another user.
    process("10", "qemu\0disk.qcow2");
    fs::create_dir(proc.join("self")).unwrap();
    let gone = folder.path().join("gone.qcow2");
    let found = users(&proc, &[disk.clone(), gone]).unwrap();
    assert_eq!(found.unreadable_processes, 2);
    let who: Vec<&String> = found.by_file[&disk].iter().collect();
    assert_eq!(who, ["process 7 (qemu)", "process 9 (qemu)"]);
    assert_eq!(found.by_file.len(), 1);
    // Without readable processes, the code must not report that there are none.
    assert!(users(&folder.path().join("nothing"), &[disk]).is_err());
}

#[tokio::test]
async fn nothing_but_artifacts_can_be_removed() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = store(&root).await;
    let digest = good(&store, "1.0.0").await;
    let hex = digest.hex();
    for name in [
        "store.json",
        "log/entries/000/000/001",
        &format!("objects/sha256/{}/{}", &hex[..2], &hex[2..]),
        "artifacts",
        "artifacts/",
        "artifacts/../store.json",
        "artifacts/sha256/../../store.json",
        "artifacts//x",
        "/artifacts/x",
        "tmp/x",
        "",
    ] {
        let refused = ArtifactName::new(name).unwrap_err();
        assert!(
            matches!(&refused, BackendError::Permanent(of) if of == name),
            "{name}"
        );
    }
    let refused = ArtifactName::new("store.json").unwrap_err();
    insta::assert_snapshot!(refused, @"cannot remove `store.json` from the store: only artifacts can be removed");
    let name = ArtifactName::new(&file("1.0.0")).unwrap();
    // Another deletion is no error.
    for _ in 0..2 {
        store.backend().remove(&name).await.unwrap();
        assert!(!root.join(name.as_str()).exists());
    }
    let nowhere = Dir::new(folder.path().join("nowhere"));
    nowhere.remove(&name).await.unwrap();
    assert!(!folder.path().join("nowhere").exists());
}
