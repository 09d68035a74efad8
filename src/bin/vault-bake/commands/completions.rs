//! `completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::exit::Exit;

pub fn run(shell: Shell) -> Exit {
    generate(
        shell,
        &mut Cli::command(),
        "vault-bake",
        &mut std::io::stdout(),
    );
    Exit::Done
}
