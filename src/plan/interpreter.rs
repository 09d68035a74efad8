//! Finds the [`Interpreter`] of a script: the one of its first line, or `sh -e`.
//! The line is parsed as Linux does (`man 2 execve`, "Interpreter scripts"): an absolute path, and
//! the rest as one argument.

const REWRITE: &str = "Write `#!/bin/sh`, or remove the line to run the script under `sh -e`.";

/// The program that runs a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Absolute path, as in `/bin/bash`, or `sh` if the script names none.
    pub program: String,
    /// Only argument, as in `-eu`.
    pub argument: Option<String>,
}

/// A first line that names no valid interpreter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first line {defect}")]
pub struct InvalidFirstLine {
    defect: &'static str,
    hint: &'static str,
}

impl InvalidFirstLine {
    fn new(defect: &'static str, hint: &'static str) -> Self {
        Self { defect, hint }
    }

    /// Returns the way out as an imperative.
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

impl Interpreter {
    /// Finds the interpreter of `script`.
    ///
    /// A script without `#!` runs under `sh -e`, so that it ends at the first command that fails.
    pub fn detect(script: &[u8]) -> Result<Self, InvalidFirstLine> {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
        if line.starts_with(b"\xef\xbb\xbf") {
            return Err(InvalidFirstLine::new(
                "begins with a byte order mark, which hides the interpreter from Linux",
                "Save the script as UTF-8 without a byte order mark.",
            ));
        }
        let Some(line) = line.strip_prefix(b"#!") else {
            return Ok(Self {
                program: "sh".to_owned(),
                argument: Some("-e".to_owned()),
            });
        };
        let line = std::str::from_utf8(line).map_err(|_| {
            InvalidFirstLine::new("is not UTF-8; expected `#!` and an absolute path", REWRITE)
        })?;
        if line.contains('\r') {
            return Err(InvalidFirstLine::new(
                "ends in a carriage return",
                "Save the script with Unix line ends.",
            ));
        }
        let line = line.trim_matches([' ', '\t']);
        let (program, argument) = match line.split_once([' ', '\t']) {
            Some((program, argument)) => (program, Some(argument.trim_start_matches([' ', '\t']))),
            None => (line, None),
        };
        if !program.starts_with('/') {
            return Err(InvalidFirstLine::new(
                "names no interpreter by an absolute path; expected one such as `#!/bin/bash`",
                REWRITE,
            ));
        }
        let env = program.ends_with("/env");
        if env && argument.is_some_and(|name| !name.starts_with('-') && name.contains([' ', '\t']))
        {
            return Err(InvalidFirstLine::new(
                "passes `env` a program name with blanks, because Linux passes one argument",
                "Write `#!/usr/bin/env -S NAME ARGUMENT`.",
            ));
        }
        Ok(Self {
            program: program.to_owned(),
            argument: argument.map(str::to_owned),
        })
    }

    /// Returns the program that `env` finds by `PATH`, if the first line is `#!/usr/bin/env NAME`
    /// or `#!/usr/bin/env -S NAME …`.
    pub fn found_by_env(&self) -> Option<&str> {
        if !self.program.ends_with("/env") {
            return None;
        }
        let argument = self.argument.as_deref()?;
        let Some(split) = argument
            .strip_prefix("-S")
            .or_else(|| argument.strip_prefix("--split-string="))
        else {
            return (!argument.starts_with('-')).then_some(argument);
        };
        let mut words = split.split_ascii_whitespace();
        words.find(|word| !word.starts_with('-') && !word.contains('='))
    }
}
