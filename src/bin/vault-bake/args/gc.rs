//! Arguments of `gc`.

use std::path::PathBuf;

use clap::Args;

use super::groups::example;

/// Delete artifacts that nothing needs any more
///
/// Without options, prints what could be deleted. With --plan, records a plan in the store.
/// After a grace period, --apply checks each artifact again and deletes it. Records are kept.
#[derive(Args)]
#[command(after_help = example("gc --plan --pins vault-bake.pins.json --in-use nodes.txt"))]
pub struct Gc {
    /// Record a plan, to be carried out with --apply after the grace period
    #[arg(long, conflicts_with = "apply")]
    pub plan: bool,
    /// Carry out the plan of this log entry, except for artifacts that are needed again
    #[arg(
        long,
        value_name = "ENTRY",
        conflicts_with_all = ["grace", "keep_generations", "min_age"]
    )]
    pub apply: Option<u64>,
    /// Grace period of a plan, for example 90m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_seconds)]
    pub grace: u64,
    /// Generations of each channel whose artifacts are kept, including the current one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub keep_generations: u64,
    /// Minimum age of a deleted artifact, for example 30d
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_seconds)]
    pub min_age: u64,
    /// Pin files of all deployments; their images are kept [with --apply: those of the plan]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub pins: Vec<PathBuf>,
    /// Files that list images in use, one a line: id, path, `sha256:…`, `name@version` or name
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub in_use: Vec<PathBuf>,
    /// Folder with the state of clusters, whose nodes keep their images
    /// [default: ~/.local/state/vault-bake/clusters]
    #[arg(long, value_name = "DIR", env = "VAULT_BAKE_CLUSTERS")]
    pub state: Option<PathBuf>,
}

/// Parses a duration such as `24h` into seconds.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let malformed = || "expected a number and s, m, h or d, as in 24h".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit_seconds = match (unit, number) {
        ("s", _) | ("", "0") => 1,
        ("m", _) => 60,
        ("h", _) => 60 * 60,
        ("d", _) => 24 * 60 * 60,
        _ => return Err(malformed()),
    };
    let number: u64 = number.parse().map_err(|_| malformed())?;
    let seconds = number.checked_mul(unit_seconds);
    let seconds = seconds.filter(|seconds| *seconds <= MAX_SECONDS);
    seconds.ok_or_else(|| "expected a hundred years at most".to_owned())
}

/// A hundred years.
const MAX_SECONDS: u64 = 100 * 366 * 24 * 60 * 60;
