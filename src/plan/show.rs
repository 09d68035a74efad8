//! Writes a plan as text and as JSON. Secrets are written as the name of their variable.

use std::fmt;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{EnvValue, Plan, PlannedFile, PlannedStep, StepKind};
use crate::definition::Value;
use crate::lock;

impl Serialize for EnvValue {
    /// Writes secrets as `{"secret": variable}`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => serializer.serialize_str(value),
            Self::Secret { variable, .. } => {
                serializer.collect_map([("secret", variable.as_str())])
            }
        }
    }
}

impl Value {
    /// Returns the value as JSON, a secret as `{"secret": variable}`.
    pub(crate) fn redacted_json(&self) -> Json {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Secret { variable, .. } => json!({ "secret": variable }),
        }
    }
}

impl Plan {
    /// Returns the plan as JSON, without the content of files. Paths below the definition's folder
    /// start there.
    pub fn describe(&self) -> Json {
        let mut base = json!(self.target.base);
        for form in ["wanted", "locked"] {
            if let Some(Json::String(url)) = base[form].get_mut("url") {
                *url = self.relative_path(url);
            }
        }
        let mut releases = self.releases.clone();
        for release in &mut releases {
            release.url = self.relative_path(&release.url);
        }
        let source = &self.release_source;
        let key_file = source.key_file.as_ref();
        json!({
            "schema": 1,
            "image": self.image,
            "description": self.description,
            "definition": self.definition,
            "lock": self.lock,
            "variables": self.variables,
            "base": base,
            "releases": releases,
            "release_source": {
                "mirror": self.relative_path(&source.base),
                "key_file": key_file.map(|path| self.relative_path(&path.to_string_lossy())),
                "fingerprint": source.fingerprint,
            },
            "machine": self.target.machine,
            "output": self.target.output,
            "lib": self.lib,
            "steps": self.steps.iter().map(PlannedStep::describe).collect::<Vec<_>>(),
        })
    }

    /// Returns the plan as text, as `Display` writes it.
    pub fn render(&self) -> String {
        self.to_string()
    }

    fn relative_path(&self, path: &str) -> String {
        lock::relative_path(&self.folder, path)
    }
}

impl PlannedStep {
    /// Returns the step as JSON, without the content of its files.
    pub fn describe(&self) -> Json {
        json!({
            "name": self.name,
            "digest": self.digest,
            "action": self.kind,
            "timeout_s": self.timeout_s,
            "env": self.env,
            "files": self.files,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image      {}: {}", self.image, self.description)?;
        writeln!(f, "plan       {}", self.digest())?;
        writeln!(f, "definition {}", self.definition)?;
        writeln!(f, "lock       {}", self.lock)?;
        for (name, value) in &self.variables {
            writeln!(f, "variable   {name} = {}", value_text(value))?;
        }
        write_lines(f, "base", &self.target.lines.base)?;
        for release in &self.releases {
            let official = if release.official {
                ""
            } else {
                ", NOT HashiCorp's"
            };
            writeln!(f, "release    {} {}", release.product, release.version)?;
            writeln!(f, "           {}", release.sha256)?;
            writeln!(f, "           signed by {}{official}", release.signer)?;
        }
        writeln!(f, "machine    {}", self.target.lines.machine)?;
        for line in &self.target.lines.output {
            writeln!(f, "output     {line}")?;
        }
        writeln!(f, "library    {}", line(&self.lib))?;
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(
                f,
                "\nstep {} of {}: {}",
                index + 1,
                self.steps.len(),
                step.name
            )?;
            step.fmt(f)?;
        }
        Ok(())
    }
}

/// Writes lines of which only the first has a name.
fn write_lines(f: &mut fmt::Formatter<'_>, name: &str, lines: &[String]) -> fmt::Result {
    for (index, line) in lines.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        writeln!(f, "{name:<10} {line}")?;
    }
    Ok(())
}

impl fmt::Display for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  digest {}", self.digest)?;
        let action = match &self.kind {
            StepKind::Provisioner {
                provisioner,
                checked,
                seal,
            } => {
                let checked = if *checked {
                    ", checked"
                } else {
                    ", not checked"
                };
                let seal = if *seal { ", seals the image" } else { "" };
                format!("provisioner {provisioner}{checked}{seal}")
            }
            StepKind::Shell => String::from("user's script"),
            StepKind::File {
                destination,
                mode,
                owner,
            } => format!("file to {destination}, {mode:04o} {owner}"),
            StepKind::Ansible { playbook, sha256 } => {
                format!("playbook {} {sha256}", playbook.display())
            }
            StepKind::Reboot => String::from("restart"),
        };
        writeln!(f, "  does   {action}; up to {} s", self.timeout_s)?;
        for (name, value) in &self.env {
            match value {
                EnvValue::Plain(value) => writeln!(f, "  env    {name}={}", json!(value))?,
                EnvValue::Secret { variable, .. } => {
                    writeln!(f, "  env    {name}={{secret: {variable}}}")?;
                }
            }
        }
        for file in &self.files {
            writeln!(f, "  file   {}", line(file))?;
        }
        Ok(())
    }
}

fn line(file: &PlannedFile) -> String {
    format!("{:04o} {} {}", file.mode, file.path, file.sha256)
}

/// Formats a value as text: words without quotes, secrets as `{secret: name}`.
fn value_text(value: &Json) -> String {
    match value {
        Json::String(text)
            if text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) =>
        {
            text.clone()
        }
        Json::Object(secret) => match secret.get("secret") {
            Some(Json::String(name)) => format!("{{secret: {name}}}"),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}
