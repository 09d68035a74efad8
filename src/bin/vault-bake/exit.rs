//! What the binary's exit status says: one table from kinds of errors to status and hint.

use std::path::Path;
use std::process::ExitCode;

use vault_bake::bake::{BakeError, Failed};
use vault_bake::builder::BuilderError;
use vault_bake::builder::qemu::UserIds;
use vault_bake::definition::{DefinitionError, Location, Problem, Problems};
use vault_bake::guest_steps::ProvisionError;
use vault_bake::http::FetchError;
use vault_bake::lint::LintError;
use vault_bake::lock::LockError;
use vault_bake::pin::PinError;
use vault_bake::plan::PlanError;
use vault_bake::process::ProcessError;
use vault_bake::provisioner::ProvisionerError;
use vault_bake::release::ReleaseError;
use vault_bake::resolve::ResolveError;
use vault_bake::sign::{Role, Shortage};
use vault_bake::store::StoreError;
use vault_bake::teardown::{JournalError, Leftover};
use vault_bake::terraform::PlanFileError;
use vault_bake::wait::Interrupted;

use crate::output::{eprint_line, eprint_text, print_json};

/// The exit statuses of `vault-bake`: a documented interface, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, for a reason that has no number of its own.
    Failed = 1,
    /// The command line or an input file is not valid. Nothing was done.
    Usage = 2,
    /// A step failed while the machine was provisioned.
    Provisioning = 3,
    /// A check failed, in the build or on the booted image.
    Checks = 4,
    /// Something of ours is still there and could not be removed; the list was printed.
    Leaked = 5,
    /// Refused by a guard, or somebody else was faster.
    Conflict = 6,
    /// A signature or a digest does not hold.
    Integrity = 7,
    /// Interrupted, and cleaned up.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A verb that failed: what people are told, and the exit status.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
    left_behind: Vec<String>,
    /// Where files are wrong: each problem. The message names the first.
    problems: Vec<Problem>,
}

impl Failure {
    /// Failed with `exit`, because of `message`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            left_behind: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The command line is not valid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same with another exit status.
    #[must_use]
    pub fn ending_with(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do about it, if that is known.
    fn hinting(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Adds what is still there and could not be removed. That decides the exit status.
    #[must_use]
    pub fn leaking(mut self, leaks: &[Leftover]) -> Self {
        self.left_behind = leaks.iter().map(ToString::to_string).collect();
        if !leaks.is_empty() {
            self.exit = Exit::Leaked;
        }
        self
    }

    /// Tells it in one line on standard error, for programs that show no more, and gives the exit status.
    pub fn print_line(&self) -> Exit {
        let text = match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        };
        let line: Vec<&str> = text.split(char::is_control).collect();
        eprint_line(&format!("error: {}", line.join(" ")));
        self.exit
    }

    /// Tells people, or programs, and gives the exit status.
    pub fn print(&self, json: bool, log: Option<&Path>) -> Exit {
        if json {
            let mut failed = serde_json::json!({
                "event": "failed", "exit": self.exit as u8, "error": self.message, "hint": self.hint,
                "leftovers": self.left_behind, "log": log,
            });
            if !self.problems.is_empty() {
                let problem = |problem: &Problem| {
                    let Location { file, line, key } = &problem.place;
                    serde_json::json!({
                        "file": file, "line": line, "key": key,
                        "message": problem.message, "hint": problem.hint,
                    })
                };
                failed["problems"] = self.problems.iter().map(problem).collect();
            }
            print_json(&failed);
            return self.exit;
        }
        let mut lines = vec![format!("error: {}", self.message)];
        let later = self.problems.iter().skip(1);
        lines.extend(later.map(|problem| format!("error: {problem}")));
        lines.extend(
            self.left_behind
                .iter()
                .map(|leak| format!("leftover: {leak}")),
        );
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines.extend(log.map(|log| format!("log: {}", log.display())));
        lines.push(String::new());
        eprint_text(&lines.join("\n"));
        self.exit
    }
}

/// The exit status of each kind of error. What to do about it is the error's own `hint`.
macro_rules! failures {
    ($($error:ty => $exit:expr;)*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let exit: fn(&$error) -> Exit = $exit;
                let hint = error.hint();
                Self { hint, ..Self::new(exit(&error), error.to_string()) }
            }
        })*
    };
}

failures! {
    JournalError => |_| Exit::Failed;
    LintError => |_| Exit::Usage;
    LockError => lock;
    PinError => |error| kind(error.is_integrity(), error.is_conflict(), error.is_invalid());
    PlanFileError => |_| Exit::Usage;
    ResolveError => |error| kind(error.is_integrity(), error.is_conflict(), error.is_invalid());
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let problems: Vec<Problem> = problems.into_iter().collect();
        let first = problems.first().map(ToString::to_string);
        Self {
            problems,
            ..Self::usage(first.unwrap_or_default())
        }
    }
}

impl From<DefinitionError> for Failure {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Invalid(problems) => problems.into(),
            DefinitionError::Read { .. } => Self::usage(error.to_string()).hinting(error.hint()),
        }
    }
}

impl From<ProvisionerError> for Failure {
    fn from(error: ProvisionerError) -> Self {
        match error {
            ProvisionerError::Invalid(problems) => problems.into(),
            other => Self::usage(other.to_string()).hinting(other.hint()),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Invalid(problems) => problems.into(),
            PlanError::Provisioner(error) => error.into(),
            other => Self::usage(other.to_string()).hinting(other.hint()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::NotAllowed { role, shortage, .. } => Some(key_hint(*role, shortage)),
            _ => error.hint(),
        };
        Self {
            hint,
            ..Self::new(store(&error), error.to_string())
        }
    }
}

/// The way out where the signing key is not one of those that may.
fn key_hint(role: Role, shortage: &Shortage) -> String {
    if shortage.count() > 0 {
        return format!(
            "This command signs with one key. Have a root lower the threshold of the role {role} with `vault-bake trust set`."
        );
    }
    format!(
        "Use a key that has the role, with --signing-key; it may be on another machine. Or send `vault-bake trust key` to a root, \
         who adds your key to the role {role} with `vault-bake trust set`."
    )
}

impl From<Interrupted> for Failure {
    fn from(interrupted: Interrupted) -> Self {
        Self::new(Exit::Interrupted, interrupted.to_string())
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let mut failure = Self::new(bake(&failed.error), failed.error.to_string());
        if let Some(kept) = failed.kept {
            failure.hint = Some(format!(
                "the machine goes on running; log in with\n  {}\nand remove it with `vault-bake sweep`",
                kept.login
            ));
        } else if let Some(hint) = hint(&failed.error) {
            failure.hint = Some(hint);
        }
        failure.leaking(&failed.leaks)
    }
}

fn lock(error: &LockError) -> Exit {
    match error {
        LockError::Release(error) => release(error),
        LockError::Signature { .. } => Exit::Integrity,
        LockError::Fetch {
            error: FetchError::Interrupted(_),
            ..
        } => Exit::Interrupted,
        LockError::Invalid { .. } | LockError::Missing { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn release(error: &ReleaseError) -> Exit {
    match error {
        error if error.is_integrity() => Exit::Integrity,
        ReleaseError::Withdrawn { .. } => Exit::Conflict,
        ReleaseError::Fetch(FetchError::Interrupted(_)) => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

fn kind(integrity: bool, conflict: bool, invalid: bool) -> Exit {
    match (integrity, conflict, invalid) {
        (true, ..) => Exit::Integrity,
        (_, true, _) => Exit::Conflict,
        (.., true) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn store(error: &StoreError) -> Exit {
    match error {
        error if error.is_integrity() => Exit::Integrity,
        error if error.is_conflict() => Exit::Conflict,
        _ => Exit::Failed,
    }
}

fn bake(error: &BakeError) -> Exit {
    match error {
        BakeError::VersionTaken { .. } => Exit::Conflict,
        BakeError::Release(error) => release(error),
        BakeError::Builder(
            BuilderError::WrongDigest { .. } | BuilderError::IndexChanged { .. },
        ) => Exit::Integrity,
        BakeError::Provision(ProvisionError::Checks { .. }) | BakeError::Residue(_) => Exit::Checks,
        BakeError::Provision(_) => Exit::Provisioning,
        BakeError::Store(error) => store(error),
        BakeError::Interrupted(_) => Exit::Interrupted,
        error if error.is_platform() => Exit::Failed,
        BakeError::Died { error, .. } => bake(error),
        _ => Exit::Failed,
    }
}

fn hint(error: &BakeError) -> Option<String> {
    let words = match error {
        BakeError::Died { end, .. } if end.by.is_platform() => {
            "Run the same command again: it resumes after the last cached step. If it fails the same way, look for the cause on this computer, as in `journalctl -k`: memory that ran out, or a defect of QEMU"
        }
        BakeError::Died { error, .. } => return hint(error),
        BakeError::Builder(BuilderError::Died { end, .. }) if end.by.is_worth_another_start() => {
            "Look for the cause on this computer, as in `journalctl -k`: memory that ran out, or a defect of QEMU; `vault-bake doctor` says what this computer lacks"
        }
        BakeError::Builder(BuilderError::Process(ProcessError::Start { .. })) => {
            "Run `vault-bake doctor`: it says what this computer lacks, and how to get it"
        }
        BakeError::Trial(_) => {
            "No test was recorded: the error says nothing about the image. Run `vault-bake test` to test it"
        }
        BakeError::Builder(BuilderError::NotUp { .. }) => {
            "`vault-bake doctor` says what this machine lacks; boot_timeout_s in [machine.qemu] allows more time"
        }
        BakeError::Builder(BuilderError::Process(ProcessError::Failed { program, .. }))
            if program == "mmdebstrap" =>
        {
            let lacks = UserIds::of_this_user().lacks();
            return (!lacks.is_empty()).then(|| lacks.join("\nhint: "));
        }
        BakeError::Residue(_) => {
            "a step before the seal has to remove it, or must not write it to the disk at all; disk.programs: something put another program in the place of a release's; nothing was recorded"
        }
        BakeError::Provision(ProvisionError::WentAway { .. }) => {
            "a step must leave the machine as it runs. Restart it by a step of its own, `reboot = true`, and not in this step or in what earlier steps left running"
        }
        BakeError::Provision(_) => {
            "`--on-error keep` leaves the machine running, to log in and look"
        }
        other => return other.hint(),
    };
    Some(words.to_owned())
}
