//! The groups of verbs in the help, and the form of its examples.
//! clap has no groups of subcommands, so the help of the program lists them itself.

use clap::builder::{StyledStr, Styles};
use clap::{Command, Subcommand as _};

use super::Verb;

/// Verbs for one phase of an image's life.
struct Group {
    title: &'static str,
    verbs: &'static [&'static str],
}

/// Every verb, in exactly one group.
const GROUPS: [Group; 5] = [
    Group {
        title: "Build",
        verbs: &["init", "validate", "lint", "lock", "plan", "build", "test"],
    },
    Group {
        title: "Release",
        verbs: &[
            "images",
            "show",
            "sbom",
            "diff",
            "verify",
            "promote",
            "rollback",
            "channel",
            "revoke",
            "restore",
            "proposals",
            "sign",
            "complete",
        ],
    },
    Group {
        title: "Deploy",
        verbs: &["pin", "resolve", "fetch", "check-plan"],
    },
    Group {
        title: "Run",
        verbs: &["cluster", "rollout", "identity"],
    },
    Group {
        title: "Maintain",
        verbs: &[
            "store",
            "trust",
            "gc",
            "sweep",
            "doctor",
            "completions",
            "man",
        ],
    },
];

/// Returns the layout of the program's help: usage, verbs by group, options.
pub fn help_template() -> StyledStr {
    let header = Styles::styled().get_header().to_owned();
    StyledStr::from(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}{{after-help}}\n\n{header}Options:{header:#}\n{{options}}"
    ))
}

/// Returns the verbs by group, with one line about each.
pub fn list_of_verbs() -> StyledStr {
    let verbs = Verb::augment_subcommands(Command::new("vault-bake"));
    let styles = Styles::styled();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let about = |name: &str| {
        let verb = verbs.find_subcommand(name);
        verb.and_then(Command::get_about).map(ToString::to_string)
    };
    let row = |name: &&str| {
        let about = about(name).unwrap_or_default();
        format!("  {literal}{name:<11}{literal:#}  {about}\n")
    };
    let section = |group: &Group| {
        let rows: String = group.verbs.iter().map(row).collect();
        format!("{header}{}:{header:#}\n{rows}\n", group.title)
    };
    let sections: String = GROUPS.iter().map(section).collect();
    StyledStr::from(format!(
        "{sections}`vault-bake help COMMAND` prints the options of a command and an example."
    ))
}

/// Returns the example at the end of a verb's help: `vault-bake` with these arguments.
pub fn example(arguments: &str) -> StyledStr {
    let header = Styles::styled().get_header().to_owned();
    StyledStr::from(format!(
        "{header}Example:{header:#}\n  vault-bake {arguments}"
    ))
}
