//! `vault-bake`, the binary: reads the command line and the environment, calls the library, prints, and gives the exit status.

mod args;
mod azure;
mod commands;
mod ending;
mod exit;
mod keys;
mod output;
mod store_location;
mod report;
mod variables;
mod invocation;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vault_bake::builder::LayerRules;
use vault_bake::ssh;
use vault_bake::terminal::visible;

use crate::args::{Cli, Verb};
use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::output::eprint_text;

/// Records are many small texts, and reading them is mostly making room for them: a sixth faster than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads that are still at work are waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
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
    // What was given up may not hold the process for long, and what only ends a little later must not be cut off.
    runtime.shutdown_timeout(LAST_WAIT);
    ssh::join_all(LAST_WAIT);
    exit.into()
}

/// Prints what clap says, in its own way unless an argument has characters in it that a terminal obeys.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if visible(&text) == text {
        error.exit();
    }
    eprint_text(&text);
    Exit::Usage.into()
}

async fn run(cli: Cli) -> Exit {
    let session = match Invocation::new(cli.global) {
        Ok(session) => session,
        Err(failure) => return failure.print(false, None),
    };
    session.listen_for_interrupts();
    match dispatch(cli.verb, &session).await {
        Ok(exit) => exit,
        Err(failure) => failure.print(session.json, session.report.log_path().as_deref()),
    }
}

async fn dispatch(verb: Verb, session: &Invocation) -> Result<Exit, Failure> {
    match verb {
        Verb::Validate { images, vars } => commands::validate::run(session, &images, &vars),
        Verb::Lock {
            image,
            releases,
            builder,
            dry_run,
        } => {
            let builder = builder.map(Into::into);
            commands::lock::run(session, &image, &releases, builder, dry_run).await
        }
        Verb::Lint(wish) => commands::lint::run(session, &wish),
        Verb::Plan {
            image,
            releases,
            builder,
        } => commands::plan::run(session, &image, &releases, builder.into()),
        Verb::Build {
            image,
            releases,
            builder,
            version,
            on_error,
            skip_test,
            audit,
            no_cache,
            layer_age,
            fresh_boot,
            dry_run,
        } => {
            let wish = commands::build::Wish {
                version,
                on_error,
                test: !skip_test,
                audit,
                layers: LayerRules {
                    reuse: !no_cache,
                    max_age: Duration::from_secs(u64::from(layer_age) * 24 * 3600),
                    ..LayerRules::default()
                },
                suspend: !fresh_boot,
                dry_run,
                builder: builder.into(),
            };
            commands::build::run(session, &image, &releases, wish).await
        }
        Verb::Test {
            reference,
            audit,
            dry_run,
        } => commands::test::run(session, &reference, audit, dry_run).await,
        Verb::Images { name } => {
            session
                .reading(commands::images::run(session, name.as_deref()))
                .await
        }
        Verb::Show { reference } => {
            session
                .reading(commands::show::run(session, &reference))
                .await
        }
        Verb::Sbom { reference } => {
            session
                .reading(commands::sbom::run(session, &reference))
                .await
        }
        Verb::Diff { from, to, format } => {
            session
                .reading(commands::diff::run(session, &from, &to, format))
                .await
        }
        Verb::Verify { pins, records_only } => match pins {
            Some(pins) => {
                session
                    .reading(commands::verify::pins(session, &pins))
                    .await
            }
            None => {
                session
                    .reading(commands::verify::run(session, records_only))
                    .await
            }
        },
        Verb::Promote {
            reference,
            channel,
            expect,
            note,
            dry_run,
        } => commands::promote::run(session, &reference, &channel, expect, note, dry_run).await,
        Verb::Rollback {
            channel,
            to,
            reason,
            data_restored_from,
            dry_run,
        } => {
            let wish = commands::rollback::Wish {
                to: to.as_deref(),
                reason: &reason,
                data_restored_from: data_restored_from.as_deref(),
                dry_run,
            };
            commands::rollback::run(session, &channel, wish).await
        }
        Verb::Channel { verb } => commands::channel::run(session, verb.as_ref()).await,
        Verb::Revoke(revoke) => commands::revoke::run(session, &revoke).await,
        Verb::Restore {
            entry,
            reason,
            dry_run,
        } => commands::restore::run(session, entry, reason, dry_run).await,
        Verb::Pin(wish) => commands::pin::run(session, &wish).await,
        Verb::Resolve(wish) => commands::resolve::run(session, &wish).await,
        Verb::CheckPlan(wish) => commands::check_plan::run(session, &wish).await,
        Verb::Trust { verb } => commands::trust::run(session, &verb).await,
        Verb::Gc(wish) => commands::gc::run(session, &wish).await,
        Verb::Sweep { dry_run } => commands::sweep::run(session, dry_run).await,
        Verb::Doctor => commands::doctor::run(session).await,
        Verb::Completions { shell } => Ok(commands::completions::run(shell)),
    }
}
