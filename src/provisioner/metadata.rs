//! Parses `provisioner.toml`. Other files of the folder are not read.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde_json::Value as Json;

use crate::definition::document::{Item, Table};
use crate::definition::{
    Location, Problem, ProblemLog, Problems, Type, is_variable_name, quoted_list,
};
use crate::product::Product;

/// An input that a provisioner declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Type of the value.
    pub kind: Type,
    /// Default value. `None` makes the input required.
    pub default: Option<Json>,
    /// One-sentence description of the input.
    pub description: String,
    /// Whether the value comes from a sensitive variable, and is passed by environment only.
    pub sensitive: bool,
    /// Pattern that the text, or each item of the list, must match.
    pub pattern: Option<Pattern>,
}

/// The content of `provisioner.toml`.
pub(super) struct Metadata {
    pub(super) description: String,
    pub(super) timeout_s: u64,
    pub(super) after: Vec<String>,
    pub(super) releases: Vec<String>,
    pub(super) configures: Option<String>,
    pub(super) seal: bool,
    pub(super) inputs: BTreeMap<String, Input>,
}

/// Parses `text`, the content of `file`.
pub(super) fn parse(file: &Path, text: &str) -> Result<Metadata, Problems> {
    let root = Table::parse(file, text)?;
    let found = root.found.clone();
    found.result_of(read(root))
}

fn read(mut root: Table) -> Result<Metadata, Problem> {
    root.schema(SCHEMA)?;
    root.reject_unknown(&[
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
    root.read_into("timeout_s", &mut metadata.timeout_s, timeout);
    root.read_into("after", &mut metadata.after, Item::texts);
    root.read_into("releases", &mut metadata.releases, releases);
    root.read_into("configures", &mut metadata.configures, |item| {
        configures(item, &metadata.releases)
    });
    root.read_into("seal", &mut metadata.seal, Item::flag);
    root.read_into("inputs", &mut metadata.inputs, |item| {
        inputs(&at, item.table()?, &found)
    });
    description
        .map(|_| metadata)
        .ok_or_else(|| at.already_reported())
}

fn timeout(item: Item) -> Result<u64, Problem> {
    let at = item.at.clone();
    let number = item.integer()?;
    u64::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| {
            at.problem(format!(
                "{number} is no time limit; expected seconds, 1 or more"
            ))
            .with_hint(format!("For {DEFAULT_TIMEOUT_S} s, remove it."))
        })
}

fn releases(item: Item) -> Result<Vec<String>, Problem> {
    let mut products = Vec::new();
    for item in item.list()? {
        let at = item.at.clone();
        let product = item.text()?;
        if !Product::NAMES.contains(&product.as_str()) {
            return Err(at
                .problem(format!(
                    "`{product}` is no product; expected one of {}",
                    quoted_list(Product::NAMES)
                ))
                .with_suggestion(
                    &product,
                    Product::NAMES,
                    "Install other programs as packages.",
                ));
        }
        products.push(product);
    }
    Ok(products)
}

/// Reads `configures`. The product must be in `releases`, because its version selects the keys.
fn configures(item: Item, releases: &[String]) -> Result<Option<String>, Problem> {
    let at = item.at.clone();
    let product = item.text()?;
    if !Product::NAMES.contains(&product.as_str()) || !releases.contains(&product) {
        return Err(at
            .problem(format!(
                "no configuration is generated for `{product}`; expected one of {} that is also in `releases`",
                quoted_list(Product::NAMES)
            ))
            .with_hint("For another program, write a template below `templates/`."));
    }
    Ok(Some(product))
}

fn inputs(
    at: &Location,
    table: Table,
    found: &ProblemLog,
) -> Result<BTreeMap<String, Input>, Problem> {
    let read = |(name, item): (String, Item)| {
        if !is_variable_name(&name) {
            return Err(item
                .at
                .problem("not an input's name; expected lower-case letters, digits and `_`, a letter first")
                .with_hint("Rename it, so that scripts can read `VB_INPUT_NAME`."));
        }
        let input = input(item.table()?)?;
        Ok((name, input))
    };
    let inputs = found.all_or_record(at, table.items().into_iter().map(read))?;
    Ok(inputs.into_iter().collect())
}

fn input(mut table: Table) -> Result<Input, Problem> {
    table.reject_unknown(&["type", "default", "description", "sensitive", "pattern"]);
    let (at, found) = (table.at.clone(), table.found.clone());
    let kind = table.required("type", "string, integer, boolean or list", Type::read);
    let description = table.required("description", "what it is for, in a sentence", Item::text);
    let mut sensitive = false;
    table.read_into("sensitive", &mut sensitive, Item::flag);
    let mut pattern = None;
    table.read_into("pattern", &mut pattern, |item| {
        let at = item.at.clone();
        Pattern::new(&item.text()?).map(Some).map_err(|error| {
            // The earlier lines point to a column, which is lost on one line.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            at.problem(format!("not a regular expression: {reason}"))
                .with_hint("Write a pattern for the whole value, as in `pattern = \"[a-z]+\"`.")
        })
    });
    let default = table.take("default");
    let (kind, description) = kind.zip(description).ok_or_else(|| at.already_reported())?;
    if sensitive && kind != Type::String {
        found.record(
            at.below("type")
                .problem("a sensitive input is a string; expected `type = \"string\"`")
                .with_hint("Write `type = \"string\"`."),
        );
    }
    if pattern.is_some() && (sensitive || !matches!(kind, Type::String | Type::List)) {
        found.record(
            at.below("pattern")
                .problem("a pattern is only for a string or list that is not sensitive")
                .with_hint("Remove it."),
        );
    }
    let default = match default {
        Some(item) => {
            let at = item.at.clone();
            let value = kind.read_default(item)?;
            // An empty default makes the input optional, and reveals nothing.
            if sensitive && value.as_str() != Some("") {
                return Err(at
                    .problem("a default for a sensitive input; expected none, or the empty text")
                    .with_hint(
                        "Remove the default, or write `default = \"\"` to make the input optional.",
                    ));
            }
            if let Some(text) = pattern
                .as_ref()
                .and_then(|pattern| pattern.malformed(&value))
            {
                return Err(at
                    .problem(format!(
                        "`{text}` does not match the pattern; expected one that does"
                    ))
                    .with_hint("Change the default or the pattern."));
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

/// A regular expression that a whole text must match.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    fn new(text: &str) -> Result<Self, regex::Error> {
        // Compiled alone first: the added group must not repair an invalid pattern.
        Regex::new(text)?;
        Regex::new(&format!("\\A(?:{text})\\z")).map(Self)
    }

    /// Returns the first text in `value` that does not match.
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
