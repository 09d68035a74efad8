//! Wraps a program in new namespaces, so that its mounts and daemons end with it.
//! If the host allows no namespaces, returns the program unchanged.
//! Then only its process group ends with it.

use std::path::Path;

use crate::builder::BuilderError;
use crate::platform::qemu::QemuOptions;
use crate::process::{ProcessError, Program};
use crate::wait::Interrupt;

/// For root: the mounts and processes of the program end with it.
const AS_ROOT: [&str; 5] = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// For other users: the processes of the program end with it.
const AS_USER: [&str; 5] = [
    "--user",
    "--map-current-user",
    "--pid",
    "--fork",
    "--kill-child",
];

/// Wraps a program that mounts file systems if root runs it, and that otherwise makes its own
/// namespaces. If root may not make namespaces, as in most containers, it cannot mount either.
pub(super) async fn mounting(
    options: &QemuOptions,
    program: &Path,
    interrupt: &Interrupt,
) -> Result<Program, BuilderError> {
    if rustix::process::geteuid().is_root() {
        isolated(options, program, &AS_ROOT, interrupt).await
    } else {
        Ok(Program::new(program))
    }
}

/// Returns `sh` as root, or under fakeroot. It is isolated because fakeroot starts a daemon in a
/// new session.
pub(super) async fn root_shell(
    options: &QemuOptions,
    interrupt: &Interrupt,
) -> Result<Program, BuilderError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Program::new("sh"));
    }
    let fakeroot = isolated(options, &options.tools.fakeroot, &AS_USER, interrupt).await?;
    // In a user namespace a real chown fails in a way that fakeroot does not expect.
    Ok(fakeroot.env("FAKEROOTDONTTRYCHOWN", "1").args(["--", "sh"]))
}

async fn isolated(
    options: &QemuOptions,
    program: &Path,
    namespaces: &[&str],
    interrupt: &Interrupt,
) -> Result<Program, BuilderError> {
    let unshare = || {
        Program::new(&options.tools.unshare)
            .args(namespaces)
            .arg("--")
    };
    match unshare().arg("true").run(interrupt).await {
        Ok(_) => Ok(unshare().arg(program)),
        Err(ProcessError::Failed { .. } | ProcessError::Start { .. }) => Ok(Program::new(program)),
        Err(error) => Err(error.into()),
    }
}
