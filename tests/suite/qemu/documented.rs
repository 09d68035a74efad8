//! The command of `docs/deploy.md` that starts a node.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs it with an empty disk, stopped before its first instruction, and reads the result from
/// QEMU.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs the command as users do"
)]
fn qemu_accepts_the_documented_command_and_shows_the_node_its_identity() {
    let missing = ["qemu-system-x86_64", "qemu-img"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(program) = missing {
        #[expect(clippy::print_stderr, reason = "a skipped test prints its reason")]
        let () = eprintln!("SKIPPED: {program} is not installed");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy.md");
    let page = fs::read_to_string(page).unwrap();
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains("qemu-system-x86_64"));
    let block = block.and_then(|block| block.strip_prefix("sh\n"));
    let (image, command) = block.unwrap().split_once('\n').unwrap();
    assert!(image.starts_with("image="), "{image}");
    let stopped = command.replace("qemu-system-x86_64 ", "exec qemu-system-x86_64 -S ");
    let script = format!("qemu-img create -q -f qcow2 base.qcow2 1G\nimage=base.qcow2\n{stopped}");

    let folder = tempfile::tempdir().unwrap();
    // The end of a tar archive.
    fs::write(folder.path().join("seed.tar"), [0; 10240]).unwrap();
    let mut child = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
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
        "{output:?}"
    );
    for line in [
        "node.qcow2 (qcow2)",
        "seed.tar (raw, read-only)",
        "serial = \"vault-bake-seed\"",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}
