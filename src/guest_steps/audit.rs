//! Lynis in a machine: how hard it is, by somebody else's measure.
//!
//! In: a session, and Lynis as this computer has it. Out: an [`Audit`]. All of it is in the machine's memory and goes with it;
//! nothing is installed there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ProvisionError;
use crate::definition::files::files_below;
use crate::event::Events;
use crate::ssh::{Archive, Packing, Script, Session};
use crate::wait::Interrupt;

/// Where Debian's package `lynis` has its parts.
#[derive(Clone, Debug)]
pub struct Lynis {
    /// The script.
    pub script: PathBuf,
    /// What it includes, and its data.
    pub share: PathBuf,
    /// What it looks at, and what it passes over.
    pub profile: PathBuf,
}

impl Default for Lynis {
    fn default() -> Self {
        Self {
            script: "/usr/sbin/lynis".into(),
            share: "/usr/share/lynis".into(),
            profile: "/etc/lynis/default.prf".into(),
        }
    }
}

impl Lynis {
    /// A part that is not there.
    pub fn missing(&self) -> Option<&Path> {
        let parts = [&self.script, &self.share, &self.profile];
        parts
            .into_iter()
            .find(|part| !part.exists())
            .map(PathBuf::as_path)
    }
}

/// What Lynis says of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Of Lynis, as in `3.0.8`.
    pub version: String,
    /// The hardening index, 0 to 100.
    pub index: u32,
    /// The tests that warn, by their ids.
    pub warnings: Vec<String>,
    /// The tests that suggest something, by their ids.
    pub suggestions: Vec<String>,
}

/// Below the folder for uploads.
const FOLDER: &str = "audit";
/// Lynis looks at every program, and under emulation that takes minutes.
const TIMEOUT: Duration = Duration::from_secs(1200);

/// It ends with other numbers than 0 where it has warnings; what counts is its report.
const RUN: &str = "
cd FOLDER || exit 125
mkdir -p plugins
sh ./lynis audit system --quiet --no-colors --profile FOLDER/default.prf --plugindir FOLDER/plugins --logfile FOLDER/log --report-file FOLDER/report >/dev/null 2>FOLDER/errors </dev/null
grep -sE '^(lynis_version|hardening_index|warning\\[\\]|suggestion\\[\\])=' report || { tail -n 5 FOLDER/errors >&2; exit 1; }
";

/// Runs Lynis on the machine of `session`; `work` is its folder for uploads.
pub async fn audit(
    lynis: &Lynis,
    session: &Session,
    work: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Audit, ProvisionError> {
    let failed = |error| ProvisionError::ssh(session.endpoint(), error);
    let files = files(lynis).map_err(|(path, error)| ProvisionError::Local {
        step: FOLDER.to_owned(),
        path: path.display().to_string(),
        error,
    })?;
    let folder = format!("{work}/{FOLDER}");
    let write = move |archive: &mut Archive<'_>| write(archive, &files);
    let uploading = session.upload(&folder, None, write, events, interrupt);
    uploading.await.map_err(failed)?;
    let script = Script {
        name: FOLDER.to_owned(),
        text: RUN.replace("FOLDER", &folder),
        timeout: TIMEOUT,
    };
    let report = session.output(script, interrupt).await.map_err(failed)?;
    read(&report).ok_or_else(|| ProvisionError::Unexpected {
        what: FOLDER.to_owned(),
        endpoint: session.endpoint().to_string(),
        line: report.lines().next().unwrap_or_default().to_owned(),
    })
}

/// Where a file goes, its mode, and where it is.
type Part = (String, u32, PathBuf);

fn files(lynis: &Lynis) -> Result<Vec<Part>, (PathBuf, io::Error)> {
    let mut all = vec![
        ("lynis".to_owned(), 0o755, lynis.script.clone()),
        ("default.prf".to_owned(), 0o644, lynis.profile.clone()),
    ];
    for path in files_below(&lynis.share)? {
        let name = path.display().to_string();
        all.push((name, 0o644, lynis.share.join(path)));
    }
    Ok(all)
}

fn write(archive: &mut Archive<'_>, files: &[Part]) -> io::Result<()> {
    archive.folders_above(files.iter().map(|(name, ..)| name.as_str()))?;
    for (name, mode, from) in files {
        archive.file(name, *mode, from, Packing::Compressed)?;
    }
    Ok(())
}

/// Lines as in `hardening_index=86` and `warning[]=KRNL-5830|words|…`.
fn read(report: &str) -> Option<Audit> {
    let values = |key: &str| {
        let start = format!("{key}=");
        let found = report
            .lines()
            .filter_map(move |line| line.strip_prefix(&start).map(str::to_owned));
        found.collect::<Vec<String>>()
    };
    let ids = |key: &str| {
        let first = |line: String| line.split('|').next().unwrap_or_default().to_owned();
        let mut ids: Vec<String> = values(key).into_iter().map(first).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    Some(Audit {
        version: values("lynis_version").pop()?,
        index: values("hardening_index").pop()?.parse().ok()?,
        warnings: ids("warning[]"),
        suggestions: ids("suggestion[]"),
    })
}
