//! Audits a machine with Lynis, an independent measure of hardening.
//! Takes a session and the Lynis of this computer; returns an [`Audit`].
//! Lynis runs from the machine's memory and is not installed there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ProvisionError;
use crate::definition::files::files_below;
use crate::event::Events;
use crate::ssh::{Archive, Packing, Script, Session};
use crate::wait::Interrupt;

/// The parts of Lynis. By default those of Debian's package `lynis`.
#[derive(Clone, Debug)]
pub struct Lynis {
    /// The path of the main script.
    pub script: PathBuf,
    /// The folder of its included scripts and data.
    pub share: PathBuf,
    /// The path of the profile, which selects tests.
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
    /// Returns a part that does not exist.
    pub fn missing(&self) -> Option<&Path> {
        let parts = [&self.script, &self.share, &self.profile];
        parts
            .into_iter()
            .find(|part| !part.exists())
            .map(PathBuf::as_path)
    }
}

/// The result of Lynis for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The version of Lynis, as in `3.0.8`.
    pub version: String,
    /// The hardening index, 0 to 100.
    pub index: u32,
    /// The ids of tests with a warning.
    pub warnings: Vec<String>,
    /// The ids of tests with a suggestion.
    pub suggestions: Vec<String>,
}

/// The subfolder for Lynis in the folder for uploads.
const FOLDER: &str = "audit";
/// The limit for one audit. Lynis tests every program, which takes twenty minutes and more under
/// emulation.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs Lynis and prints parts of its report.
/// Its exit status is ignored, because warnings make it non-zero.
///
/// Lynis starts some 20,000 programs. Under emulation they start three times as fast at fixed
/// addresses, which `setarch` gives to these programs alone: the setting of the system stays.
const RUN: &str = "
cd FOLDER || exit 125
mkdir -p plugins
fixed=
setarch --addr-no-randomize true 2>/dev/null && fixed='setarch --addr-no-randomize'
$fixed sh ./lynis audit system --quiet --no-colors --profile FOLDER/default.prf --plugindir FOLDER/plugins --logfile FOLDER/log --report-file FOLDER/report >/dev/null 2>FOLDER/errors </dev/null
grep -sE '^(lynis_version|hardening_index|warning\\[\\]|suggestion\\[\\])=' report || { tail -n 5 FOLDER/errors >&2; exit 1; }
";

/// Runs Lynis on the machine of `session`. `work` is the machine's folder for uploads.
pub async fn audit(
    lynis: &Lynis,
    session: &Session,
    work: &str,
    events: &Events,
    interrupt: &Interrupt,
) -> Result<Audit, ProvisionError> {
    let ssh_error = |error| ProvisionError::ssh(session.endpoint(), error);
    let files = files(lynis).map_err(|(path, error)| ProvisionError::Local {
        step: FOLDER.to_owned(),
        path: path.display().to_string(),
        error,
    })?;
    let folder = format!("{work}/{FOLDER}");
    let write = move |archive: &mut Archive<'_>| write(archive, &files);
    let uploading = session.upload(&folder, None, write, events, interrupt);
    uploading.await.map_err(ssh_error)?;
    let script = Script {
        name: FOLDER.to_owned(),
        text: RUN.replace("FOLDER", &folder),
        timeout: TIMEOUT,
    };
    let report = session.output(script, interrupt).await.map_err(ssh_error)?;
    parse_report(&report).ok_or_else(|| ProvisionError::Unexpected {
        what: FOLDER.to_owned(),
        endpoint: session.endpoint().to_string(),
        line: report.lines().next().unwrap_or_default().to_owned(),
    })
}

/// A file of Lynis to upload.
struct UploadFile {
    /// The path in the machine, relative to the folder for Lynis.
    path: String,
    mode: u32,
    /// The path on this computer.
    from: PathBuf,
}

fn files(lynis: &Lynis) -> Result<Vec<UploadFile>, (PathBuf, io::Error)> {
    let file = |path: &str, mode, from: PathBuf| UploadFile {
        path: path.to_owned(),
        mode,
        from,
    };
    let mut files = vec![
        file("lynis", 0o755, lynis.script.clone()),
        file("default.prf", 0o644, lynis.profile.clone()),
    ];
    for path in files_below(&lynis.share)? {
        let from = lynis.share.join(&path);
        files.push(file(&path.display().to_string(), 0o644, from));
    }
    Ok(files)
}

fn write(archive: &mut Archive<'_>, files: &[UploadFile]) -> io::Result<()> {
    archive.folders_above(files.iter().map(|file| file.path.as_str()))?;
    for file in files {
        archive.file(&file.path, file.mode, &file.from, Packing::Compressed)?;
    }
    Ok(())
}

/// Parses lines such as `hardening_index=86` and `warning[]=KRNL-5830|text|…`.
fn parse_report(report: &str) -> Option<Audit> {
    let values = |key: &str| {
        let prefix = format!("{key}=");
        let values = report
            .lines()
            .filter_map(move |line| line.strip_prefix(&prefix).map(str::to_owned));
        values.collect::<Vec<String>>()
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
