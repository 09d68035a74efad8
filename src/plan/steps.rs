//! Plans one step of a definition.

use std::collections::BTreeMap;

use semver::Version;
use serde_json::json;

use super::{EnvValue, Interpreter, PAYLOAD, PlannedFile, PlannedStep, SCRIPT, StepKind};
use super::{inputs, order, template};
use crate::definition::{Action, Definition, Problem, Step, Value};
use crate::digest::Digest;
use crate::product::Product;
use crate::provisioner::{CHECK, INSTALL, Provisioner, Provisioners, SourceFile};

/// A planned step without name and digest.
struct Decided {
    kind: StepKind,
    timeout_s: u64,
    env: BTreeMap<String, EnvValue>,
    files: Vec<PlannedFile>,
    releases: Vec<String>,
}

/// Plans `step`, or returns all its problems.
pub(super) fn decide(
    step: &Step,
    definition: &Definition,
    provisioners: &Provisioners,
) -> Result<PlannedStep, Vec<Problem>> {
    let decided = match &step.action {
        Action::Provisioner { inputs, .. } => {
            let found = order::find_provisioner(step, provisioners);
            match found.map_err(|problem| vec![problem])? {
                Some(provisioner) => provision(step, inputs, provisioner, definition)?,
                None => unreachable!("a provisioner step names a provisioner"),
            }
        }
        Action::Shell { script, env } => {
            check_first_line(step, "", script.as_bytes())?;
            shell(script, env, definition)
        }
        Action::File {
            content,
            destination,
            mode,
            owner,
            ..
        } => Decided {
            kind: StepKind::File {
                destination: destination.clone(),
                mode: *mode,
                owner: owner.clone(),
            },
            timeout_s: FILE_TIMEOUT_S,
            env: BTreeMap::new(),
            files: vec![PlannedFile::new(PAYLOAD, 0o600, content.clone())],
            releases: Vec::new(),
        },
        Action::Ansible {
            playbook,
            sha256,
            variables,
        } => Decided {
            kind: StepKind::Ansible {
                playbook: playbook.clone(),
                sha256: *sha256,
            },
            timeout_s: ANSIBLE_TIMEOUT_S,
            env: extra_variables(variables),
            files: Vec::new(),
            releases: Vec::new(),
        },
        Action::Reboot => Decided {
            kind: StepKind::Reboot,
            timeout_s: definition.boot_timeout_s(),
            env: BTreeMap::new(),
            files: Vec::new(),
            releases: Vec::new(),
        },
    };
    Ok(decided.named(step))
}

impl Decided {
    fn named(self, step: &Step) -> PlannedStep {
        let timeout_s = step.timeout_s.unwrap_or(self.timeout_s);
        let digest = Digest::hash_value(&json!({
            "action": self.kind,
            "timeout_s": timeout_s,
            "env": self.env,
            "files": self.files,
        }));
        PlannedStep {
            name: step.name.clone(),
            digest,
            kind: self.kind,
            timeout_s,
            env: self.env,
            files: self.files,
            releases: self.releases,
        }
    }
}

fn provision(
    step: &Step,
    given: &BTreeMap<String, Value>,
    provisioner: &Provisioner,
    definition: &Definition,
) -> Result<Decided, Vec<Problem>> {
    for file in &provisioner.files {
        if [INSTALL, CHECK].contains(&file.path.as_str()) {
            let name = format!("{}/{}: ", provisioner.name, file.path);
            check_first_line(step, &name, &file.content)?;
        }
    }
    let inputs = inputs::decide(step, given, provisioner)?;
    let named = |product: &String| definition.releases.contains_key(product);
    if !provisioner.releases.iter().all(named) {
        // The check of the order of steps, or the definition, has reported this.
        return Err(vec![step.at.already_reported()]);
    }
    let configuration = provisioner.configures.iter();
    let configuration =
        configuration.map(|product| configured_file(step, product, &inputs.plain, definition));
    let rendered = provisioner.files.iter().map(|file| {
        if file.path.starts_with(TEMPLATES) {
            template::render(step, provisioner, file, &inputs.plain, definition)
        } else {
            Ok(PlannedFile::from(file))
        }
    });
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for file in rendered.chain(configuration) {
        match file {
            Ok(file) => files.push(file),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Decided {
        kind: StepKind::Provisioner {
            provisioner: provisioner.name.clone(),
            checked: provisioner.is_checked(),
            seal: provisioner.seal,
        },
        timeout_s: provisioner.timeout_s,
        env: inputs.env,
        files,
        releases: provisioner.releases.clone(),
    })
}

/// Refuses a script whose first line names no valid interpreter.
fn check_first_line(step: &Step, file: &str, script: &[u8]) -> Result<(), Vec<Problem>> {
    let Err(error) = Interpreter::detect(script) else {
        return Ok(());
    };
    let problem = step.at.problem(format!("{file}{error}"));
    Err(vec![problem.with_hint(error.hint())])
}

/// Generates the configuration file of a product from the inputs.
fn configured_file(
    step: &Step,
    product: &str,
    inputs: &BTreeMap<String, serde_json::Value>,
    definition: &Definition,
) -> Result<PlannedFile, Problem> {
    // A missing version is a problem of the definition, or of the order of steps.
    let version = definition.releases.get(product);
    let version = version.and_then(|version| Version::parse(version).ok());
    let version = version.ok_or_else(|| step.at.already_reported())?;
    let product = Product::by_name(product).ok_or_else(|| step.at.already_reported())?;
    match product.configuration(&version, inputs) {
        Ok((name, text)) => Ok(PlannedFile::new(
            &format!("{CONFIGURATION}{name}"),
            0o644,
            text.into_bytes(),
        )),
        Err(refused) => Err(step
            .input_at(&refused.input)
            .problem(refused.to_string())
            .with_hint(format!(
                "Change the value: it becomes part of {product}'s configuration."
            ))),
    }
}

fn shell(script: &str, env: &BTreeMap<String, Value>, definition: &Definition) -> Decided {
    let script = script.as_bytes().to_vec();
    Decided {
        kind: StepKind::Shell,
        timeout_s: SHELL_TIMEOUT_S,
        env: environment(env),
        files: vec![PlannedFile::new(SCRIPT, 0o755, script)],
        releases: definition.releases.keys().cloned().collect(),
    }
}

fn environment(values: &BTreeMap<String, Value>) -> BTreeMap<String, EnvValue> {
    values
        .iter()
        .map(|(name, value)| (name.clone(), EnvValue::from_value(value)))
        .collect()
}

/// Writes plain values as JSON, which keeps their types.
fn extra_variables(values: &BTreeMap<String, Value>) -> BTreeMap<String, EnvValue> {
    let extra = |value: &Value| match value {
        Value::Plain(value) => EnvValue::Plain(value.to_string()),
        secret @ Value::Secret { .. } => EnvValue::from_value(secret),
    };
    values
        .iter()
        .map(|(name, value)| (name.clone(), extra(value)))
        .collect()
}

impl PlannedFile {
    /// Creates a file with this content.
    pub(super) fn new(path: &str, mode: u32, content: Vec<u8>) -> Self {
        Self {
            path: path.to_owned(),
            mode,
            sha256: Digest::hash_bytes(&content),
            content,
        }
    }
}

impl From<&SourceFile> for PlannedFile {
    fn from(file: &SourceFile) -> Self {
        Self {
            path: file.path.clone(),
            mode: file.mode,
            sha256: file.sha256,
            content: file.content.clone(),
        }
    }
}

const TEMPLATES: &str = "templates/";
/// Folder of generated product configuration, below the step's folder.
pub const CONFIGURATION: &str = "configuration/";
const SHELL_TIMEOUT_S: u64 = 600;
const FILE_TIMEOUT_S: u64 = 60;
const ANSIBLE_TIMEOUT_S: u64 = 1800;
