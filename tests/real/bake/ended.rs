//! Builds that a failing step, SIGINT or SIGKILL ends: leftovers of the build VM, and the store.
//! Tests one stage here and all three in `exhaustive`; `suite/faults.rs` tests ten stages without a
//! VM.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start the binary, as users do"
)]

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use tokio::process::{Child, Command};

use crate::project::{TestProject, output_text};

/// A stage in which a build ends.
struct Stage {
    name: &'static str,
    /// A part of the event at the start of the stage.
    event: &'static str,
}

/// A step that runs in the build VM.
const PROVISION: Stage = Stage {
    name: "provision",
    event: r#""event":"step-started""#,
};

const BUILD: [&str; 4] = ["build", "small", "--skip-test", "--json"];

/// A project whose image has a step that takes three seconds.
async fn small_project() -> Option<TestProject> {
    let project = TestProject::open(&[]).await?;
    project.define(
        "small",
        &project.small("[[step]]\nname = \"slow\"\ninline = \"sleep 3\"\n"),
    );
    project.lock("small").await;
    Some(project)
}

/// A definition whose step prints control characters and fails.
fn failing(project: &TestProject) -> String {
    project.small("[[step]]\nname = \"failing\"\ninline = \"printf 'on purpose\\\\033]0;t\\\\007\\\\033[2J\\\\302\\\\233' >&2; exit 4\"\n")
}

/// Asserts that output and logs have the output of the failed step, without control characters.
fn assert_nothing_is_obeyed(project: &TestProject, built: &std::process::Output) {
    let logs = fs::read_dir(project.root().join("cache/logs")).expect("logs");
    let logs = logs.map(|log| fs::read_to_string(log.expect("a log").path()).expect("a log"));
    let texts: Vec<String> = logs.chain([output_text(built)]).collect();
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!texts.iter().any(|text| text.contains(obeyed)), "{texts:?}");
    let seen = texts.iter().filter(|text| text.contains("on purpose"));
    assert!(seen.count() > 1, "{texts:?}");
    let visible = "on purpose^[]0;t^G^[[2J<U+009B>";
    assert!(texts.iter().any(|text| text.contains(visible)), "{texts:?}");
}

#[tokio::test]
async fn a_build_vm_is_kept_after_a_failed_step_until_a_sweep() {
    let Some(project) = small_project().await else {
        return;
    };
    project.define("small", &failing(&project));
    let built = project
        .run(&["build", "small", "--on-error", "keep"], &[])
        .await;
    let text = output_text(&built);
    assert_eq!(built.status.code(), Some(3), "{text}");
    assert!(
        text.contains("step failing/script failed on root@"),
        "{text}"
    );
    assert_nothing_is_obeyed(&project, &built);
    let login = text
        .lines()
        .find(|line| line.trim().starts_with("ssh -i "))
        .expect("the command to log in");
    let command = format!("{login} -o BatchMode=yes cat /etc/os-release");
    let inside = Command::new("sh").args(["-c", &command]).output().await;
    let inside = output_text(&inside.expect("ssh"));
    assert!(inside.contains("Debian"), "{login}: {inside}");
    assert_eq!(project.run(&["sweep"], &[]).await.status.code(), Some(0));
    project.assert_nothing_left().await;
    assert_store_is_empty(&project).await;
}

#[tokio::test]
async fn after_sigint_in_a_step_nothing_is_left() {
    interrupt_in(&[PROVISION]).await;
}

async fn interrupt_in(stages: &[Stage]) {
    let Some(project) = small_project().await else {
        return;
    };
    for Stage { name, event } in stages {
        let mut child = project.run_until(&BUILD, None, event).await;
        send(&child, Signal::INT);
        let status = child.wait().await.expect("its end");
        assert_eq!(status.code(), Some(130), "{name}");
        project.assert_nothing_left().await;
    }
    assert_store_is_empty(&project).await;
}

#[tokio::test]
async fn after_sigkill_in_a_step_a_sweep_leaves_nothing() {
    kill_in(&[PROVISION]).await;
}

async fn kill_in(stages: &[Stage]) {
    let Some(project) = small_project().await else {
        return;
    };
    // The sweeps must not remove a file of another build.
    let decoy = project.root().join("images/decoy");
    fs::write(&decoy, "not ours to remove").expect("a file");
    for Stage { name, event } in stages {
        let mut child = project.run_until(&BUILD, None, event).await;
        send(&child, Signal::KILL);
        child.wait().await.expect("its end");
        let would = output_text(&project.run(&["sweep", "--dry-run"], &[]).await);
        assert!(would.contains("would sweep"), "{name}: {would}");
        let swept = project.run(&["sweep"], &[]).await;
        assert_eq!(
            swept.status.code(),
            Some(0),
            "{name}: {}",
            output_text(&swept)
        );
        project.assert_nothing_left().await;
        assert!(decoy.exists());
    }
    assert_store_is_empty(&project).await;
}

fn send(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(id.cast_signed()))
        .expect("it runs");
    kill_process(pid, signal).expect("a signal");
}

async fn assert_store_is_empty(project: &TestProject) {
    let verified = project.run(&["verify"], &[]).await;
    let text = output_text(&verified);
    assert_eq!(verified.status.code(), Some(0), "{text}");
    assert!(text.contains("0 manifests"), "{text}");
}

mod exhaustive {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    const BOOT: Stage = Stage {
        name: "boot",
        event: r#""event":"stage-started","stage":"boot""#,
    };
    const CAPTURE: Stage = Stage {
        name: "capture",
        event: r#""event":"stage-started","stage":"capture""#,
    };

    #[tokio::test]
    async fn after_sigint_in_each_stage_nothing_is_left() {
        interrupt_in(&[BOOT, PROVISION, CAPTURE]).await;
    }

    #[tokio::test]
    async fn after_sigkill_in_each_stage_a_sweep_leaves_nothing() {
        kill_in(&[BOOT, PROVISION, CAPTURE]).await;
    }

    #[tokio::test]
    async fn after_a_failure_in_each_stage_nothing_is_left() {
        let Some(project) = small_project().await else {
            return;
        };
        let quick = project.small("[[step]]\ninline = \"true\"\n");
        let impatient = quick.replace("network", "boot_timeout_s = 10\nnetwork");
        let tools = broken_qemu_img(&project);
        let path = std::env::var("PATH").unwrap_or_default();
        let broken = format!("{}:{path}", tools.display());
        // A build VM that resumes from a VM snapshot answers in time.
        for (stage, definition, path, more, exit, words) in [
            (
                "boot",
                impatient,
                &path,
                &["--fresh-boot"][..],
                1,
                "did not answer on SSH within",
            ),
            (
                "provision",
                failing(&project),
                &path,
                &[],
                3,
                "step failing/script failed on root@",
            ),
            ("capture", quick, &broken, &[], 1, "no space, says the test"),
        ] {
            project.define("small", &definition);
            let build = [&BUILD[..], more].concat();
            let built = project.run(&build, &[("PATH", path)]).await;
            assert_eq!(
                built.status.code(),
                Some(exit),
                "{stage}: {}",
                output_text(&built)
            );
            assert!(
                output_text(&built).contains(words),
                "{stage}: {}",
                output_text(&built)
            );
            if stage == "provision" {
                assert_nothing_is_obeyed(&project, &built);
            }
            project.assert_nothing_left().await;
        }
        assert_store_is_empty(&project).await;
    }

    /// Makes a folder with a `qemu-img` that cannot convert.
    fn broken_qemu_img(project: &TestProject) -> PathBuf {
        let tools = project.root().join("cache/tools");
        fs::create_dir_all(&tools).expect("a folder");
        let path = tools.join("qemu-img");
        let text = "#!/bin/sh\n[ \"$1\" != convert ] || { echo 'no space, says the test' >&2; exit 1; }\nexec /usr/bin/qemu-img \"$@\"\n";
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
        tools
    }
}
