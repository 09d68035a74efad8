//! Runs programs so that nothing of them outlives them: no mount, no daemon.
//!
//! In: a program. Out: the same, in namespaces of its own where these can be made. Deliberately goes on without where
//! they cannot: then the program's process group is all that is ended with it.

use std::path::Path;

use crate::builder::BuilderError;
use crate::builder::qemu::QemuOptions;
use crate::process::{ProcessError, Program};
use crate::wait::Interrupt;

/// For root: its mounts and processes end with it, however it ends.
const AS_ROOT: [&str; 5] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// For others: its processes do.
const AS_USER: [&str; 5] = [
    "--user",
    "--map-current-user",
    "--pid",
    "--fork",
    "--kill-child",
];

/// A program that mounts file systems where it is run by root, and that makes namespaces by itself where it is not.
/// Where root may not make namespaces, as in most containers, it cannot mount either.
pub(super) async fn mounting(
    settings: &QemuOptions,
    program: &Path,
    interrupt: &Interrupt,
) -> Result<Program, BuilderError> {
    if rustix::process::geteuid().is_root() {
        isolated(settings, program, &AS_ROOT, interrupt).await
    } else {
        Ok(Program::new(program))
    }
}

/// `sh` as root, or as seems root to it. fakeroot starts a daemon in a session of its own, which would outlive it.
pub(super) async fn root_shell(
    settings: &QemuOptions,
    interrupt: &Interrupt,
) -> Result<Program, BuilderError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Program::new("sh"));
    }
    let fakeroot = isolated(settings, &settings.tools.fakeroot, &AS_USER, interrupt).await?;
    // In a user namespace a real change of owner fails in a way that fakeroot does not expect.
    Ok(fakeroot.env("FAKEROOTDONTTRYCHOWN", "1").args(["--", "sh"]))
}

async fn isolated(
    settings: &QemuOptions,
    program: &Path,
    namespaces: &[&str],
    interrupt: &Interrupt,
) -> Result<Program, BuilderError> {
    let unshare = || {
        Program::new(&settings.tools.unshare)
            .args(namespaces)
            .arg("--")
    };
    match unshare().arg("true").run(interrupt).await {
        Ok(_) => Ok(unshare().arg(program)),
        Err(ProcessError::Failed { .. } | ProcessError::Start { .. }) => Ok(Program::new(program)),
        Err(error) => Err(error.into()),
    }
}
