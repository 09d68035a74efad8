//! Runs futures on the host's network, or in a network namespace.
//! Takes the path of a namespace, as `/proc/PID/ns/net`; a future's sockets belong to that one.
//! The other threads of the process stay in the host's network.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A network that futures can run in. Clones share it.
#[derive(Clone)]
pub struct Network(Option<Arc<Worker>>);

/// A network namespace that cannot be entered.
#[derive(Debug, thiserror::Error)]
#[error("cannot enter the network namespace {}: {error}", path.display())]
pub struct NetworkError {
    /// The path of the namespace.
    pub path: PathBuf,
    /// The error of the operating system.
    pub error: io::Error,
}

impl NetworkError {
    /// Returns what to do about it, as an imperative, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self.error.kind() {
            io::ErrorKind::PermissionDenied => Some("Run this command as root."),
            io::ErrorKind::NotFound => Some("Start the cluster, which creates the namespace."),
            _ => None,
        }
        .map(str::to_owned)
    }
}

/// A thread in the namespace, which runs all futures of one [`Network`].
struct Worker {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _running: oneshot::Sender<Infallible>,
}

impl Network {
    /// Returns the network of this process.
    pub fn host() -> Self {
        Self(None)
    }

    /// Enters the network namespace at `path` with a new thread, which ends with the last clone.
    ///
    /// Needs root, or `CAP_SYS_ADMIN` over the namespace.
    pub fn namespace(path: &Path) -> Result<Self, NetworkError> {
        let failed = |error| NetworkError {
            path: path.to_owned(),
            error,
        };
        let namespace = File::open(path).map_err(failed)?;
        let (running, ended) = oneshot::channel();
        let (report, started) = mpsc::channel();
        thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || match enter(&namespace) {
                Ok(runtime) => {
                    drop(namespace);
                    let _ = report.send(Ok(runtime.handle().clone()));
                    // Ends with an error, as the sender is dropped without a value.
                    let _ = runtime.block_on(ended);
                }
                Err(error) => {
                    let _ = report.send(Err(error));
                }
            })
            .map_err(failed)?;
        let runtime = started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            .map_err(failed)?;
        Ok(Self(Some(Arc::new(Worker {
            runtime,
            _running: running,
        }))))
    }

    /// Runs `work` in this network and returns its result. Dropping the future ends `work`.
    ///
    /// Panics of `work` continue in the caller.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let Some(worker) = &self.0 else {
            return work.await;
        };
        let mut task = EndOnDrop(worker.runtime.spawn(work));
        match (&mut task.0).await {
            Ok(value) => value,
            // The task is not cancelled, as `self` keeps the runtime.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

/// Moves this thread into `namespace` and returns a runtime for it.
fn enter(namespace: &File) -> io::Result<Runtime> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Builder::new_current_thread().enable_all().build()
}

/// A task that ends when its handle is dropped.
struct EndOnDrop<T>(JoinHandle<T>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
