//! `provisioner.toml`.
//!
//! In: its text. Out: what it says, checked. Deliberately does not look at the folder around it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::configuration;
use crate::definition::document::{Item, Table};
use crate::definition::{PRODUCTS, Problem, Type, is_name, listed};

/// What a provisioner may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it may be.
    pub kind: Type,
    /// Its value where none is given; `None`: one must be given.
    pub default: Option<Json>,
    /// In a sentence.
    pub description: String,
    /// Whether it only ever becomes an environment variable, and takes its value from a sensitive variable.
    pub sensitive: bool,
}

/// What `provisioner.toml` says.
pub(super) struct Metadata {
    pub(super) description: String,
    pub(super) timeout_s: u64,
    pub(super) after: Vec<String>,
    pub(super) releases: Vec<String>,
    pub(super) configures: Option<String>,
    pub(super) seal: bool,
    pub(super) inputs: BTreeMap<String, Input>,
}

/// Reads the content of `file`.
pub(super) fn parse(file: &Path, text: &str) -> Result<Metadata, Problem> {
    let mut root = Table::parse(file, text)?;
    root.schema(SCHEMA)?;
    root.only(&[
        "schema",
        "description",
        "timeout_s",
        "after",
        "releases",
        "configures",
        "seal",
        "inputs",
    ])?;
    let texts = |item: Option<Item>| {
        item.map(Item::texts)
            .transpose()
            .map(Option::unwrap_or_default)
    };
    let releases = releases(root.take("releases"))?;
    Ok(Metadata {
        description: root
            .need("description", "what it does, in a sentence")?
            .text()?,
        timeout_s: timeout(root.take("timeout_s"))?,
        after: texts(root.take("after"))?,
        configures: configures(root.take("configures"), &releases)?,
        releases,
        seal: root
            .take("seal")
            .map(Item::flag)
            .transpose()?
            .unwrap_or(false),
        inputs: inputs(root.take_table("inputs")?)?,
    })
}

fn timeout(item: Option<Item>) -> Result<u64, Problem> {
    let Some(item) = item else {
        return Ok(DEFAULT_TIMEOUT_S);
    };
    let at = item.at.clone();
    let number = item.integer()?;
    u64::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            at.problem(format!(
                "{number} is no time-out; expected seconds, 1 or more"
            ))
            .hint(format!("leave it out for {DEFAULT_TIMEOUT_S}"))
        })
}

fn releases(item: Option<Item>) -> Result<Vec<String>, Problem> {
    let mut products = Vec::new();
    for item in item.map(Item::list).transpose()?.unwrap_or_default() {
        let at = item.at.clone();
        let product = item.text()?;
        if !PRODUCTS.contains(&product.as_str()) {
            return Err(at
                .problem(format!(
                    "`{product}` is no product; expected one of {}",
                    listed(PRODUCTS)
                ))
                .did_you_mean(&product, PRODUCTS, "other programs are packages"));
        }
        products.push(product);
    }
    Ok(products)
}

/// What is configured is one of the products that are installed, whose version decides over its keys.
fn configures(item: Option<Item>, releases: &[String]) -> Result<Option<String>, Problem> {
    let Some(item) = item else { return Ok(None) };
    let at = item.at.clone();
    let product = item.text()?;
    if !configuration::PRODUCTS.contains(&product.as_str()) || !releases.contains(&product) {
        return Err(at
            .problem(format!(
                "nothing configures `{product}`; expected one of {} that is in `releases` too",
                listed(configuration::PRODUCTS)
            ))
            .hint("what is not ours to write is a template: a file below `templates/`"));
    }
    Ok(Some(product))
}

fn inputs(table: Option<Table>) -> Result<BTreeMap<String, Input>, Problem> {
    let items = table.map(Table::items).unwrap_or_default();
    let read = |(name, item): (String, Item)| {
        if !is_name(&name) {
            return Err(item
                .at
                .problem("not an input's name; expected lower-case letters, digits and `_`, a letter first")
                .hint("scripts see it as `VB_INPUT_NAME`"));
        }
        let input = input(item.table()?)?;
        Ok((name, input))
    };
    items.into_iter().map(read).collect()
}

fn input(mut table: Table) -> Result<Input, Problem> {
    table.only(&["type", "default", "description", "sensitive"])?;
    let kind = Type::read(table.need("type", "string, integer, boolean or list")?)?;
    let description = table
        .need("description", "what it is for, in a sentence")?
        .text()?;
    let flag = table.take("sensitive").map(Item::flag).transpose()?;
    let sensitive = flag.unwrap_or(false);
    let at = table.at.clone();
    if sensitive && kind != Type::String {
        return Err(at
            .below("type")
            .problem("a sensitive input is a string; expected `type = \"string\"`")
            .hint("sensitive variables are strings"));
    }
    let default = match table.take("default") {
        Some(item) => {
            let at = item.at.clone();
            let value = kind.read_value(item)?;
            // Empty means that there is none, which is no secret.
            if sensitive && value.as_str() != Some("") {
                return Err(at
                    .problem("a default for a sensitive input; expected none, or the empty text")
                    .hint("`default = \"\"` makes it optional"));
            }
            Some(value)
        }
        None => None,
    };
    Ok(Input {
        kind,
        default,
        description,
        sensitive,
    })
}

const SCHEMA: i64 = 1;
const DEFAULT_TIMEOUT_S: u64 = 600;
