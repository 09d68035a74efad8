//! The errors of programs.

use std::process::ExitStatus;

use crate::wait::Interrupted;

/// A program that did not start, or that failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A program that is not installed or not executable.
    #[error("cannot start {program}: {error}")]
    Start {
        /// The name of the program.
        program: String,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// A program with a non-zero exit status.
    #[error("{program} failed ({status}){}", last_lines(.last))]
    Failed {
        /// The name of the program.
        program: String,
        /// The exit status.
        status: ExitStatus,
        /// The last lines of its standard error.
        last: Vec<String>,
    },
    /// A pipe to a program, or a wait for it, that failed.
    #[error("cannot communicate with {program}: {error}")]
    Io {
        /// The name of the program.
        program: String,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// An interrupt by the user.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ProcessError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { .. } => Some(
                "Run `vault-bake doctor`: it lists missing programs and how to install them."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Formats output lines as an indented block below the first line of an error.
pub fn last_lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  | {line}")).collect()
}
