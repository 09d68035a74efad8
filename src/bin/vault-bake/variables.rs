//! Values of a definition's variables, from `--var NAME=VALUE` and the environment.
//! The command line wins over `VB_VAR_NAME`. Types are checked by the library.
//! An option that an empty variable of the environment sets is an error about the variable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory as _};
use vault_bake::definition::{Definition, closest_match};

use crate::args::{Cli, Vars};
use crate::exit::Failure;
use crate::invocation::Invocation;
use crate::store_location::environment;

/// The prefix of environment variables with values.
const PREFIX: &str = "VB_VAR_";

impl Invocation {
    /// Returns the values for the variables of the definition at `path`.
    pub fn variables(
        &self,
        path: &Path,
        given: &Vars,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let declared = Definition::variable_names(path).unwrap_or_default();
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for (variable, value) in environment() {
            let name = variable
                .strip_prefix(PREFIX)
                .and_then(|rest| declared.iter().find(|name| is_name_of(rest, name)));
            let Some(name) = name else { continue };
            let previous = values.insert(name.clone(), value.clone());
            if previous.is_some_and(|previous| previous != value) {
                let upper = name.to_uppercase();
                let message = format!("{PREFIX}{name} and {PREFIX}{upper} have different values");
                let hint = format!("Unset {PREFIX}{upper}; the variable's name is `{name}`.");
                return Err(Failure::usage(message).hint(hint));
            }
        }
        for argument in &given.vars {
            let (name, value) = split_pair(argument)?;
            values.insert(name.to_owned(), value.to_owned());
        }
        Ok(values)
    }

    /// Returns the values of `given` for one of several `images`.
    ///
    /// These are values of variables that `image` declares. Values that no image declares are
    /// included too, so that each image reports them.
    pub fn shared_vars(
        &self,
        image: &str,
        images: &[String],
        given: &Vars,
    ) -> Result<Vars, Failure> {
        let declares = |image: &str, name: &str| {
            let declared = Definition::variable_names(&self.definition_folder(image));
            // An unreadable definition has an error of its own.
            declared.is_none_or(|declared| declared.iter().any(|known| known == name))
        };
        let mut vars = Vec::new();
        for argument in &given.vars {
            let (name, _) = split_pair(argument)?;
            if declares(image, name) || !images.iter().any(|other| declares(other, name)) {
                vars.push(argument.clone());
            }
        }
        Ok(Vars { vars })
    }

    /// Warns about each `VB_VAR_…` that is not a variable of any image: it is probably misspelt.
    ///
    /// Considers `images` and all images of the project.
    pub fn warn_about_variables(&self, images: &[String]) {
        let variables: Vec<String> = environment().into_keys().collect();
        let names = variables
            .iter()
            .filter_map(|variable| variable.strip_prefix(PREFIX));
        let names: Vec<&str> = names.collect();
        if names.is_empty() {
            return;
        }
        let mut known = BTreeSet::new();
        for image in images.iter().chain(&self.images().unwrap_or_default()) {
            match Definition::variable_names(&self.definition_folder(image)) {
                Some(names) => known.extend(names),
                // An unreadable definition may declare any name.
                None => return,
            }
        }
        for name in names {
            if known.iter().any(|known| is_name_of(name, known)) {
                continue;
            }
            let way_out = match closest_match(name, known.iter().map(String::as_str)) {
                Some(meant) => format!("use {PREFIX}{meant}"),
                None => String::from("unset it, or declare the variable"),
            };
            self.events.warn(format!(
                "{PREFIX}{name} is ignored: no image declares this variable; {way_out}"
            ));
        }
    }
}

/// Returns the failure about a variable of the environment that is empty, if `error` is due to it.
/// clap names the option alone, which the user did not write.
pub fn empty_variable(error: &clap::Error) -> Option<Failure> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = context(ContextKind::InvalidArg)?;
    if context(ContextKind::InvalidValue) != Some("") {
        return None;
    }
    let environment = environment();
    let is_empty = |name: &String| environment.get(name).is_some_and(String::is_empty);
    let mut command = Cli::command();
    command.build();
    let name = variable_of(&command, option).filter(is_empty)?;
    let message =
        format!("cannot use the variable {name}: it is empty; expected a value of {option}");
    Some(Failure::usage(message).hint(format!("Set {name}, or unset it.")))
}

/// Returns the variable of an option, as in `--state <DIR>`, of a command or one below it.
fn variable_of(command: &Command, option: &str) -> Option<String> {
    let mut options = command.get_arguments();
    let found = options.find(|found| found.get_env().is_some() && found.to_string() == option);
    match found.and_then(clap::Arg::get_env) {
        Some(name) => Some(name.to_string_lossy().into_owned()),
        None => {
            let mut below = command.get_subcommands();
            below.find_map(|below| variable_of(below, option))
        }
    }
}

/// Returns whether `given`, from the environment, is the variable `name`, or `name` in capitals.
fn is_name_of(given: &str, name: &str) -> bool {
    given == name || given == name.to_uppercase()
}

fn split_pair(argument: &str) -> Result<(&str, &str), Failure> {
    argument
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("--var {argument}: expected NAME=VALUE")))
}
