//! Secrets behind two programs of the user, such as a password manager or a key vault.

use super::{SecretError, parse};
use crate::process::{ProcessError, Program};
use crate::secret::{Scrubber, Secret};
use crate::wait::Interrupt;

/// The exit status of a program that finds no secret of this name, as `az` has it.
const ABSENT: i32 = 3;

/// Two programs with arguments.
pub(super) struct Commands {
    pub(super) fetch: Vec<String>,
    pub(super) store: Vec<String>,
}

impl Commands {
    pub(super) async fn get(
        &self,
        name: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Secret>, SecretError> {
        match program(&self.fetch, name).run(interrupt).await {
            Ok(bytes) => parse(name, bytes).map(Some),
            Err(ProcessError::Failed { status, .. }) if status.code() == Some(ABSENT) => Ok(None),
            Err(error) => Err(failure("fetch", name, error)),
        }
    }

    pub(super) async fn store(
        &self,
        name: &str,
        value: &Secret,
        interrupt: &Interrupt,
    ) -> Result<(), SecretError> {
        let program = program(&self.store, name).input(value.expose());
        let stored = program.run(interrupt).await;
        stored.map(drop).map_err(|error| {
            let error = scrubbed(error, value);
            failure("store", name, error)
        })
    }
}

fn program(command: &[String], name: &str) -> Program {
    let (program, arguments) = command.split_first().unzip();
    Program::new(program.map_or("", String::as_str))
        .args(arguments.unwrap_or_default())
        .arg(name)
}

fn failure(verb: &'static str, name: &str, error: ProcessError) -> SecretError {
    match error {
        ProcessError::Interrupted(interrupted) => interrupted.into(),
        error => SecretError::Command {
            verb,
            name: name.to_owned(),
            error,
        },
    }
}

/// Removes the secret from the last lines of a program that failed.
fn scrubbed(error: ProcessError, value: &Secret) -> ProcessError {
    match error {
        ProcessError::Failed {
            program,
            status,
            last,
        } => {
            let scrubber = Scrubber::new([value]);
            let last = last.iter().map(|line| scrubber.scrub(line).into_owned());
            ProcessError::Failed {
                program,
                status,
                last: last.collect(),
            }
        }
        error => error,
    }
}
