//! The text that runs one file of a step: environment, folder, file.

use std::fmt::Write as _;
use std::time::Duration;

use super::checks::Phase;
use super::{Guest, Installed, ProvisionError};
use crate::plan::{EnvValue, Interpreter, PlannedStep, StepKind};
use crate::ssh::{Script, export, quote};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `file` of `step`, as `name`, by the interpreter that its first line names.
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
        "cd {} || exit 125\n{}",
        quote(&folder(guest, step)),
        interpreted(step, file)?
    );
    Ok(Script {
        name,
        text,
        timeout,
    })
}

/// The command that runs `file` in the step's folder. One whose interpreter the machine does not have says so instead.
fn interpreted(step: &PlannedStep, file: &str) -> Result<String, ProvisionError> {
    let planned = step.files.iter().find(|planned| planned.path == file);
    let content = planned.map_or(&[][..], |planned| &planned.content);
    let interpreter = Interpreter::of(content).map_err(|error| ProvisionError::FirstLine {
        step: step.name.clone(),
        file: file.to_owned(),
        error,
    })?;
    let mut needed = vec![interpreter.program.as_str()];
    needed.extend(interpreter.found_by_env());
    let mut text = String::new();
    for program in needed {
        let missing = quote(&format!(
            "the machine has no {program}, which the first line of {file} names: install it in a step before this one"
        ));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "command -v {} >/dev/null || {{ echo {missing}; exit 127; }}",
            quote(program)
        );
    }
    let words = [Some(interpreter.program), interpreter.argument];
    let words: Vec<String> = words.iter().flatten().map(|word| quote(word)).collect();
    let _ = writeln!(text, "{} ./{file}", words.join(" "));
    Ok(text)
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
