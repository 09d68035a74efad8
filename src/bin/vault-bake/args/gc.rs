//! What may be asked about images that nothing needs any more.

use std::path::PathBuf;

use clap::Args;

/// Removing image files.
#[derive(Args)]
pub struct Gc {
    /// Write down what would be removed; --apply does it after the time of grace
    #[arg(long, conflicts_with = "apply")]
    pub plan: bool,
    /// Carry out the plan of this entry of the log: whatever nothing holds now either is removed
    #[arg(
        long,
        value_name = "ENTRY",
        conflicts_with_all = ["grace", "keep_generations", "min_age"]
    )]
    pub apply: Option<u64>,
    /// How long a plan waits, as in 90m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = seconds)]
    pub grace: u64,
    /// How many of the last generations of each channel keep their image, the present one among them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_generations: u64,
    /// How long every image stays, as in 30d
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = seconds)]
    pub min_age: u64,
    /// Pin file of a deployment: its images stay; for each deployment one [with --apply: those of the plan]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub pins: Vec<PathBuf>,
    /// File with what running nodes use, one a line: ids, paths, `sha256:…`, `name@version` or names of images; those stay
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub in_use: Vec<PathBuf>,
}

/// A time as people write it, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number and s, m, h or d, as in 24h".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = match (unit, number) {
        ("s", _) | ("", "0") => 1,
        ("m", _) => 60,
        ("h", _) => 60 * 60,
        ("d", _) => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit);
    let seconds = seconds.filter(|seconds| *seconds <= MOST_SECONDS);
    seconds.ok_or_else(|| "expected a hundred years at most".to_owned())
}

/// A hundred years.
const MOST_SECONDS: u64 = 100 * 366 * 24 * 60 * 60;
