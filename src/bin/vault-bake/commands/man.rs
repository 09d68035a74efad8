//! `man`: writes the manual pages, from the same source as the help.
//! The example of a verb gets a section of its own; clap would fill its lines.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::args::{Cli, maintain};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;

pub fn run(invocation: &Invocation, args: &maintain::Man) -> Result<Exit, Failure> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let written = std::fs::create_dir_all(&args.folder).and_then(|()| {
        // A manual page would fill the table of groups, and it lists the verbs anyway.
        write_page(program.clone().after_help(None), &args.folder)?;
        write_verbs(&program, &args.folder)
    });
    let folder = args.folder.display();
    let verbs = written.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write pages to {folder}: {error}"),
        )
    })?;
    let pages = verbs + 1;
    if invocation.json {
        print_json(&serde_json::json!({ "folder": args.folder, "pages": pages }));
    } else {
        print_line(&format!("{pages} pages written to {folder}"));
    }
    Ok(Exit::Done)
}

/// Writes a page for each verb below `command`, and returns their number.
fn write_verbs(command: &Command, folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for verb in command.get_subcommands() {
        write_page(verb.clone(), folder)?;
        count += 1 + write_verbs(verb, folder)?;
    }
    Ok(count)
}

fn write_page(command: Command, folder: &Path) -> io::Result<()> {
    let example = command.get_after_help().map(ToString::to_string);
    // clap_mangen leaves out texts that the short help hides.
    let command = command.mut_args(|argument| argument.hide_short_help(false));
    let page = Man::new(command.after_help(None))
        .source(concat!("vault-bake ", env!("CARGO_PKG_VERSION")))
        .manual("vault-bake");
    let mut text = Vec::new();
    page.render(&mut text)?;
    if let Some(example) = example {
        let mut section = Roff::default();
        section.control("SH", ["EXAMPLE"]).control("nf", []);
        for line in example.lines().skip(1) {
            section.text([roman(line.trim_start())]);
        }
        section.control("fi", []).to_writer(&mut text)?;
    }
    std::fs::write(folder.join(page.get_filename()), text)
}
