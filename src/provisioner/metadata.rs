//! `provisioner.toml`.
//!
//! In: its text. Out: what it says, checked. Deliberately does not look at the folder around it.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde_json::Value as Json;

use crate::definition::document::{Item, Table};
use crate::definition::{Found, Location, PRODUCTS, Problem, Problems, Type, is_name, listed};
use crate::product_config;

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
    /// What the whole of a text, or of each item of a list, has to match.
    pub pattern: Option<Pattern>,
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
pub(super) fn parse(file: &Path, text: &str) -> Result<Metadata, Problems> {
    let root = Table::parse(file, text)?;
    let found = root.found.clone();
    found.end(read(root))
}

fn read(mut root: Table) -> Result<Metadata, Problem> {
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
    ]);
    let (at, found) = (root.at.clone(), root.found.clone());
    let description = root.required("description", "what it does, in a sentence", Item::text);
    let mut metadata = Metadata {
        description: description.clone().unwrap_or_default(),
        timeout_s: DEFAULT_TIMEOUT_S,
        after: Vec::new(),
        releases: Vec::new(),
        configures: None,
        seal: false,
        inputs: BTreeMap::new(),
    };
    root.set("timeout_s", &mut metadata.timeout_s, timeout);
    root.set("after", &mut metadata.after, Item::texts);
    root.set("releases", &mut metadata.releases, releases);
    root.set("configures", &mut metadata.configures, |item| {
        configures(item, &metadata.releases)
    });
    root.set("seal", &mut metadata.seal, Item::flag);
    root.set("inputs", &mut metadata.inputs, |item| {
        inputs(&at, item.table()?, &found)
    });
    description.map(|_| metadata).ok_or_else(|| at.described())
}

fn timeout(item: Item) -> Result<u64, Problem> {
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

fn releases(item: Item) -> Result<Vec<String>, Problem> {
    let mut products = Vec::new();
    for item in item.list()? {
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
fn configures(item: Item, releases: &[String]) -> Result<Option<String>, Problem> {
    let at = item.at.clone();
    let product = item.text()?;
    if !product_config::PRODUCTS.contains(&product.as_str()) || !releases.contains(&product) {
        return Err(at
            .problem(format!(
                "nothing configures `{product}`; expected one of {} that is in `releases` too",
                listed(product_config::PRODUCTS)
            ))
            .hint("what is not ours to write is a template: a file below `templates/`"));
    }
    Ok(Some(product))
}

fn inputs(at: &Location, table: Table, found: &Found) -> Result<BTreeMap<String, Input>, Problem> {
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
    let inputs = found.all(at, table.items().into_iter().map(read))?;
    Ok(inputs.into_iter().collect())
}

fn input(mut table: Table) -> Result<Input, Problem> {
    table.only(&["type", "default", "description", "sensitive", "pattern"]);
    let (at, found) = (table.at.clone(), table.found.clone());
    let kind = table.required("type", "string, integer, boolean or list", Type::read);
    let description = table.required("description", "what it is for, in a sentence", Item::text);
    let mut sensitive = false;
    table.set("sensitive", &mut sensitive, Item::flag);
    let mut pattern = None;
    table.set("pattern", &mut pattern, |item| {
        let at = item.at.clone();
        Pattern::new(&item.text()?).map(Some).map_err(|why| {
            // The lines before draw the place, which one line cannot.
            let why = why.to_string();
            let why = why.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            at.problem(format!("not a regular expression: {why}"))
                .hint("as in `pattern = \"[a-z]+\"`; the whole value has to match it")
        })
    });
    let default = table.take("default");
    let (kind, description) = kind.zip(description).ok_or_else(|| at.described())?;
    if sensitive && kind != Type::String {
        found.note(
            at.below("type")
                .problem("a sensitive input is a string; expected `type = \"string\"`")
                .hint("sensitive variables are strings"),
        );
    }
    if pattern.is_some() && (sensitive || !matches!(kind, Type::String | Type::List)) {
        found.note(
            at.below("pattern")
                .problem(
                    "a pattern for what is no plain text; expected one of a string or of a list",
                )
                .hint("remove it"),
        );
    }
    let default = match default {
        Some(item) => {
            let at = item.at.clone();
            let value = kind.read_default(item)?;
            // Empty means that there is none, which is no secret.
            if sensitive && value.as_str() != Some("") {
                return Err(at
                    .problem("a default for a sensitive input; expected none, or the empty text")
                    .hint("`default = \"\"` makes it optional"));
            }
            if let Some(odd) = pattern
                .as_ref()
                .and_then(|pattern| pattern.malformed(&value))
            {
                return Err(at
                    .problem(format!(
                        "`{odd}` does not match the pattern; expected one that does"
                    ))
                    .hint("defaults are checked as values are"));
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
        pattern,
    })
}

/// A regular expression that a whole text has to match.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    fn new(text: &str) -> Result<Self, regex::Error> {
        // By itself first: what is put around it must not make sense of what makes none.
        Regex::new(text)?;
        Regex::new(&format!("\\A(?:{text})\\z")).map(Self)
    }

    /// The first text in `value` that does not match.
    pub(crate) fn malformed<'a>(&self, value: &'a Json) -> Option<&'a str> {
        let texts = match value {
            Json::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut texts = texts.iter().filter_map(Json::as_str);
        texts.find(|text| !self.0.is_match(text))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

const SCHEMA: i64 = 1;
const DEFAULT_TIMEOUT_S: u64 = 600;
