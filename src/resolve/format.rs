//! The forms in which a resolved image is written.
//!
//! Values come from signed records, but not all who sign write shell: whatever a form cannot hold literally is refused,
//! never rewritten.

use serde_json::{Map, Value, json};

use super::{ResolveError, Resolved};
use crate::digest::Digest;

/// A form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object on one line.
    Json,
    /// The id of the image, and nothing else.
    Plain,
    /// A Terraform variables file in JSON: one object as the value of the variable `name`.
    Tfvars {
        /// The variable.
        name: String,
    },
    /// The answer to Terraform's data source `external`: one JSON object of texts.
    TerraformExternal,
    /// A parameter file for Bicep and ARM templates, with the fields that are asked for under the names of parameters.
    Bicep {
        /// Field and parameter.
        map: Vec<(String, String)>,
    },
    /// `VAULT_BAKE_IMAGE_ID='…'` and so on: for shells and readers of dotenv files.
    Env,
    /// Lines for `$GITHUB_OUTPUT`.
    Github,
}

/// The fields that can be asked for by name. Those that do not apply are empty.
pub const FIELDS: [&str; 15] = [
    "name",
    "image",
    "version",
    "manifest_digest",
    "channel",
    "generation",
    "target",
    "class",
    "image_id",
    "arch",
    "firmware",
    "file_digest",
    "vault_version",
    "consul_version",
    "standing",
];

impl Resolved {
    /// The value of one of [`FIELDS`], as text.
    fn field(&self, name: &str) -> String {
        let release = |product: &str| self.releases.get(product).cloned().unwrap_or_default();
        match name {
            "name" => self.name.clone(),
            "image" => self.image.clone(),
            "version" => self.version.to_string(),
            "manifest_digest" => self.manifest_digest.to_string(),
            "channel" => self.channel.clone().unwrap_or_default(),
            "generation" => self.generation.map_or(String::new(), |at| at.to_string()),
            "target" => self.target.clone(),
            "class" => self.class.clone(),
            "image_id" => self.image_id.clone(),
            "arch" => self.arch.clone(),
            "firmware" => self.firmware.clone(),
            "file_digest" => self.file_digest.to_string(),
            "vault_version" => release("vault"),
            "consul_version" => release("consul"),
            "standing" => self.standing.as_str().to_owned(),
            _ => String::new(),
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        FIELDS.into_iter().map(|name| (name, self.field(name)))
    }

    /// All of it in this form, with the newline at its end.
    pub fn write(&self, format: &Format) -> Result<String, ResolveError> {
        let mut text = match format {
            Format::Json => json!(self).to_string(),
            Format::Plain => literal("image_id", self.image_id.clone(), "plain")?,
            Format::Tfvars { name } => self.tfvars(name)?,
            Format::TerraformExternal => self.external().to_string(),
            Format::Bicep { map } => self.bicep(map)?,
            Format::Env => self.env()?,
            Format::Github => self.github()?,
        };
        text.push('\n');
        Ok(text)
    }

    fn tfvars(&self, name: &str) -> Result<String, ResolveError> {
        let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
        let goes_on = |c: char| begins(c) || c.is_ascii_digit() || c == '-';
        if !name.starts_with(begins) || !name.chars().all(goes_on) {
            return Err(ResolveError::Form(format!(
                "`{name}` cannot name a Terraform variable: use letters, digits, `_` and `-`, a letter or `_` first"
            )));
        }
        Ok(pretty(&json!({ name: self })))
    }

    /// Terraform reads a map of texts: a number, a truth value or a nested object would end its run.
    fn external(&self) -> Value {
        let fields = self.fields();
        let mut object: Map<String, Value> = fields
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        object.insert("warnings".to_owned(), self.warnings.join("\n").into());
        Value::Object(object)
    }

    /// A parameter that the template does not declare would be an error there, so only what is asked for is written.
    fn bicep(&self, map: &[(String, String)]) -> Result<String, ResolveError> {
        if map.is_empty() {
            return Err(ResolveError::Form(
                "nothing is asked for: give --map FIELD=PARAMETER, as in --map image_id=vmImageId"
                    .to_owned(),
            ));
        }
        let mut parameters = Map::new();
        for (field, parameter) in map {
            if !FIELDS.contains(&field.as_str()) {
                return Err(ResolveError::Form(format!(
                    "--map {field}={parameter}: there is no field `{field}`; there is {}",
                    FIELDS.join(", ")
                )));
            }
            let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
            let goes_on = |c: char| begins(c) || c.is_ascii_digit();
            if !parameter.starts_with(begins) || !parameter.chars().all(goes_on) {
                return Err(ResolveError::Form(format!(
                    "`{parameter}` cannot name a parameter: use letters, digits and `_`, a letter or `_` first"
                )));
            }
            let value = match (field.as_str(), self.generation) {
                ("generation", Some(generation)) => json!(generation),
                _ => json!(self.field(field)),
            };
            let twice = parameters.insert(parameter.clone(), json!({ "value": value }));
            if twice.is_some() {
                return Err(ResolveError::Form(format!(
                    "--map names the parameter `{parameter}` twice"
                )));
            }
        }
        Ok(pretty(&json!({
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
            "contentVersion": "1.0.0.0",
            "parameters": parameters,
        })))
    }

    fn env(&self) -> Result<String, ResolveError> {
        let mut lines = Vec::new();
        for (name, value) in self.fields() {
            let value = literal(name, value, "env")?;
            if value.contains('\'') {
                // Shells and dotenv readers do not agree on any way to write it.
                return Err(refused(name, value, "env", "it has a single quote"));
            }
            lines.push(format!("VAULT_BAKE_{}='{value}'", name.to_uppercase()));
        }
        Ok(lines.join("\n"))
    }

    fn github(&self) -> Result<String, ResolveError> {
        let mut lines = Vec::new();
        for (name, value) in self.fields() {
            lines.push(format!("{name}={}", literal(name, value, "github")?));
        }
        let warnings = self.warnings.join("\n");
        // A text cannot hold its own digest, so it cannot end itself early.
        let end = format!("END_{}", Digest::of(&warnings).hex());
        lines.push(format!("warnings<<{end}\n{warnings}\n{end}"));
        Ok(lines.join("\n"))
    }
}

/// A value that stands on one line as it is.
fn literal(
    field: &'static str,
    value: String,
    format: &'static str,
) -> Result<String, ResolveError> {
    // What shows as a line break somewhere is one.
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if value.contains(breaks) {
        return Err(refused(
            field,
            value,
            format,
            "it has a control character or line break",
        ));
    }
    Ok(value)
}

fn refused(field: &str, value: String, format: &'static str, why: &'static str) -> ResolveError {
    ResolveError::Value {
        field: field.to_owned(),
        value,
        format,
        why,
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value is JSON")
}
