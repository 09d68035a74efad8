//! Which program runs a script: the one that its first line names, or `sh -e`.
//!
//! In: a script. Out: an [`Interpreter`], read as the Linux kernel reads a first line (`man 2 execve`, "Interpreter scripts"):
//! an absolute path, and all that follows it as one argument.

/// A program that runs a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its absolute path, as in `/bin/bash`; `sh` where the script names none.
    pub program: String,
    /// Its one argument, as in `-eu`.
    pub argument: Option<String>,
}

/// A first line that no machine can follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first line {0}")]
pub struct InvalidFirstLine(&'static str);

impl Interpreter {
    /// The interpreter of `script`. A script without `#!` runs under `sh -e`, so it ends at the first command that fails.
    pub fn of(script: &[u8]) -> Result<Self, InvalidFirstLine> {
        let line = script.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
        if line.starts_with(b"\xef\xbb\xbf") {
            return Err(InvalidFirstLine(
                "begins with a byte order mark, so Linux does not see what it names; save the script as UTF-8 without one",
            ));
        }
        let Some(line) = line.strip_prefix(b"#!") else {
            return Ok(Self {
                program: "sh".to_owned(),
                argument: Some("-e".to_owned()),
            });
        };
        let line = std::str::from_utf8(line)
            .map_err(|_| InvalidFirstLine("is not UTF-8; expected `#!` and an absolute path"))?;
        if line.contains('\r') {
            return Err(InvalidFirstLine(
                "ends in a carriage return; save the script with Unix line ends",
            ));
        }
        let line = line.trim_matches([' ', '\t']);
        let (program, argument) = match line.split_once([' ', '\t']) {
            Some((program, argument)) => (program, Some(argument.trim_start_matches([' ', '\t']))),
            None => (line, None),
        };
        if !program.starts_with('/') {
            return Err(InvalidFirstLine(
                "names no interpreter by an absolute path; expected one such as `#!/bin/bash`",
            ));
        }
        let env = program.ends_with("/env");
        if env && argument.is_some_and(|name| !name.starts_with('-') && name.contains([' ', '\t']))
        {
            return Err(InvalidFirstLine(
                "gives `env` one name with blanks in it, as Linux reads it; write `#!/usr/bin/env -S NAME ARGUMENT`",
            ));
        }
        Ok(Self {
            program: program.to_owned(),
            argument: argument.map(str::to_owned),
        })
    }

    /// The program that `env` looks up by `PATH`, if the first line is `#!/usr/bin/env NAME` or `#!/usr/bin/env -S NAME …`.
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
