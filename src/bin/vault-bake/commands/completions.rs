//! `completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::commands::print_text;
use crate::exit::Exit;

pub fn run(shell: Shell) -> Exit {
    // Into memory first: a reader that has enough, such as `head`, must not end us.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "vault-bake", &mut script);
    print_text(&String::from_utf8_lossy(&script));
    Exit::Done
}
