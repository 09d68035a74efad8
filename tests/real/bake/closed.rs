//! A node without ssh, seen from the network.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use vault_bake::builder::Machine;
use vault_bake::event::Events;
use vault_bake::platform::qemu::Tools;
use vault_bake::wait::{Interrupt, Poll, Wait};

use crate::nodes::disk;
use crate::project::{TestProject, output_text};
use crate::qemu::{BOOT_DEADLINE, VmHarness};

mod exhaustive {
    use super::*;

    #[tokio::test]
    async fn a_node_without_ssh_lets_in_only_who_runs_its_machine() {
        let Some(project) = TestProject::open(&["python3"]).await else {
            return;
        };
        let harden = "provisioner = \"harden\"\n";
        let open = project.quickstart();
        assert!(open.contains(harden), "the quickstart is hardened");
        let inputs = format!("{harden}inputs = {{ ssh = false }}\n");
        project.define("closed", &open.replace(harden, &inputs));
        project.lock("closed").await;
        // The boot test logs in with a key that it puts into memory.
        let built = project.run(&["build", "closed", "--json"], &[]).await;
        assert_eq!(built.status.code(), Some(0), "{}", output_text(&built));
        let checked = output_text(&built);
        assert!(
            !checked.contains("no ssh server starts on a node # SKIP"),
            "{checked}"
        );
        assert!(checked.contains("\"check\":\"harden.no-ssh\""), "{checked}");
        check_port(&project.artifact()).await;
    }
}

/// Starts the image as a node, with nothing in its memory, and connects to its ssh port.
async fn check_port(artifact: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = folder.path().join("qemu");
    std::fs::write(&qemu, WITHOUT_KEYS).expect("a script");
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).expect("it may run");
    let tools = Tools {
        qemu_system: qemu,
        ..Tools::default()
    };
    let Some(mut harness) = VmHarness::begin_with("closed", tools) else {
        return;
    };
    let machine = harness.boot_with(&disk(artifact), "node", None).await;
    let up = Wait::new("the node to be up", BOOT_DEADLINE);
    let (events, interrupt) = (Events::silent(), Interrupt::default());
    let up = up.until(&events, &interrupt, || async {
        let lines = machine.console().await;
        match lines.iter().any(|line| line.contains("login:")) {
            true => Poll::<_, String>::Ready(()),
            false => Poll::NotYet(lines.last().cloned().unwrap_or_default()),
        }
    });
    up.await.unwrap_or_else(|error| panic!("{error}"));
    // QEMU's port forwarding accepts the connection. An ssh server would send its banner at once.
    let knock = TcpStream::connect(machine.endpoint().address);
    let mut words = [0; 4];
    let answered = knock.and_then(|mut connection| {
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        connection.read(&mut words)
    });
    assert!(
        !matches!(answered, Ok(1..)),
        "{:?}",
        String::from_utf8_lossy(&words)
    );
    drop(machine);
    harness.finish().await;
}

/// QEMU without the credential that puts keys into memory.
const WITHOUT_KEYS: &str = r#"#!/bin/bash
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        -smbios) shift ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
exec qemu-system-x86_64 "${arguments[@]}"
"#;
