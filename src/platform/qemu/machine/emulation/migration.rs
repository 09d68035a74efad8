//! Saves and loads the memory of a paused VM, as a QEMU migration over a local socket.
//! Returns the SHA-256 of the memory and device state, computed during the transfer.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use crate::builder::BuilderError;
use crate::digest::{Digest, HashingWriter};
use crate::platform::qemu::machine::run_files::Part;
use crate::platform::qemu::machine::{Launch, QemuMachine, files};
use crate::platform::qemu::space::need_space;
use crate::platform::qemu::{cache, socket};
use crate::wait::{Poll, Wait, WaitError};

/// Writes memory and device state of a paused VM to the new file `to`. Returns their SHA-256.
pub(super) async fn save(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    to: &Path,
) -> Result<Digest, BuilderError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let max_mib = u64::from(files::spec(&launch.boot)?.memory_mib);
    need_space(folder, max_mib)?;
    let name = Part::Memory.name(launch.boot.role);
    let listener =
        socket::listen(launch.work, &name).map_err(|error| machine.control_error(error))?;
    machine
        .control(
            "migrate-set-parameters",
            json!({"max-bandwidth": MAX_BANDWIDTH}),
        )
        .await?;
    let uri = format!("unix:{}", name.display());
    machine.control("migrate", json!({"uri": uri})).await?;
    let stream = accept(launch, machine, &listener).await?;
    let path = to.to_owned();
    let receiving = cache::blocking(launch.interrupt, move || {
        let receive = || {
            let mut file = HashingWriter::new(files::create(&path)?);
            std::io::copy(&mut blocking(stream)?, &mut file)?;
            Ok(file.finish().0)
        };
        receive().map_err(BuilderError::file(&path))
    });
    let memory_sha256 = receiving.await?;
    until_status(launch, machine, "query-migrate", "completed").await?;
    Ok(memory_sha256)
}

/// Sends the memory in the file `from` to a VM that waits for it. Returns the SHA-256 of the sent
/// bytes.
pub(super) async fn load(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    from: &Path,
) -> Result<Digest, BuilderError> {
    let content = File::open(from).map_err(BuilderError::file(from))?;
    let socket = socket::connect(launch.work, &Part::Memory.name(launch.boot.role)).await;
    let socket = socket.map_err(|error| machine.control_error(error))?;
    let path = from.to_owned();
    let sending = cache::blocking(launch.interrupt, move || {
        let send = || {
            let mut sent = HashingWriter::new(blocking(socket)?);
            std::io::copy(&mut &content, &mut sent)?;
            Ok(sent.finish().0)
        };
        send().map_err(BuilderError::file(&path))
    });
    sending.await
}

/// Waits until the reply to `command` has the status `expected`.
pub(super) async fn until_status(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    command: &str,
    expected: &str,
) -> Result<(), BuilderError> {
    // The mutex shows the compiler that only one poll uses the VM at a time.
    let machine = Mutex::new(machine);
    let waited = Wait::new(format!("{command} to report {expected}"), TRANSFER_TIMEOUT)
        .pausing(Duration::from_millis(10), Duration::from_millis(100))
        .until(launch.events, launch.interrupt, || async {
            let mut machine = machine.lock().await;
            let reply = match machine.query(command).await {
                Ok(reply) => reply,
                Err(error) => return Poll::Never(error),
            };
            match reply["status"].as_str().unwrap_or_default() {
                status if status == expected => Poll::Ready(()),
                "failed" => Poll::Never(machine.control_error(format!("{command}: {reply}"))),
                status => Poll::NotYet(format!("it reports `{status}`")),
            }
        })
        .await;
    match waited {
        Ok(()) => Ok(()),
        Err(WaitError::Interrupted(error)) => Err(error.into()),
        Err(WaitError::Never(error)) => Err(error),
        Err(WaitError::Deadline { what, last, .. }) => {
            Err(BuilderError::TimedOut(format!("{what}: {last}")))
        }
    }
}

/// Waits until QEMU connects to the memory socket.
async fn accept(
    launch: &Launch<'_>,
    machine: &QemuMachine,
    listener: &UnixListener,
) -> Result<UnixStream, BuilderError> {
    let waited = Wait::new("QEMU to send memory", TRANSFER_TIMEOUT)
        .until(launch.events, launch.interrupt, || async {
            match listener.accept().await {
                Ok((stream, _)) => Poll::Ready(stream),
                Err(error) => Poll::Never(error),
            }
        })
        .await;
    match waited {
        Ok(stream) => Ok(stream),
        Err(WaitError::Interrupted(error)) => Err(error.into()),
        Err(error) => Err(machine.control_error(error)),
    }
}

/// Converts the stream for use on a blocking thread.
fn blocking(stream: UnixStream) -> std::io::Result<std::os::unix::net::UnixStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The bandwidth limit, in bytes per second. QEMU's default limit protects a network, which is not
/// used here.
const MAX_BANDWIDTH: u64 = 1 << 40;
/// The time for transferring memory to or from a slow disk.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(120);
