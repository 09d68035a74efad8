//! The leak scan: every class of finding, in files and in free blocks.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use gpt::mbr::ProtectiveMBR;
use tempfile::TempDir;
use vault_bake::digest::Digest;
use vault_bake::leak_scan::{self, Programs, ScanReport, SecretPatterns};
use vault_bake::process::Program;
use vault_bake::secret::Secret;
use vault_bake::wait::Interrupt;

const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIOv3yU2eYH1Fq0vVx2pS7mJkqLr8dT4nBwXcZaGhKjPoAoGCCqGSM49\n-----END EC PRIVATE KEY-----\n";
const OLD_KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMHcCAQEEIOv3yU2eYH1Fq0vVx2pS7mJkqLr8dT4nBwXcZaGhKjPo\n";
const TOKEN: &str = "VAULT_TOKEN=hvs.CAESIJq7vX0cV3pQeLw9Zr5tYbNmKoGhAsDf";
const GOSSIP: &str = "{ \"encrypt\": \"pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=\" }";
const ACCOUNT: &str = "AccountName=x;AccountKey=q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJCrze8SNFZ4kA==";
const BINARY: &str = "the binary that was verified";
const RUN_SECRET: &str = "correct horse battery staple";

/// Path, content, and the violated check.
const CASES: &[(&str, &str, &str)] = &[
    (
        "etc/ssh/ssh_host_ed25519_key.pub",
        "ssh-ed25519 AAAA",
        "disk.host-keys",
    ),
    (
        "root/.ssh/authorized_keys",
        "ssh-ed25519 AAAA",
        "disk.access",
    ),
    ("home/azureuser/.ssh/known_hosts", "", "disk.access"),
    (
        "etc/ssh/sshd_config.d/00-vault-bake.conf",
        "",
        "disk.access",
    ),
    (
        "etc/machine-id",
        "0123456789abcdef0123456789abcdef\n",
        "disk.machine-id",
    ),
    ("var/lib/systemd/random-seed", "seed", "disk.random-seed"),
    ("var/lib/systemd/credential.secret", "", "disk.random-seed"),
    ("usr/bin/vault", "another binary", "disk.programs"),
    ("srv/node.pfx", "", "disk.key-files"),
    ("root/.bash_history", "vault login", "disk.history"),
    ("root/.viminfo", "", "disk.history"),
    (
        "var/lib/cloud/instance/user-data.txt",
        "",
        "disk.cloud-data",
    ),
    ("etc/sudoers.d/90-cloud-init-users", "", "disk.cloud-data"),
    ("var/lib/waagent/ovf-env.xml", "", "disk.agent-data"),
    (
        "var/lib/waagent/0123.prv",
        "",
        "disk.agent-data disk.key-files",
    ),
    ("var/lib/consul/node-id", "", "disk.consul-data"),
    ("srv/consul/serf/local.keyring", "[]", "disk.consul-data"),
    ("opt/vault/tls/tls.crt", "", "disk.vault-data"),
    ("var/log/syslog", "a line", "disk.logs"),
    ("tmp/left", "", "disk.temporary-files"),
    ("srv/key.pem", KEY, "disk.private-keys"),
    ("srv/old.pem", OLD_KEY, "disk.private-keys"),
    ("srv/env", TOKEN, "disk.tokens"),
    ("srv/connection", ACCOUNT, "disk.tokens"),
    ("srv/consul.json", GOSSIP, "disk.gossip-keys"),
    ("srv/note", RUN_SECRET, "disk.run-secrets"),
];

/// Content of a valid image that looks like a finding.
const CLEAN: &[(&str, &str)] = &[
    ("usr/bin/vault", BINARY),
    ("etc/machine-id", ""),
    ("var/log/btmp", ""),
    ("usr/share/man/man5/authorized_keys.5.gz", "a manual"),
    (
        "usr/bin/tool",
        "\u{7f}ELF -----BEGIN PRIVATE KEY-----\nMHcCAQEEIOv3yU2eYH1Fq0vVx2pS7mJkqLr8dT4nBwXcZaGh\n",
    ),
    ("usr/share/doc/tool/example.pem", KEY),
    (
        "etc/consul.d/consul.json",
        "{ \"encrypt_verify_incoming\": true }",
    ),
    (
        "usr/lib/sign.py",
        "PEM = '-----BEGIN PRIVATE KEY-----'\nTOKEN = 'hvs.'\n",
    ),
];

struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Makes a disk that is one file system with these files.
    async fn with(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let disk = Self { folder };
        for (path, content) in files {
            let path = disk.folder.path().join("files").join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, content).expect("a file");
        }
        let made = Program::new("/usr/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(disk.folder.path().join("files"))
            .arg(disk.path())
            .arg("8M");
        made.run(&Interrupt::default())
            .await
            .expect("a file system");
        disk
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    /// Deletes a file as a kernel does: its blocks are free, and keep their content.
    async fn delete(&self, path: &str) {
        let deleting = Program::new("/usr/sbin/debugfs")
            .args(["-w", "-R", &format!("rm {path}")])
            .arg(self.path());
        deleting
            .run(&Interrupt::default())
            .await
            .expect("it is deleted");
    }

    fn scan(&self) -> ScanReport {
        scan(&self.path())
    }
}

fn scan(path: &Path) -> ScanReport {
    let secrets = [Secret::new(RUN_SECRET), Secret::new("short")];
    let programs = Programs::new([("vault", Digest::hash_bytes(BINARY))]);
    leak_scan::scan(path, &SecretPatterns::new(&secrets), &programs)
        .expect("a disk that can be read")
}

fn found(report: &ScanReport) -> Vec<String> {
    report.leaks.iter().map(ToString::to_string).collect()
}

fn breaks(report: &ScanReport) -> String {
    let rules: BTreeSet<&str> = report.leaks.iter().map(|residue| residue.rule).collect();
    rules.into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_class_of_finding_is_found_and_named() {
    let mut seen = BTreeSet::new();
    for (path, content, rules) in CASES {
        let disk = Disk::with(&[(path, content), ("usr/bin/true", "true")]).await;
        let report = disk.scan();
        assert_eq!(breaks(&report), *rules, "{path}: {:?}", report.leaks);
        let place = format!("/{path}");
        assert!(
            report.leaks.iter().all(|residue| residue.location == place),
            "{:?}",
            report.leaks
        );
        let failed = report.records().into_iter().filter(|record| !record.ok);
        assert_eq!(
            failed.map(|record| record.id).collect::<Vec<_>>().join(" "),
            {
                let mut wanted: Vec<&str> = leak_scan::rules().map(|rule| rule.id).collect();
                wanted.retain(|id| rules.split(' ').any(|rule| rule == *id));
                wanted.join(" ")
            }
        );
        seen.extend(rules.split(' '));
    }
    let all: BTreeSet<&str> = leak_scan::rules().map(|rule| rule.id).collect();
    assert_eq!(seen, all, "every rule has a case");
    println!("{} cases of {} rules", CASES.len(), all.len());
}

#[tokio::test]
async fn what_was_deleted_is_found_in_the_blocks_that_are_free() {
    for (content, rule) in [
        (KEY, "disk.private-keys"),
        (TOKEN, "disk.tokens"),
        (GOSSIP, "disk.gossip-keys"),
        (RUN_SECRET, "disk.run-secrets"),
    ] {
        let disk = Disk::with(&[("srv/gone", content), ("srv/here", "nothing")]).await;
        disk.delete("/srv/gone").await;
        let report = disk.scan();
        assert_eq!(breaks(&report), rule);
        let all = found(&report);
        assert!(all[0].ends_with("of the disk, in no file"), "{all:?}");
    }
}

#[tokio::test]
async fn files_of_every_image_are_no_finding() {
    let sum = "63d5c2fdcc0a55a3be92dd0eb37b7d5d";
    let of_package = format!("{}  usr/share/doc/tool/example.pem\n", md5(KEY));
    assert_ne!(md5(KEY), sum);
    let mut files = CLEAN.to_vec();
    files.push(("var/lib/dpkg/info/tool.md5sums", &of_package));
    let report = Disk::with(&files).await.scan();
    assert_eq!(found(&report), [""; 0]);
    assert!(
        report
            .records()
            .iter()
            .all(|record| record.ok && record.skipped.is_none())
    );

    // The same file after a change is no longer a file of a package.
    let changed = format!("{sum}  usr/share/doc/tool/example.pem\n");
    files.pop();
    files.push(("var/lib/dpkg/info/tool.md5sums", &changed));
    let report = Disk::with(&files).await.scan();
    insta::assert_snapshot!(found(&report).join("\n"), @"disk.private-keys: /usr/share/doc/tool/example.pem");

    // A secret of the run is a finding even in a program.
    let program = format!("\u{7f}ELF {RUN_SECRET}");
    let report = Disk::with(&[("usr/bin/tool", &program)]).await.scan();
    insta::assert_snapshot!(found(&report).join("\n"), @"disk.run-secrets: /usr/bin/tool");
}

#[tokio::test]
async fn programs_of_releases_are_those_that_were_verified() {
    let disk = Disk::with(&[("usr/bin/vault", BINARY), ("usr/bin/other", "")]).await;
    let check_program = |content: &str, product| {
        let programs = Programs::new([(product, Digest::hash_bytes(content))]);
        let report = leak_scan::scan(&disk.path(), &SecretPatterns::default(), &programs);
        let report = report.expect("a disk that can be read");
        let record = report.records().pop().expect("a record");
        let broken: String = found(&report)
            .iter()
            .map(|one| format!("; {one}"))
            .collect();
        format!(
            "{}, {:?}, {:?}{broken}",
            record.id, record.ok, record.skipped
        )
    };
    insta::assert_snapshot!(check_program(BINARY, "vault"), @"disk.programs, true, None");
    insta::assert_snapshot!(check_program("another binary", "vault"), @"disk.programs, false, None; disk.programs: /usr/bin/vault");
    insta::assert_snapshot!(check_program(BINARY, "consul"), @r#"disk.programs, true, Some("no program of a release is in /usr/bin")"#);
}

fn md5(text: &str) -> String {
    let sum = openssl::hash::hash(openssl::hash::MessageDigest::md5(), text.as_bytes());
    vault_bake::digest::hex(&sum.expect("a sum"))
}

/// Makes a disk with a partition table and `disk` in its second partition.
fn partitioned(disk: &Disk, old: bool) -> PathBuf {
    const MIB: u64 = 1 << 20;
    let to = disk.folder.path().join("whole.raw");
    let mut file = fs::File::create(&to).expect("a disk");
    file.set_len(16 * MIB).expect("a size");
    let start = if old {
        // The second entry: a Linux partition from sector 4096.
        let entry = [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 16, 0, 0, 0, 64, 0, 0];
        file.write_all_at(&entry, 446 + 16).expect("an entry");
        file.write_all_at(&[0x55, 0xaa], 510).expect("its mark");
        4096 * 512
    } else {
        let sectors = u32::try_from(16 * MIB / 512 - 1).expect("a small disk");
        let mbr = ProtectiveMBR::with_lb_size(sectors);
        mbr.overwrite_lba0(&mut file).expect("a sector");
        let empty = gpt::GptConfig::new().writable(true);
        let mut table = empty.create(&to).expect("a table");
        let kind = gpt::partition_types::LINUX_FS;
        let boot = table.add_partition("boot", MIB, kind.clone(), 0, None);
        boot.expect("a partition");
        let root = table.add_partition("root", 8 * MIB, kind, 0, None);
        let root = &table.partitions()[&root.expect("a partition")];
        let start = root.first_lba * 512;
        table.write().expect("it is written");
        start
    };
    let content = fs::read(disk.path()).expect("a file system");
    file.write_all_at(&content, start).expect("it fits");
    to
}

#[tokio::test]
async fn partitions_are_looked_into_whatever_the_table() {
    let disk = Disk::with(&[("etc/machine-id", "1"), ("srv/key.pem", KEY)]).await;
    for old in [false, true] {
        let report = scan(&partitioned(&disk, old));
        assert!(report.has_file_system, "old: {old}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(found(&report).join("\n"), @"
            disk.machine-id: /etc/machine-id
            disk.private-keys: /srv/key.pem
            ");
        }
    }
}

#[test]
fn an_unreadable_disk_is_an_error_and_never_clean() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("disk.raw");
    let skipped = |content: &[u8]| {
        fs::write(&path, content).expect("a disk");
        let report = scan(&path);
        let records = report.records().into_iter();
        let names = records.filter(|record| record.id == "disk.machine-id");
        let words: Vec<Option<String>> = names.map(|record| record.skipped).collect();
        (words, breaks(&report))
    };
    let mut xfs = vec![0; 8192];
    xfs[..4].copy_from_slice(b"XFSB");
    xfs[4096..4096 + KEY.len()].copy_from_slice(KEY.as_bytes());
    insta::assert_debug_snapshot!([skipped(&xfs), skipped(b""), skipped(&[0; 600])]);

    // Half a file system is damaged, and a damaged one is not known to be clean.
    let mut broken = vec![0; 1 << 20];
    broken[1080..1082].copy_from_slice(&[0x53, 0xef]);
    fs::write(&path, broken).expect("a disk");
    let error = leak_scan::scan(&path, &SecretPatterns::default(), &Programs::default())
        .expect_err("it is damaged");
    assert!(
        error
            .to_string()
            .starts_with("cannot scan the captured disk: the disk: "),
        "{error}"
    );
}

#[test]
fn what_is_read_in_pieces_is_found_where_two_of_them_meet() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("disk");
    // Keys without a gap: at the end of every chunk, one of them crosses the boundary.
    let count = (2 << 20) / KEY.len();
    fs::write(&path, KEY.repeat(count)).expect("a disk");
    let places = (0..count).map(|number| number * KEY.len());
    let wanted = places.map(|at| format!("disk.private-keys: byte {at} of the disk, in no file"));
    let wanted: BTreeSet<String> = wanted.collect();
    let seen: BTreeSet<String> = found(&scan(&path)).into_iter().collect();
    assert!(seen == wanted, "{} keys, {} found", count, seen.len());
}

/// The number of fragments of the disk below, and the limit of open files of the scanning process.
const PARTS: u64 = 200;
const OPEN_FILES: u64 = 64;

#[test]
#[ignore = "started by `a_disk_of_more_parts_than_files_may_be_open_is_scanned`, as a process of its own that may have few files open"]
fn a_process_with_few_files() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("disk");
    let disk = fs::File::create(&path).expect("a disk");
    let places = (0..PARTS).map(|number| number << 16);
    for at in places.clone() {
        let written = disk.write_all_at(KEY.as_bytes(), at);
        written.expect("a part of the disk");
    }
    let bytes_on_disk = disk.metadata().expect("its size").blocks() * 512;
    assert!(bytes_on_disk < PARTS << 15, "there are holes in between");
    let report = scan(&path);
    assert_eq!(report.leaks.len() as u64, PARTS);
}

#[tokio::test]
async fn a_disk_of_more_parts_than_files_may_be_open_is_scanned() {
    let own = std::env::current_exe().expect("this test");
    let limited = format!(
        "ulimit -n {OPEN_FILES} && exec \"$0\" --ignored --exact leak_scan::a_process_with_few_files"
    );
    let output = Program::new("/bin/sh")
        .args(["-c", &limited])
        .arg(own)
        .run(&Interrupt::default())
        .await
        .expect("it passes");
    let output = String::from_utf8_lossy(&output);
    assert!(output.contains("1 passed"), "{output}");
}
