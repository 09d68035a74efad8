//! The program `vault-bake`: parses the command line, calls the library, prints the results and
//! returns the exit code.

mod args;
mod clock;
mod clusters;
mod commands;
mod ending;
mod exit;
mod failure;
mod invocation;
mod key_hint;
mod keys;
mod new_files;
mod output;
mod platforms;
mod report;
mod shipped;
mod store_location;
mod variables;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vault_bake::ssh;
use vault_bake::terminal::visible;

use crate::args::{Cli, Verb};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::output::eprint_text;

/// Reading records allocates many small texts: verification is a sixth faster than with the
/// system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time limit for threads that still work when the command has ended.
const THREADS_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit_with_usage(&error),
    };
    let processors = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors)
        .enable_all()
        .build()
    else {
        return Exit::Failed.into();
    };
    let exit = runtime.block_on(run(cli));
    // Abandoned work must not keep the process alive; work that ends within the limit finishes.
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    ssh::join_all(THREADS_TIMEOUT);
    exit.into()
}

/// Prints the help or the error of clap. Arguments with control characters are printed escaped.
fn exit_with_usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let json = std::env::args_os().any(|argument| argument == "--json");
    if let Some(failure) = variables::empty_variable(error) {
        return failure.print(json, None).into();
    }
    if error.exit_code() != 0 && json {
        let message = text.split("\n\n").next().unwrap_or_default();
        let message = message.trim_start_matches("error: ");
        let failure = Failure::usage(message).hint("Run the command with --help.");
        return failure.print(true, None).into();
    }
    if visible(&text) == text {
        error.exit();
    }
    eprint_text(&text);
    Exit::Usage.into()
}

async fn run(cli: Cli) -> Exit {
    let json = cli.global.json;
    let invocation = match Invocation::new(cli.global) {
        Ok(invocation) => invocation,
        Err(failure) => return failure.print(json, None),
    };
    invocation.listen_for_interrupts();
    match dispatch(cli.verb, &invocation).await {
        Ok(exit) => exit,
        Err(failure) => failure.print(json, invocation.report.log_path().as_deref()),
    }
}

async fn dispatch(verb: Verb, invocation: &Invocation) -> Result<Exit, Failure> {
    match verb {
        Verb::Init(args) => commands::init::run(invocation, &args),
        Verb::Validate(args) => commands::validate::run(invocation, &args),
        Verb::Lint(args) => commands::lint::run(invocation, &args),
        Verb::Lock(args) => commands::lock::run(invocation, &args).await,
        Verb::Plan(args) => commands::plan::run(invocation, &args),
        Verb::Build(args) => commands::build::run(invocation, &args).await,
        Verb::Test(args) => commands::test::run(invocation, &args).await,
        Verb::Images(args) => read(invocation, commands::images::run(invocation, &args)).await,
        Verb::Show(args) => read(invocation, commands::show::run(invocation, &args)).await,
        Verb::Sbom(args) => read(invocation, commands::sbom::run(invocation, &args)).await,
        Verb::Diff(args) => read(invocation, commands::diff::run(invocation, &args)).await,
        Verb::Verify(args) => read(invocation, commands::verify::run(invocation, &args)).await,
        Verb::Promote(args) => commands::promote::run(invocation, &args).await,
        Verb::Rollback(args) => commands::rollback::run(invocation, &args).await,
        Verb::Channel(args) => commands::channel::run(invocation, &args).await,
        Verb::Revoke(args) => commands::revoke::run(invocation, &args).await,
        Verb::Restore(args) => commands::restore::run(invocation, &args).await,
        Verb::Proposals(args) => commands::proposals::run(invocation, &args).await,
        Verb::Sign(args) => commands::sign::run(invocation, &args).await,
        Verb::Complete(args) => commands::complete::run(invocation, &args).await,
        Verb::Pin(args) => commands::pin::run(invocation, &args).await,
        Verb::Resolve(args) => commands::resolve::run(invocation, &args).await,
        Verb::Fetch(args) => read(invocation, commands::fetch::run(invocation, &args)).await,
        Verb::CheckPlan(args) => commands::check_plan::run(invocation, &args).await,
        Verb::Cluster(args) => commands::cluster::run(invocation, &args.command).await,
        Verb::Rollout(args) => commands::rollout::run(invocation, &args.command).await,
        Verb::Identity(args) => commands::identity::run(invocation, &args).await,
        Verb::Store(args) => commands::store::run(invocation, &args).await,
        Verb::Trust(args) => commands::trust::run(invocation, &args).await,
        Verb::Gc(args) => commands::gc::run(invocation, &args).await,
        Verb::Sweep(args) => commands::sweep::run(invocation, &args).await,
        Verb::Doctor => commands::doctor::run(invocation).await,
        Verb::Completions(args) => Ok(commands::completions::run(&args)),
        Verb::Man(args) => commands::man::run(invocation, &args),
    }
}

/// Runs `command`, which only reads: an interrupt may end it at any point.
async fn read(
    invocation: &Invocation,
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    invocation.interrupt.or(command).await?
}
