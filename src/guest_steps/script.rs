//! Builds the script that runs one file of a step, with its environment and folder.

use std::fmt::Write as _;
use std::time::Duration;

use super::check_record::Phase;
use super::{Installed, ProvisionError, StepContext};
use crate::plan::{EnvValue, Interpreter, PlannedStep, StepKind};
use crate::ssh::{Script, export, quote};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file of a step to run.
pub(super) struct Invocation<'a> {
    /// The name in events and errors, as in `vault/install`.
    pub(super) name: String,
    pub(super) file: &'a str,
    pub(super) timeout: Duration,
}

/// Returns the script that runs a file of `step` with the interpreter of its first line.
pub(super) fn run_file(
    guest: &StepContext<'_>,
    step: &PlannedStep,
    phase: Phase,
    invocation: Invocation<'_>,
) -> Result<Script, ProvisionError> {
    let Invocation {
        name,
        file,
        timeout,
    } = invocation;
    let mut text = environment(guest, step, phase)?;
    for release in guest.archives {
        let product = &release.locked.product;
        if step.releases.contains(product) {
            let from = quote(&format!("{}/releases/{product}", guest.work));
            let to = quote(&releases_folder(guest, step));
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
        quote(&step_folder(guest, step)),
        interpreter_command(step, file)?
    );
    Ok(Script {
        name,
        text,
        timeout,
    })
}

/// Returns the command that runs `file` in the step's folder.
/// It first checks that the machine has the interpreter, and prints an error if not.
fn interpreter_command(step: &PlannedStep, file: &str) -> Result<String, ProvisionError> {
    let planned = step.files.iter().find(|planned| planned.path == file);
    let content = planned.map_or(&[][..], |planned| &planned.content);
    let interpreter = Interpreter::detect(content).map_err(|error| ProvisionError::FirstLine {
        step: step.name.clone(),
        file: file.to_owned(),
        error,
    })?;
    let mut needed = vec![interpreter.program.as_str()];
    needed.extend(interpreter.found_by_env());
    let mut text = String::new();
    for program in needed {
        let missing = quote(&format!(
            "this machine has no {program}, the interpreter of {file}; an earlier step must install it"
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

/// The target of a `file` step.
pub(super) struct FileTarget<'a> {
    pub(super) destination: &'a str,
    pub(super) mode: u32,
    /// `user` or `user:group`.
    pub(super) owner: &'a str,
}

/// Returns the script that installs the payload of a `file` step, atomically.
pub(super) fn install_file(
    guest: &StepContext<'_>,
    step: &PlannedStep,
    target: &FileTarget<'_>,
    name: String,
) -> Script {
    let FileTarget {
        destination,
        mode,
        owner,
    } = *target;
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    let text = format!(
        "to={to}\nnew=$to.vault-bake-new\ncd {folder} || exit 125\n\
         install -D -m {mode:04o} -o {user} -g {group} payload \"$new\" && mv -fT \"$new\" \"$to\" && exit 0\n\
         rm -f \"$new\"\nexit 1\n",
        to = quote(destination),
        folder = quote(&step_folder(guest, step)),
        user = quote(user),
        group = quote(group),
    );
    Script {
        name,
        text,
        timeout: Duration::from_secs(step.timeout_s),
    }
}

/// Returns the folder with the files of `step` in the machine.
fn step_folder(guest: &StepContext<'_>, step: &PlannedStep) -> String {
    format!("{}/steps/{}", guest.work, step.name)
}

/// Returns the folder with the releases for `step` in the machine.
///
/// It has only the releases that the step declares. Otherwise a cache entry could depend on a
/// release that is not among its inputs.
fn releases_folder(guest: &StepContext<'_>, step: &PlannedStep) -> String {
    format!("{}/releases-of/{}", guest.work, step.name)
}

/// Returns shell code that exports the environment of every script of `step`.
fn environment(
    guest: &StepContext<'_>,
    step: &PlannedStep,
    phase: Phase,
) -> Result<String, ProvisionError> {
    let mut variables = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()),
        ("VB_PHASE".to_owned(), phase.to_string()),
        ("VB_LIB".to_owned(), format!("{}/lib.sh", guest.work)),
        ("VB_RELEASES".to_owned(), releases_folder(guest, step)),
        ("VB_IMAGE".to_owned(), guest.image.to_owned()),
    ];
    // Only the seal runs in every build. Results of other steps may come from the layer cache.
    if matches!(step.kind, StepKind::Provisioner { seal: true, .. }) {
        variables.push(("VB_RUN".to_owned(), guest.run.to_owned()));
    }
    let is_declared = |release: &&Installed| step.releases.contains(&release.product);
    for release in guest.releases.iter().filter(is_declared) {
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
