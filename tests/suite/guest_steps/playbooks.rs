//! Playbooks with `ansible-playbook`; skipped if it is not installed.

use std::path::Path;

use testing::plan::{step, with_secret};
use vault_bake::digest::Digest;
use vault_bake::guest_steps::ProvisionError;
use vault_bake::plan::StepKind;
use vault_bake::secret::{Scrubber, Secret};

use super::StepHarness;

#[expect(clippy::print_stderr, reason = "a skipped test carries its reason")]
fn has_ansible() -> bool {
    let installed = Path::new("/usr/bin/ansible-playbook").exists();
    if !installed {
        eprintln!("SKIPPED: ansible-playbook is not installed");
    }
    installed
}

#[tokio::test]
async fn a_playbook_runs_against_the_pinned_host_with_its_secrets_in_private() {
    if !has_ansible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let playbook = folder.path().join("site.yml");
    let made = folder.path().join("made");
    let text = format!(
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - raw: 'printf %s {{{{ token | quote }}}} >{}'\n  \
         - debug: {{ msg: 'the token is {{{{ token }}}}' }}\n",
        made.display()
    );
    std::fs::write(&playbook, text).unwrap();
    let kind = StepKind::Ansible {
        playbook: playbook.clone(),
        sha256: Digest::hash_bytes(""),
    };
    let site = with_secret(step("site", kind, &[]), "token", "correct-horse");
    let secret = Secret::new("correct-horse");
    let (harness, session) = StepHarness::new(vec![site], Scrubber::new([&secret])).await;
    let records = harness.steps(session).await;
    let lines = harness.recorder.lines().join("\n");
    assert!(
        records.is_ok(),
        "{:?}\n{lines}",
        records.err().map(|error| error.to_string())
    );
    assert_eq!(std::fs::read_to_string(made).unwrap(), "correct-horse");
    assert!(
        lines.contains("the token is [secret]") && !lines.contains("correct-horse"),
        "{lines}"
    );
    assert!(!harness.folder.path().join("ansible-site").exists());
}

#[tokio::test]
async fn a_playbook_that_fails_or_takes_too_long_fails_the_step() {
    if !has_ansible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (task, timeout_s) in [("raw: exit 3", 60), ("raw: sleep 40", 4)] {
        let playbook = folder.path().join("site.yml");
        std::fs::write(
            &playbook,
            format!("- hosts: all\n  gather_facts: false\n  tasks:\n  - {task}\n"),
        )
        .unwrap();
        let mut site = step(
            "site",
            StepKind::Ansible {
                playbook,
                sha256: Digest::hash_bytes(""),
            },
            &[],
        );
        site.timeout_s = timeout_s;
        let (harness, session) = StepHarness::new(vec![site], Scrubber::default()).await;
        let error = harness.steps(session).await.unwrap_err();
        let as_expected = match &error {
            ProvisionError::Step { step, exit, .. } => {
                timeout_s == 60 && step == "site/playbook" && *exit == 2
            }
            ProvisionError::TimedOut { .. } => timeout_s == 4,
            _ => false,
        };
        assert!(as_expected, "{error}");
    }
}
