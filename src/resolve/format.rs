//! Writes a resolved image in one of the output formats.
//! Values come from signed records, but could still contain shell syntax. A value that a format
//! cannot represent literally is an error.

use serde_json::{Map, Value, json};

use super::{ResolveError, Resolved};
use crate::digest::Digest;

/// An output format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object on one line.
    Json,
    /// The id of the image alone.
    Plain,
    /// A Terraform variables file in JSON: one object as the value of the variable `name`.
    Tfvars {
        /// The name of the variable.
        name: String,
    },
    /// The answer to Terraform's data source `external`: one JSON object of texts.
    TerraformExternal,
    /// A parameter file for Bicep and ARM templates, with the requested fields.
    Bicep {
        /// Pairs of a field and the parameter for it.
        map: Vec<(String, String)>,
    },
    /// `VAULT_BAKE_IMAGE_ID='…'` and so on, for shells and dotenv files.
    Env,
    /// Lines for `$GITHUB_OUTPUT`.
    Github,
}

/// The fields that can be requested by name. Fields without a value are empty.
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
    "status",
];

impl Resolved {
    /// Returns the value of one of [`FIELDS`], as text.
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
            "status" => self.status.as_str().to_owned(),
            _ => String::new(),
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        FIELDS.into_iter().map(|name| (name, self.field(name)))
    }

    /// Returns all of it in `format`, with a newline at the end.
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
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_next = |c: char| is_first(c) || c.is_ascii_digit() || c == '-';
        if !name.starts_with(is_first) || !name.chars().all(is_next) {
            return Err(ResolveError::Form {
                why: format!("`{name}` is not a valid name of a Terraform variable"),
                hint: Some(
                    "Use letters, digits, `_` and `-`. Begin with a letter or `_`.".to_owned(),
                ),
            });
        }
        Ok(pretty(&json!({ name: self })))
    }

    /// Terraform accepts only texts: a number, a boolean or a nested object would be an error.
    fn external(&self) -> Value {
        let fields = self.fields();
        let mut object: Map<String, Value> = fields
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        object.insert("warnings".to_owned(), self.warnings.join("\n").into());
        Value::Object(object)
    }

    /// An undeclared parameter would be an error in the template, so only requested fields are
    /// written.
    fn bicep(&self, map: &[(String, String)]) -> Result<String, ResolveError> {
        if map.is_empty() {
            return Err(ResolveError::Form {
                why: "no field is requested".to_owned(),
                hint: Some(
                    "Pass --map FIELD=PARAMETER, for example --map image_id=vmImageId.".to_owned(),
                ),
            });
        }
        let mut parameters = Map::new();
        for (field, parameter) in map {
            if !FIELDS.contains(&field.as_str()) {
                return Err(ResolveError::Form {
                    why: format!("--map {field}={parameter}: there is no field `{field}`"),
                    hint: Some(format!("Use one of {}.", FIELDS.join(", "))),
                });
            }
            let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
            let is_next = |c: char| is_first(c) || c.is_ascii_digit();
            if !parameter.starts_with(is_first) || !parameter.chars().all(is_next) {
                return Err(ResolveError::Form {
                    why: format!("`{parameter}` is not a valid name of a parameter"),
                    hint: Some(
                        "Use letters, digits and `_`. Begin with a letter or `_`.".to_owned(),
                    ),
                });
            }
            let value = match (field.as_str(), self.generation) {
                ("generation", Some(generation)) => json!(generation),
                _ => json!(self.field(field)),
            };
            let earlier = parameters.insert(parameter.clone(), json!({ "value": value }));
            if earlier.is_some() {
                return Err(ResolveError::Form {
                    why: format!("--map names the parameter `{parameter}` twice"),
                    hint: None,
                });
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
                // Shells and dotenv readers do not share a way to escape it.
                return Err(not_representable(
                    name,
                    value,
                    "env",
                    "it contains a single quote",
                ));
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
        // A text cannot contain its own digest, so the delimiter cannot occur in it.
        let end = format!("END_{}", Digest::hash_bytes(&warnings).hex());
        lines.push(format!("warnings<<{end}\n{warnings}\n{end}"));
        Ok(lines.join("\n"))
    }
}

/// Returns the value, if it is a single line.
fn literal(
    field: &'static str,
    value: String,
    format: &'static str,
) -> Result<String, ResolveError> {
    // Some programs treat these characters as line breaks.
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if value.contains(breaks) {
        return Err(not_representable(
            field,
            value,
            format,
            "it contains a control character or a line break",
        ));
    }
    Ok(value)
}

fn not_representable(
    field: &str,
    value: String,
    format: &'static str,
    why: &'static str,
) -> ResolveError {
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
