//! Runs `ansible-playbook` on this computer against the build VM, and returns its exit status.
//! Key, known hosts, inventory and variables are private files in the run's folder, then deleted.
//! Only the pinned host key is accepted, and no connection outlives the step.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{ProvisionError, StepContext};
use crate::digest::HashingWriter;
use crate::event::Event;
use crate::plan::{EnvValue, PlannedStep};
use crate::process::{ProcessError, Program};
use crate::ssh::{Ended, LAST_LINES, Session, quote};

/// Runs `playbook` of `step`. `name` is for events and errors.
pub(super) async fn run(
    guest: &StepContext<'_>,
    session: &Session,
    step: &PlannedStep,
    (name, playbook): (String, &Path),
) -> Result<Ended, ProvisionError> {
    let folder = guest.local_work.join(format!("ansible-{}", step.name));
    let _temporary =
        prepare(guest, session, step, &folder).map_err(|error| ProvisionError::Local {
            step: name.clone(),
            path: folder.display().to_string(),
            error,
        })?;
    let mut log = HashingWriter::new(io::sink());
    let mut last = VecDeque::new();
    let on_line = |line: &str| {
        let line = session.scrubber().scrub(line).into_owned();
        // Writing to a sink cannot fail.
        let _ = writeln!(log, "{line}");
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.clone());
        guest.events.emit(&Event::Output {
            source: name.clone(),
            line,
        });
    };
    let running = program(&folder, &guest.folder.join(playbook)).lines(on_line, guest.interrupt);
    let ended = tokio::time::timeout(Duration::from_secs(step.timeout_s), running).await;
    let last: Vec<String> = last.into();
    match ended {
        Ok(Ok(status)) => Ok(Ended {
            // A program that a signal ended has no status.
            exit: status.code().unwrap_or(128),
            last,
            log_digest: log.finish().0,
        }),
        Ok(Err(ProcessError::Interrupted(interrupted))) => Err(interrupted.into()),
        Ok(Err(error)) => Err(ProvisionError::Program { step: name, error }),
        Err(_elapsed) => Err(ProvisionError::TimedOut {
            step: name,
            timeout_s: step.timeout_s,
            last,
        }),
    }
}

fn program(folder: &Path, playbook: &Path) -> Program {
    let mut variables = std::ffi::OsString::from("@");
    variables.push(folder.join("variables.json"));
    Program::new("ansible-playbook")
        .arg("--inventory")
        .arg(folder.join("inventory.json"))
        .arg("--extra-vars")
        .arg(variables)
        .arg(playbook)
        .env("ANSIBLE_HOST_KEY_CHECKING", "True")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_FORCE_COLOR", "0")
        .env("ANSIBLE_RETRY_FILES_ENABLED", "False")
        .env("ANSIBLE_PIPELINING", "True")
        .env("ANSIBLE_LOCAL_TEMP", folder.join("local"))
        // By default a master connection stays open for a minute.
        .env(
            "ANSIBLE_SSH_ARGS",
            "-o ControlMaster=no -o ControlPath=none",
        )
}

/// A folder that is deleted on drop.
struct TemporaryFolder(PathBuf);

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // On failure, the teardown deletes it with the run's folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes the files that Ansible reads.
fn prepare(
    guest: &StepContext<'_>,
    session: &Session,
    step: &PlannedStep,
    folder: &Path,
) -> io::Result<TemporaryFolder> {
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    let temporary = TemporaryFolder(folder.to_owned());
    let endpoint = session.endpoint();
    let (ip, port) = (endpoint.address.ip(), endpoint.address.port());
    write_private(&folder.join("key"), guest.keys.user_private.expose())?;
    let host = format!(
        "[{ip}]:{port} {}\n{ip} {}\n",
        guest.keys.host_public, guest.keys.host_public
    );
    write_private(&folder.join("known_hosts"), &host)?;
    let known_hosts = folder.join("known_hosts").display().to_string();
    let options = [
        format!("-o UserKnownHostsFile={}", quote(&known_hosts)),
        "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o HostKeyAlgorithms=ssh-ed25519".to_owned(),
        "-o IdentitiesOnly=yes -o IdentityAgent=none -o ForwardAgent=no -o PasswordAuthentication=no".to_owned(),
        "-F /dev/null".to_owned(),
    ];
    let inventory = json!({ "all": { "hosts": { "guest": {
        "ansible_host": ip.to_string(),
        "ansible_port": port,
        "ansible_user": endpoint.user,
        "ansible_ssh_private_key_file": folder.join("key"),
        "ansible_ssh_common_args": options.join(" "),
        "ansible_remote_tmp": format!("{}/ansible", guest.work),
    } } } });
    write_private(&folder.join("inventory.json"), &inventory.to_string())?;
    let variables: serde_json::Map<String, serde_json::Value> = step
        .env
        .iter()
        .map(|(name, value)| {
            let value = match value {
                EnvValue::Plain(value) => value.as_str(),
                EnvValue::Secret { value, .. } => value.expose(),
            };
            (name.clone(), value.into())
        })
        .collect();
    let variables = serde_json::Value::Object(variables).to_string();
    write_private(&folder.join("variables.json"), &variables)?;
    Ok(temporary)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
