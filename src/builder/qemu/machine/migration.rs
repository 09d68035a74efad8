//! Memory of machines, to files and from them, by a socket: QEMU takes it for a move to another computer.
//!
//! In: a machine that stands still, or one that was started without any. Out: its memory and devices, hashed on the way.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::run_files::Part;
use super::{Launch, QemuMachine, files};
use crate::builder::BuilderError;
use crate::builder::qemu::{cache, capture, socket};
use crate::digest::{Digest, Hashing};
use crate::wait::{Poll, Wait, WaitError};

/// Writes memory and devices of a machine that stands still to the file `to`, which is new. The SHA-256 of it.
pub(super) async fn save(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    to: &Path,
) -> Result<Digest, BuilderError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let most_mib = u64::from(files::shape(&launch.boot)?.memory_mib);
    capture::need_space(folder, most_mib)?;
    let name = Part::Memory.of(launch.boot.role);
    let listener = socket::listen(launch.work, &name).map_err(|error| machine.refusal(error))?;
    machine
        .control(
            "migrate-set-parameters",
            json!({"max-bandwidth": UNBOUNDED}),
        )
        .await?;
    let uri = format!("unix:{}", name.display());
    machine.control("migrate", json!({"uri": uri})).await?;
    let stream = accepted(launch, machine, &listener).await?;
    let path = to.to_owned();
    let receiving = cache::blocking(launch.interrupt, move || {
        let receive = || {
            let mut file = Hashing::new(files::create(&path)?);
            std::io::copy(&mut blocking(stream)?, &mut file)?;
            Ok(file.finish().0)
        };
        receive().map_err(BuilderError::file(&path))
    });
    let memory_sha256 = receiving.await?;
    until_status(launch, machine, "query-migrate", "completed").await?;
    Ok(memory_sha256)
}

/// Gives a machine that waits for it the memory in the file `from`. The SHA-256 of what it was given.
pub(super) async fn load(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    from: &Path,
) -> Result<Digest, BuilderError> {
    let content = File::open(from).map_err(BuilderError::file(from))?;
    let socket = socket::connect(launch.work, &Part::Memory.of(launch.boot.role)).await;
    let socket = socket.map_err(|error| machine.refusal(error))?;
    let path = from.to_owned();
    let sending = cache::blocking(launch.interrupt, move || {
        let send = || {
            let mut sent = Hashing::new(blocking(socket)?);
            std::io::copy(&mut &content, &mut sent)?;
            Ok(sent.finish().0)
        };
        send().map_err(BuilderError::file(&path))
    });
    sending.await
}

/// Waits until `command` answers with this status.
pub(super) async fn until_status(
    launch: &Launch<'_>,
    machine: &mut QemuMachine,
    command: &str,
    wanted: &str,
) -> Result<(), BuilderError> {
    // A look at a time, which the wait cannot know.
    let machine = Mutex::new(machine);
    let waited = Wait::new(format!("{command} to say {wanted}"), MOVE_TIMEOUT)
        .pausing(Duration::from_millis(10), Duration::from_millis(100))
        .until(launch.events, launch.interrupt, || async {
            let mut machine = machine.lock().await;
            let answer = match machine.query(command).await {
                Ok(answer) => answer,
                Err(error) => return Poll::Never(error),
            };
            match answer["status"].as_str().unwrap_or_default() {
                status if status == wanted => Poll::Ready(()),
                "failed" => Poll::Never(machine.refusal(format!("{command}: {answer}"))),
                status => Poll::NotYet(format!("it says `{status}`")),
            }
        })
        .await;
    match waited {
        Ok(()) => Ok(()),
        Err(WaitError::Interrupted(error)) => Err(error.into()),
        Err(WaitError::Never(error)) => Err(error),
        Err(WaitError::Deadline { what, last, .. }) => {
            Err(BuilderError::Late(format!("{what}: {last}")))
        }
    }
}

/// QEMU's end of the socket that memory goes by.
async fn accepted(
    launch: &Launch<'_>,
    machine: &QemuMachine,
    listener: &UnixListener,
) -> Result<UnixStream, BuilderError> {
    let waited = Wait::new("QEMU to send memory", MOVE_TIMEOUT)
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
        Err(error) => Err(machine.refusal(error)),
    }
}

/// For a thread that does nothing else.
fn blocking(stream: UnixStream) -> std::io::Result<std::os::unix::net::UnixStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// In bytes a second: QEMU takes care of networks by itself, and there is none.
const UNBOUNDED: u64 = 1 << 40;
/// Memory to or from a slow disk.
const MOVE_TIMEOUT: Duration = Duration::from_secs(120);
