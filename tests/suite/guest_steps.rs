//! Runs steps on this host through `sshd`, below a temporary folder.

mod audit;
mod checks;
mod leaving;
mod playbooks;
mod scripts;
mod text;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use testing::plan::{plan, provisioner, step, with_env, with_secret};
use testing::sshd::Sshd;
use vault_bake::digest::Digest;
use vault_bake::event::{Event, Events};
use vault_bake::guest_steps::{
    Installed, ProvisionError, StepContext, boot_facts, inventory, run_step, seal, upload,
};
use vault_bake::plan::{Plan, PlannedStep, StepKind};
use vault_bake::release::{Architecture, LockedRelease, VerifiedRelease};
use vault_bake::secret::{Scrubber, Secret};
use vault_bake::ssh::{Keys, Reboot, Script, Session};
use vault_bake::wait::Interrupt;

use crate::ssh::{EventRecorder, SOON, connect};

/// The owned values that a [`Guest`] borrows.
struct StepHarness {
    _sshd: Sshd,
    keys: Keys,
    folder: TempDir,
    work: String,
    plan: Plan,
    recorder: EventRecorder,
    events: Events,
    interrupt: Interrupt,
    reboot: Reboot,
    releases: Vec<Installed>,
    archives: Vec<VerifiedRelease>,
}

impl StepHarness {
    async fn new(steps: Vec<PlannedStep>, scrubber: Scrubber) -> (Self, Session) {
        let keys = Keys::generate();
        let sshd = Sshd::start(&keys);
        let session = connect(&sshd, &keys, scrubber)
            .await
            .expect("a session with a real server");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let recorder = EventRecorder::default();
        let boot_id = folder.path().join("boot_id");
        std::fs::write(&boot_id, "first").expect("a file in a temporary folder");
        let work = folder.path().join("guest");
        let reboot = Reboot {
            // A reboot empties the tmpfs.
            command: format!(
                "rm -r {}; echo second >{}",
                work.display(),
                boot_id.display()
            ),
            boot_id: boot_id.display().to_string(),
            // The facts that a step reads from its VM.
            state: format!(
                "cat {0} 2>/dev/null || true",
                folder.path().join("state").display()
            ),
        };
        let archives = vec![release(folder.path())];
        let harness = Self {
            _sshd: sshd,
            keys,
            work: work.display().to_string(),
            plan: plan(steps),
            events: recorder.events(),
            recorder,
            interrupt: Interrupt::default(),
            reboot,
            releases: archives.iter().map(Installed::from).collect(),
            archives,
            folder,
        };
        upload(&harness.guest(), &session, 0)
            .await
            .expect("an upload");
        (harness, session)
    }

    fn guest(&self) -> StepContext<'_> {
        StepContext {
            image: &self.plan.image,
            steps: &self.plan.steps,
            folder: &self.plan.folder,
            lib: b"greet() { echo \"hello $1\"; }\n",
            releases: &self.releases,
            archives: &self.archives,
            run: "run-1",
            work: &self.work,
            uses_upload_disk: false,
            local_work: self.folder.path(),
            keys: &self.keys,
            reboot: &self.reboot,
            events: &self.events,
            interrupt: &self.interrupt,
        }
    }

    async fn steps(&self, session: Session) -> Result<Vec<(String, String)>, ProvisionError> {
        let (guest, mut session, mut records) = (self.guest(), session, Vec::new());
        let is_seal =
            |step: &PlannedStep| matches!(step.kind, StepKind::Provisioner { seal: true, .. });
        for index in (0..guest.steps.len()).filter(|index| !is_seal(&guest.steps[*index])) {
            let (next, record) =
                run_step(&guest, session, index, async || None, true, &clock).await?;
            session = next;
            records.push(record);
        }
        let epoch = clock();
        assert!(
            records
                .iter()
                .all(|r| r.started_at == epoch && r.ended_at == epoch && r.exit == 0)
        );
        Ok(records.into_iter().map(|r| (r.name, r.kind)).collect())
    }
}

fn clock() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn release(folder: &Path) -> VerifiedRelease {
    let binary_gz = folder.join("vault.gz");
    std::fs::write(&binary_gz, "a binary").expect("a file in a temporary folder");
    let licence = folder.join("LICENSE.txt");
    std::fs::write(&licence, "a licence").expect("a file in a temporary folder");
    let text = String::new;
    VerifiedRelease {
        locked: LockedRelease {
            product: "vault".to_owned(),
            version: "1.2.3".to_owned(),
            arch: Architecture::X86_64,
            file: text(),
            url: text(),
            sha256: Digest::hash_bytes(""),
            sums_sha256: Digest::hash_bytes(""),
            signature_sha256: Digest::hash_bytes(""),
            primary_fingerprint: text(),
            signing_fingerprint: text(),
            signed_at: text(),
            signer: text(),
            official: false,
        },
        archive: folder.join("vault.zip"),
        archive_size_bytes: 8,
        binary_gz,
        binary_sha256: Digest::hash_bytes("binary"),
        binary_size_bytes: 8,
        licences: vec![("LICENSE.txt".to_owned(), licence)],
    }
}

/// A step may come from the layer cache, so it sees only what the key of its entry covers.
#[tokio::test]
async fn a_step_is_given_the_releases_that_it_names_and_the_seal_the_run() {
    let looking = "ls \"$VB_RELEASES\" 2>/dev/null || true; echo \"vault ${VB_VAULT_VERSION-unknown}, run ${VB_RUN-unknown}\"";
    let mut none = provisioner("none", looking, None);
    none.releases.clear();
    let steps = vec![
        none,
        provisioner("one", looking, None),
        provisioner("seal", looking, None),
    ];
    let (harness, session) = StepHarness::new(steps, Scrubber::default()).await;
    let guest = harness.guest();
    let mut session = session;
    for index in 0..2 {
        let done = run_step(&guest, session, index, async || None, false, &clock).await;
        (session, _) = done.unwrap();
    }
    seal(&guest, &session, &clock).await.unwrap();
    insta::assert_snapshot!(harness.recorder.lines().join("\n"), @r"
    vault unknown, run unknown
    vault
    vault 1.2.3, run unknown
    vault
    vault 1.2.3, run run-1
    ");
}

#[tokio::test]
async fn a_provisioner_sees_what_was_agreed_upon() {
    let install = "set -eu\n. \"$VB_LIB\"\ngreet \"$VB_INPUT_DATACENTER\"\n\
        echo \"$VB_PHASE $VB_IMAGE ${VB_RUN-} $VB_VAULT_VERSION $LC_ALL $DEBIAN_FRONTEND\"\n\
        cat \"$VB_RELEASES/vault/vault.gz\" \"$VB_RELEASES/vault/LICENSE.txt\"; echo\n\
        cat files/unit; echo \"$VB_VAULT_SHA256\" | wc -c; echo \"$PATH\"";
    let mut vault = provisioner("vault", install, None);
    vault
        .files
        .extend(step("", StepKind::Shell, &[("files/unit", "a unit\n")]).files);
    let vault = with_env(vault, "VB_INPUT_DATACENTER", "dc1's");
    let (harness, session) = StepHarness::new(vec![vault], Scrubber::default()).await;
    let records = harness.steps(session).await.unwrap();
    assert_eq!(records, [("vault".to_owned(), "provisioner".to_owned())]);
    insta::assert_snapshot!(harness.recorder.lines().join("\n"), @r#"
    hello dc1's
    build quickstart  1.2.3 C.UTF-8 noninteractive
    a binarya licence
    a unit
    65
    /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    "#);
    let steps: Vec<String> = harness
        .recorder
        .all()
        .into_iter()
        .filter_map(|event| match event {
            Event::StepStarted { index, count, step } => Some(format!("{index}/{count} {step}")),
            Event::StepFinished { step, exit, .. } => Some(format!("{step} {exit}")),
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["1/1 vault/install", "vault/install 0"]);
}

#[tokio::test]
async fn a_step_that_fails_is_named_with_its_last_lines_and_ends_it() {
    let fails = provisioner(
        "vault",
        "for n in $(seq 30); do echo line $n; done; exit 4",
        None,
    );
    let never = provisioner("later", "echo never", None);
    let (harness, session) = StepHarness::new(vec![fails, never], Scrubber::default()).await;
    let endpoint = session.endpoint().to_string();
    let error = harness.steps(session).await.unwrap_err().to_string();
    let error = error.replace(&endpoint, "HOST");
    assert_eq!(error.matches("  | line").count(), 20);
    let ends: Vec<&str> = error
        .lines()
        .filter(|line| !line.contains("| line"))
        .collect();
    // The hint depends on whether the VM was kept, which is not known here.
    assert_eq!(ends, ["step vault/install failed on HOST (exit 4)"]);
    assert!(!harness.recorder.lines().contains(&"never".to_owned()));
}

#[tokio::test]
async fn shell_and_file_steps_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("etc/it's a file");
    let owner = testing::sshd::endpoint(([127, 0, 0, 1], 1).into()).user;
    let file = StepKind::File {
        destination: to.display().to_string(),
        mode: 0o640,
        owner: format!("{owner}:{owner}"),
    };
    let onto_folder = StepKind::File {
        destination: folder.path().display().to_string(),
        mode: 0o640,
        owner: format!("{owner}:{owner}"),
    };
    let steps = vec![
        with_env(
            step(
                "own",
                StepKind::Shell,
                &[("script.sh", "echo \"$GREETING\"")],
            ),
            "GREETING",
            "hi",
        ),
        step("motd", file, &[("payload", "welcome\n")]),
        step("wrong", onto_folder, &[("payload", "welcome\n")]),
    ];
    let (harness, session) = StepHarness::new(steps, Scrubber::default()).await;
    let error = harness.steps(session).await.unwrap_err();
    assert!(
        matches!(&error, ProvisionError::Step { step, .. } if step == "wrong/file"),
        "{error}"
    );
    assert_eq!(harness.recorder.lines()[0], "hi");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "welcome\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&to.metadata().unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o640);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "no unfinished file is left");
}

#[tokio::test]
async fn after_a_restart_everything_is_there_again() {
    let steps = vec![
        step("restart", StepKind::Reboot, &[]),
        provisioner(
            "vault",
            "cat \"$VB_RELEASES/vault/vault.gz\"; test -f \"$VB_LIB\"",
            None,
        ),
    ];
    let (harness, session) = StepHarness::new(steps, Scrubber::default()).await;
    let records = harness.steps(session).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(harness.recorder.lines(), ["a binary"]);
}

#[tokio::test]
async fn a_secret_is_in_the_environment_and_nowhere_else() {
    let canary = format!("canary-{}-'quoted'", std::process::id());
    let text = "#!/bin/sh\ntest -n \"$TOKEN\" && echo \"it is $TOKEN\"\n\
                for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p; echo; done 2>/dev/null";
    let own = with_secret(
        step("own", StepKind::Shell, &[("script.sh", text)]),
        "TOKEN",
        &canary,
    );
    let secret = Secret::new(&canary);
    let (harness, session) = StepHarness::new(vec![own], Scrubber::new([&secret])).await;
    harness.steps(session).await.unwrap();
    let lines = harness.recorder.lines();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("[secret]"))
            .collect::<Vec<_>>(),
        ["it is [secret]"]
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("/bin/sh ./script.sh"))
    );
    assert!(!format!("{:?}", harness.recorder.all()).contains("canary-"));
}

#[tokio::test]
async fn packages_and_kernel_are_known() {
    let (harness, session) = StepHarness::new(Vec::new(), Scrubber::default()).await;
    let packages = inventory(&session, &harness.interrupt).await.unwrap();
    assert_eq!(packages.manager, "dpkg");
    assert!(packages.packages.is_sorted());
    let sshd = packages
        .packages
        .iter()
        .find(|package| package.name == "openssh-server");
    assert_eq!(sshd.unwrap().source, "openssh");
    let facts = boot_facts(&session, &harness.interrupt).await.unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(
        (facts.kernel.as_str(), facts.os_id.is_empty()),
        (kernel.trim(), false)
    );
}

#[tokio::test]
async fn a_session_that_is_lost_ends_provisioning() {
    let own = step(
        "own",
        StepKind::Shell,
        &[("script.sh", "echo ready; sleep 20")],
    );
    let (harness, session) = StepHarness::new(vec![own], Scrubber::default()).await;
    let began = std::time::Instant::now();
    let (result, ()) = tokio::join!(harness.steps(session), async {
        assert!(crate::ssh::eventually(|| !harness.recorder.lines().is_empty()).await);
        harness._sshd.drop_connections();
    });
    let error = result.unwrap_err().to_string();
    assert!(
        error.starts_with("step own/script cannot be completed: the machine ")
            && error.contains(" went away: "),
        "{error}"
    );
    assert!(began.elapsed() < SOON);
}

#[tokio::test]
async fn a_step_that_takes_too_long_names_its_timeout() {
    let mut own = step("own", StepKind::Shell, &[("script.sh", "sleep 50")]);
    own.timeout_s = 4;
    let (harness, session) = StepHarness::new(vec![own], Scrubber::default()).await;
    let probe = Script {
        name: "probe".to_owned(),
        text: "true".to_owned(),
        timeout: Duration::from_secs(5),
    };
    session
        .run(probe, &harness.events, &harness.interrupt)
        .await
        .unwrap();
    let host = session.endpoint().to_string();
    let error = harness
        .steps(session)
        .await
        .unwrap_err()
        .to_string()
        .replace(&host, "HOST");
    insta::assert_snapshot!(error, @"on HOST: step own/script did not end within 4 s and was killed: all its processes are gone after SIGTERM");
}
