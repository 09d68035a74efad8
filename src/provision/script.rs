//! The text that runs one file of a step: environment, folder, file.

use std::fmt::Write as _;
use std::time::Duration;

use super::checks::Phase;
use super::{Guest, Installed, ProvisionError};
use crate::plan::{EnvValue, PlannedStep, StepKind};
use crate::ssh::{Script, export, quote};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `sh ./<file>` of `step`, as `name`.
pub(super) fn run_file(
    guest: &Guest<'_>,
    step: &PlannedStep,
    phase: Phase,
    (name, file, timeout): (String, &str, Duration),
) -> Result<Script, ProvisionError> {
    let mut text = environment(guest, step, phase)?;
    for release in guest.archives {
        let product = &release.locked.product;
        if step.releases.contains(product) {
            let from = quote(&format!("{}/releases/{product}", guest.work));
            let to = quote(&offered(guest, step));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "mkdir -p {to} && ln -sfnT {from} {to}/{product} || exit 125"
            );
        }
    }
    let _ = write!(
        text,
        "cd {} || exit 125\nsh ./{file}\n",
        quote(&folder(guest, step))
    );
    Ok(Script {
        name,
        text,
        timeout,
    })
}

/// Puts the payload of a File step in its place, whole or not at all.
pub(super) fn put_file(
    guest: &Guest<'_>,
    step: &PlannedStep,
    (destination, mode, owner): (&str, u32, &str),
    name: String,
) -> Script {
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    let text = format!(
        "to={to}\nnew=$to.vault-bake-new\ncd {folder} || exit 125\n\
         install -D -m {mode:04o} -o {user} -g {group} payload \"$new\" && mv -fT \"$new\" \"$to\" && exit 0\n\
         rm -f \"$new\"\nexit 1\n",
        to = quote(destination),
        folder = quote(&folder(guest, step)),
        user = quote(user),
        group = quote(group),
    );
    Script {
        name,
        text,
        timeout: Duration::from_secs(step.timeout_s),
    }
}

/// Where the files of `step` are in the machine.
fn folder(guest: &Guest<'_>, step: &PlannedStep) -> String {
    format!("{}/steps/{}", guest.work, step.name)
}

/// Where the releases are in the machine that `step` is given: no others, or a layer could hold what it was not made from.
fn offered(guest: &Guest<'_>, step: &PlannedStep) -> String {
    format!("{}/releases-of/{}", guest.work, step.name)
}

/// What every script of `step` sees.
fn environment(
    guest: &Guest<'_>,
    step: &PlannedStep,
    phase: Phase,
) -> Result<String, ProvisionError> {
    let mut variables = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
        ("VB_PHASE".to_owned(), phase.to_string()),
        ("VB_LIB".to_owned(), format!("{}/lib.sh", guest.work)),
        ("VB_RELEASES".to_owned(), offered(guest, step)),
        ("VB_IMAGE".to_owned(), guest.image.to_owned()),
    ];
    // The seal is done in every bake. What others do may be kept as a layer, and goes into images of other runs.
    if matches!(step.kind, StepKind::Provisioner { seal: true, .. }) {
        variables.push(("VB_RUN".to_owned(), guest.run.to_owned()));
    }
    let given = |release: &&Installed| step.releases.contains(&release.product);
    for release in guest.releases.iter().filter(given) {
        let product = release.product.to_uppercase().replace('-', "_");
        variables.push((format!("VB_{product}_VERSION"), release.version.clone()));
        variables.push((format!("VB_{product}_SHA256"), release.sha256.hex()));
    }
    for (name, value) in &step.env {
        let value = match value {
            EnvValue::Plain(value) => value,
            EnvValue::Secret { value, .. } => value.expose(),
        };
        variables.push((name.clone(), value.to_owned()));
    }
    variables
        .iter()
        .map(|(name, value)| export(name, value))
        .collect::<Result<String, _>>()
        .map_err(|error| ProvisionError::Environment {
            step: step.name.clone(),
            error,
        })
}
