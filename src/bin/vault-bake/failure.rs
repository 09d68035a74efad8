//! A command that failed: exit code, message, hint and leftovers, kept apart.
//! Prints them as text, as one line or as JSON. The exit codes of errors are in `exit`.

use std::path::Path;
use std::process::ExitCode;

use vault_bake::definition::{Location, Problem};
use vault_bake::teardown::Leftover;
use vault_bake::terminal::visible_line;

use crate::output::{eprint_line, eprint_text, print_json};

/// The exit codes of `vault-bake`: a documented interface, never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, for a reason without a number of its own.
    Failed = 1,
    /// The command line or an input file is invalid; nothing was done.
    Usage = 2,
    /// A step failed.
    Provisioning = 3,
    /// A check failed, in the build or on the booted image, or the leak scan found something.
    Checks = 4,
    /// Resources could not be removed; they were listed.
    Leftovers = 5,
    /// Refused by a guard, or another writer was faster.
    Conflict = 6,
    /// A signature or a digest is wrong.
    Integrity = 7,
    /// Interrupted, and cleaned up.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    /// The way out, as an imperative.
    hint: Option<String>,
    /// Resources that could not be removed.
    leftovers: Vec<String>,
    /// Every problem of the user's files, if files are wrong. The message is the first one.
    problems: Vec<Problem>,
}

impl Failure {
    /// Creates a failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            leftovers: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Creates a failure for an invalid command line or input file.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Creates a failure for problems of the user's files. The first one is message and hint.
    pub fn problems(problems: impl IntoIterator<Item = Problem>) -> Self {
        let problems: Vec<Problem> = problems.into_iter().collect();
        let message = problems.first().map(ToString::to_string);
        let hint = problems.first().and_then(|problem| problem.hint.clone());
        Self {
            problems,
            hint,
            ..Self::usage(message.unwrap_or_default())
        }
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn ending_with(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Replaces the hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.maybe_hint(Some(hint.into()))
    }

    /// Replaces the hint, or removes it.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Adds resources that could not be removed. If there are any, they decide the exit code.
    #[must_use]
    pub fn with_leftovers(mut self, leftovers: &[Leftover]) -> Self {
        self.leftovers = leftovers.iter().map(ToString::to_string).collect();
        if !leftovers.is_empty() {
            self.exit = Exit::Leftovers;
        }
        self
    }

    /// Prints one line on standard error, for programs that show no more. Returns the exit code.
    pub fn print_line(&self) -> Exit {
        let text = match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        };
        let words: Vec<&str> = text.split(char::is_control).collect();
        eprint_line(&format!("error: {}", words.join(" ")));
        self.exit
    }

    /// Prints the failure as text on standard error, or as JSON on standard output.
    /// Returns the exit code.
    pub fn print(&self, json: bool, log: Option<&Path>) -> Exit {
        if json {
            print_json(&self.to_json(log));
        } else {
            eprint_text(&self.to_text(log));
        }
        self.exit
    }

    fn to_json(&self, log: Option<&Path>) -> serde_json::Value {
        let mut failed = serde_json::json!({
            "event": "failed", "exit": self.exit as u8, "error": self.message, "hint": self.hint,
            "leftovers": self.leftovers, "log": log,
        });
        if !self.problems.is_empty() {
            failed["problems"] = self.problems.iter().map(problem_json).collect();
        }
        failed
    }

    /// Returns each error with its hint, then the leftovers and the log.
    fn to_text(&self, log: Option<&Path>) -> String {
        let mut lines = Vec::new();
        for problem in &self.problems {
            lines.push(format!("error: {problem}"));
            let hint = problem.hint.iter();
            // A hint can quote the file, which must not add lines.
            lines.extend(hint.map(|hint| format!("hint: {}", visible_line(hint))));
        }
        if self.problems.is_empty() {
            lines.push(format!("error: {}", self.message));
        }
        let leftovers = self.leftovers.iter();
        lines.extend(leftovers.map(|leftover| format!("leftover: {leftover}")));
        if self.problems.is_empty() {
            lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        }
        lines.extend(log.map(|log| format!("log: {}", log.display())));
        lines.push(String::new());
        lines.join("\n")
    }
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    let Location { file, line, key } = &problem.location;
    serde_json::json!({
        "file": file, "line": line, "key": key, "message": problem.message, "hint": problem.hint,
    })
}
