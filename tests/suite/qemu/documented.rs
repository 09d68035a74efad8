//! The commands of `docs/nodes.md` that start, enter and read a node.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Returns the block of the page with this text, as a script.
fn documented(text: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nodes.md");
    let page = fs::read_to_string(page).unwrap();
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(text));
    let block = block.and_then(|block| block.strip_prefix("sh\n"));
    block.unwrap().to_owned()
}

/// Returns the option of the page in backquotes that begins with `start`.
fn option(start: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nodes.md");
    let page = fs::read_to_string(page).unwrap();
    let mut spans = page.split('`').skip(1).step_by(2);
    spans
        .find(|span| span.starts_with(start))
        .unwrap()
        .to_owned()
}

/// Returns whether all programs exist. Prints the reason of a skip if not.
#[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
fn are_installed(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| {
        let found = shell(Path::new("/"), &format!("command -v {program}"));
        !found.status.success()
    };
    match programs.iter().find(is_missing) {
        Some(program) => {
            eprintln!("SKIPPED: {program} is not installed");
            false
        }
        None => true,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests run the commands as users do"
)]
fn command(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-euc", script])
        .current_dir(folder)
        .env("HOME", folder)
        .env("PWD", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn shell(folder: &Path, script: &str) -> Output {
    command(folder, script).output().unwrap()
}

/// Runs a script that must succeed. Returns its standard output.
fn succeed(folder: &Path, script: &str) -> String {
    let output = shell(folder, script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{output:?}");
    text
}

/// Starts QEMU with an empty disk, stopped before its first instruction, and asks it.
#[test]
fn qemu_accepts_the_documented_command_and_shows_the_node_its_identity() {
    if !are_installed(&["qemu-system-x86_64", "qemu-img"]) {
        return;
    }
    let script = documented("qemu-system-x86_64");
    let (fetch, script) = script.split_once('\n').unwrap();
    assert!(fetch.starts_with("vault-bake fetch "), "{fetch}");
    let script = script.replace("qemu-system-x86_64 ", "exec qemu-system-x86_64 -S ");
    // The port of the page may be taken here.
    let script = script.replace("127.0.0.1:2222-", "127.0.0.1:0-");
    let copy = documented("cp /usr/share/OVMF");
    let is_uefi = Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd").exists();
    let uefi = format!(
        "{} {}",
        option("-drive if=pflash,format=raw,readonly=on"),
        option("-drive if=pflash,format=raw,file=vars.fd")
    );
    let entry = "entry=io.systemd.credential.binary:tmpfiles.extra=ZCAvcnVuL3g=\n";
    let key = option("-smbios ");
    let forms = [
        script.clone(),
        format!("{copy}{} {uefi}", script.trim_end()),
        format!("{entry}{} {key}", script.trim_end()),
    ];
    for form in forms {
        if form.contains("OVMF") && !is_uefi {
            continue;
        }
        let folder = TempDir::new().unwrap();
        // The end of a tar archive.
        fs::write(folder.path().join("seed.tar"), [0; 10240]).unwrap();
        let base = "qemu-img create -q -f qcow2 quickstart.qcow2 1G\n";
        let mut child = command(folder.path(), &format!("{base}{form}"))
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Switches from the serial console to the monitor.
        stdin
            .write_all(b"\x01cinfo block\ninfo qtree\nquit\n")
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{form}\n{output:?}"
        );
        for line in [
            "node.qcow2 (qcow2)",
            "seed.tar (raw, read-only)",
            "serial = \"vault-bake-seed\"",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}

/// Has `virt-install` print the domain, which its test driver checks; libvirt does not run.
#[test]
fn libvirt_accepts_the_documented_domain_with_its_identity_and_a_key() {
    if !are_installed(&["virt-install", "virt-xml-validate", "xmllint", "qemu-img"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("seed.tar"), [0; 10240]).unwrap();
    let script = documented("virt-install");
    // The test driver has no machine types.
    let script = script.replace(" --machine q35", " --connect test:///default");
    let key = option("--sysinfo ");
    let script = format!(
        "qemu-img create -q -f qcow2 node.qcow2 1G\nentry=io.systemd.credential.binary:x=eA==\n\
         {} {key} --print-xml >domain.xml\nvirt-xml-validate domain.xml domain >&2\ncat domain.xml",
        script.trim_end()
    );
    let domain = succeed(folder.path(), &script);
    let (root, seed) = domain.split_once("seed.tar").unwrap();
    assert!(root.contains("node.qcow2") && root.contains("<boot order=\"1\"/>"));
    for line in [
        "<serial>vault-bake-seed</serial>",
        "<readonly/>",
        "bus=\"virtio\"",
    ] {
        assert!(seed.contains(line), "{line} is not in {domain}");
    }
    for line in [
        "<entry>io.systemd.credential.binary:x=eA==</entry>",
        "<smbios mode=\"sysinfo\"/>",
        "type=\"pflash\">/usr/share/OVMF/OVMF_CODE_4M.fd",
        "OVMF_VARS_4M.fd\"/>",
    ] {
        assert!(root.contains(line), "{line} is not in {domain}");
    }
}

/// A disk with the partitions of a base, and a journal on the last one.
#[test]
fn the_journal_of_a_stopped_node_is_read_by_the_documented_commands() {
    let programs = [
        "qemu-img",
        "sgdisk",
        "mke2fs",
        "debugfs",
        "journalctl",
        "awk",
    ];
    if !are_installed(&programs) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let disk = "mkdir -p root/var/log/journal/0a91 && echo entries >root/var/log/journal/0a91/system.journal
        truncate -s 64M disk.raw
        sgdisk -n 1:2048:4095 -n 2:4096:69631 -n 3:69632:0 -c 3:root disk.raw >&2
        mke2fs -q -F -t ext4 -d root -E offset=$((69632 * 512)) disk.raw 20000k
        qemu-img convert -O qcow2 disk.raw node.qcow2
        rm -r root disk.raw";
    succeed(folder.path(), disk);
    let before = fs::read(folder.path().join("node.qcow2")).unwrap();
    let script = documented("debugfs");
    // The file is no journal; the options are real.
    let (script, reading) = script.split_once("journalctl").unwrap();
    succeed(folder.path(), script);
    let found = fs::read(folder.path().join("journal/0a91/system.journal"));
    assert_eq!(found.unwrap(), b"entries\n");
    let reading = format!("journalctl{reading}");
    let reading = succeed(folder.path(), &reading.replace(" -u ", " --quiet -u "));
    assert_eq!(reading, "");
    assert!(before == fs::read(folder.path().join("node.qcow2")).unwrap());
}

#[test]
fn a_documented_key_lets_root_in_until_the_next_boot_without_it() {
    let programs = ["ssh-keygen", "base64", "systemd-tmpfiles", "sshd"];
    if !are_installed(&programs) {
        return;
    }
    #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: systemd-tmpfiles and sshd need root");
        return;
    }
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let make = "mkdir .ssh && ssh-keygen -q -t ed25519 -N '' -C me@here -f .ssh/id_ed25519";
    succeed(folder, make);
    let script = format!("{}printf %s \"$entry\"", documented("entry="));
    let entry = succeed(folder, &script);
    let lines = entry.strip_prefix("io.systemd.credential.binary:tmpfiles.extra=");
    fs::write(folder.join("lines"), lines.unwrap()).unwrap();

    // As systemd does at boot, below another root. sshd reads the node's files in this order.
    fs::create_dir(folder.join("node")).unwrap();
    succeed(
        folder,
        "base64 -d lines >extra.conf && systemd-tmpfiles --create --root=$PWD/node $PWD/extra.conf",
    );
    let at = |path: &str| folder.join("node").join(path);
    let keys = at("run/vault-bake/authorized_keys");
    let public = fs::read_to_string(folder.join(".ssh/id_ed25519.pub")).unwrap();
    assert_eq!(fs::read_to_string(&keys).unwrap(), public.trim_end());
    let mode = |path: &str| fs::metadata(at(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("run/vault-bake"), 0o700);
    assert_eq!(mode("run/vault-bake/authorized_keys"), 0o600);
    let harden = Path::new(env!("CARGO_MANIFEST_DIR")).join("provisioners/harden/files");
    // Without an ssh server on nodes, this file is the condition of its unit.
    let condition = fs::read_to_string(harden.join("no-ssh.conf")).unwrap();
    assert!(condition.contains("ConditionPathExists=/run/vault-bake/authorized_keys\n"));
    let settings = at("etc/ssh/sshd_config.d");
    fs::copy(
        harden.join("sshd.conf"),
        settings.join("10-vault-bake-hardening.conf"),
    )
    .unwrap();
    let include = format!("Include {}/*.conf\n", settings.display());
    fs::write(folder.join("sshd_config"), include).unwrap();
    let effective = "ssh-keygen -q -t ed25519 -N '' -f host
        mkdir -p /run/sshd
        $(command -v sshd) -T -f sshd_config -h $PWD/host";
    let effective = succeed(folder, effective);
    for line in [
        "permitrootlogin without-password",
        "authorizedkeysfile /run/vault-bake/authorized_keys",
        "passwordauthentication no",
    ] {
        assert!(effective.lines().any(|l| l == line), "{line}: {effective}");
    }
}
