//! `completions`: prints a completion script for a shell.

use clap::CommandFactory;
use clap_complete::generate;

use crate::args::{Cli, maintain};
use crate::commands::print_text;
use crate::exit::Exit;

pub fn run(args: &maintain::Completions) -> Exit {
    // Generated into memory: clap_complete would panic if a reader such as `head` closed the pipe.
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "vault-bake", &mut script);
    print_text(&String::from_utf8_lossy(&script));
    Exit::Done
}
