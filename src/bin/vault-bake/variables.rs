//! Values for the variables of definitions: `--var NAME=VALUE`, and before it `VB_VAR_NAME` of the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use vault_bake::definition::{Definition, meant};

use crate::args::Vars;
use crate::exit::Failure;
use crate::invocation::Invocation;
use crate::store_location::environment;

/// How the environment names a variable.
const PREFIX: &str = "VB_VAR_";

impl Invocation {
    /// The values given for the variables of the definition at `path`.
    pub fn variables(
        &self,
        path: &Path,
        given: &Vars,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let declared = Definition::variable_names(path).unwrap_or_default();
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for (variable, value) in environment() {
            let name = variable.strip_prefix(PREFIX).and_then(|rest| {
                let fits = |name: &&String| rest == *name || rest == name.to_uppercase();
                declared.iter().find(fits)
            });
            let Some(name) = name else { continue };
            match values.insert(name.clone(), value.clone()) {
                Some(other) if other != value => {
                    return Err(Failure::usage(format!(
                        "{PREFIX}{name} and {PREFIX}{} are both set, and differ",
                        name.to_uppercase()
                    ))
                    .hint(format!(
                        "unset one of them; {PREFIX}{name} is the variable's own name"
                    )));
                }
                _ => {}
            }
        }
        for pair in &given.vars {
            let (name, value) = pair_of(pair)?;
            values.insert(name.to_owned(), value.to_owned());
        }
        Ok(values)
    }

    /// Those of `given` that `image` declares, where several images share them; and all that no image of `images` declares.
    pub fn shared_vars(
        &self,
        image: &str,
        images: &[String],
        given: &Vars,
    ) -> Result<Vars, Failure> {
        let declares = |image: &str, name: &str| {
            let declared = Definition::variable_names(&self.definition(image));
            // What cannot be read is not told apart by this: its own error says why.
            declared.is_none_or(|declared| declared.iter().any(|known| known == name))
        };
        let mut vars = Vec::new();
        for pair in &given.vars {
            let (name, _) = pair_of(pair)?;
            if declares(image, name) || !images.iter().any(|other| declares(other, name)) {
                vars.push(pair.clone());
            }
        }
        Ok(Vars { vars })
    }

    /// Warns of each `VB_VAR_…` of the environment that fits no variable of `images`, nor of another image of the project:
    /// such a one is probably misspelt, and is not used.
    pub fn warn_about_variables(&self, images: &[String]) {
        let set: Vec<String> = environment().into_keys().collect();
        let set = set.iter().filter_map(|name| name.strip_prefix(PREFIX));
        let set: Vec<&str> = set.collect();
        if set.is_empty() {
            return;
        }
        let mut known = BTreeSet::new();
        for image in images.iter().chain(&self.images().unwrap_or_default()) {
            match Definition::variable_names(&self.definition(image)) {
                Some(names) => known.extend(names),
                // It may declare any.
                None => return,
            }
        }
        for name in set {
            let fits = |known: &String| name == *known || name == known.to_uppercase();
            if known.iter().any(fits) {
                continue;
            }
            let hint = match meant(name, known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {PREFIX}{meant}?"),
                None => String::from("unset it, or declare the variable"),
            };
            self.events.warn(format!(
                "{PREFIX}{name} is set, and no image here has a variable of that name: it is not used; {hint}"
            ));
        }
    }
}

fn pair_of(pair: &str) -> Result<(&str, &str), Failure> {
    pair.split_once('=')
        .ok_or_else(|| Failure::usage(format!("--var {pair}: expected NAME=VALUE")))
}
