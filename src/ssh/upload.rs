//! Sends one archive to a remote `tar`, on the session's thread.
//!
//! In: a closure that writes an [`Archive`]. Out: the files in a folder of the machine, or what `tar` said. A remote
//! command that ends early is noticed at once.

use std::io::{self, ErrorKind, Read as _, Write};
use std::time::{Duration, Instant};

use super::archive::Archive;
use super::channel::{Cancel, Link, Stop, Until};
use super::error::SshError;
use super::output::Output;
use super::script;
use super::{GUEST_WORK, Script, UPLOAD_DISK, quote};
use crate::event::{Event, Events};
use crate::secret::Scrubber;
use crate::wait::Interrupted;

/// What to upload to, and whom to tell.
pub(super) struct Upload {
    pub(super) folder: String,
    pub(super) total_bytes: Option<u64>,
    pub(super) scrubber: Scrubber,
    pub(super) events: Events,
}

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

impl Upload {
    /// Sends what `write` writes.
    pub(super) fn run(
        self,
        link: &mut Link,
        write: impl FnOnce(&mut Archive<'_>) -> io::Result<()>,
        cancel: &Cancel,
    ) -> Result<(), SshError> {
        let folder = quote(&self.folder);
        let unpack = format!("{}exec tar -xpzf - -C {folder}", prepare(&self.folder));
        let command = format!("exec sh -c {}", quote(&unpack));
        let mut remote = match Remote::start(link, &command, cancel, self.scrubber.clone()) {
            Ok(remote) => remote,
            Err(stop) => return Err(stopped(stop)),
        };
        let mut progress = Progress::new(&self);
        let mut buffered = io::BufWriter::with_capacity(128 * 1024, &mut remote);
        let archive_written = || {
            let mut content = |bytes| progress.advance(bytes);
            let mut archive = Archive::new(&mut buffered, &mut content);
            write(&mut archive)?;
            archive.finish()?;
            buffered.flush()
        };
        let written = archive_written();
        // After an error the buffer must not be written when it is dropped.
        let _ = buffered.into_parts();
        if let Some(stop) = remote.stop.take() {
            return Err(stopped(stop));
        }
        let (exit, last) = remote.end().map_err(stopped)?;
        match (exit, written) {
            (0, Ok(())) => {
                progress.report();
                Ok(())
            }
            // Why the remote command ended early says more than that it did.
            (_, Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
                Err(SshError::Archive(error))
            }
            (exit, _) => Err(SshError::Failed {
                what: format!("upload to {}", self.folder),
                exit,
                last,
            }),
        }
    }
}

/// Has a machine take what it sees on its disk [`UPLOAD_DISK`], an ext2 file system: the archive `work.tar` is unpacked into
/// `folder`, and `releases` can be read there as it lies.
pub(super) struct ByDisk {
    pub(super) folder: String,
    pub(super) scrubber: Scrubber,
}

/// What the script ends with where the machine sees no such disk, or cannot read it.
const NO_DISK: i32 = 75;

/// A machine under emulation unpacks some MiB in a second.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(300);

impl ByDisk {
    /// Whether the machine sees the disk; else nothing is done.
    pub(super) fn run(self, link: &mut Link, cancel: &Cancel) -> Result<bool, SshError> {
        let Self { folder, scrubber } = self;
        let script = Script {
            name: "upload".to_owned(),
            text: take_disk(&folder),
            timeout: UNPACK_TIMEOUT,
        };
        let captured = script::capture(link, &script, scrubber, cancel)?;
        match captured.exit {
            0 => Ok(true),
            NO_DISK => Ok(false),
            exit => Err(SshError::Failed {
                what: format!("upload to {folder}"),
                exit,
                last: captured.last,
            }),
        }
    }
}

/// The disk was looked at when the machine started, with nothing on it yet: what is known of it since is out of date.
fn take_disk(folder: &str) -> String {
    let device = format!("/dev/disk/by-id/virtio-{UPLOAD_DISK}");
    let (at, releases) = (format!("{folder}/disk"), format!("{folder}/releases"));
    let (at, releases) = (quote(&at), quote(&releases));
    format!(
        "[ -b {device} ] || exit {NO_DISK}\n\
         {} mkdir -p {at}\n\
         grep -qs \"^$(readlink -f {device}) \" /proc/mounts || {{\n\
         blockdev --flushbufs {device}\n\
         mount -t ext2 -o ro,noatime,nodev,nosuid,noexec {device} {at} || exit {NO_DISK}\n\
         }}\n\
         ln -sfnT disk/releases {releases}\n\
         tar -xpf {at}/work.tar -C {}\n",
        prepare(folder),
        quote(folder),
    )
}

/// Makes the folder in the remote shell. Only the agreed one becomes a tmpfs.
fn prepare(folder: &str) -> String {
    let quoted = quote(folder);
    let mount = if folder == GUEST_WORK {
        format!(
            "grep -qs ' {folder} ' /proc/mounts || mount -t tmpfs -o mode=0700,size=75% vault-bake {quoted} && "
        )
    } else {
        String::new()
    };
    format!("umask 077; mkdir -p {quoted} && {mount}")
}

fn stopped(stop: Stop) -> SshError {
    let lost = |why| SshError::Lost {
        what: "upload".to_owned(),
        why,
    };
    match stop {
        Stop::Broken(why) => lost(why),
        Stop::Deadline | Stop::TooMuch => lost("the machine takes nothing any more".to_owned()),
        Stop::Cancelled => Interrupted.into(),
    }
}

struct Progress<'a> {
    upload: &'a Upload,
    done_bytes: u64,
    told: Instant,
}

impl<'a> Progress<'a> {
    fn new(upload: &'a Upload) -> Self {
        Self {
            upload,
            done_bytes: 0,
            told: Instant::now(),
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.report();
        }
    }

    fn report(&self) {
        self.upload.events.emit(&Event::Progress {
            what: "upload".to_owned(),
            done_bytes: self.done_bytes,
            total_bytes: self.upload.total_bytes,
        });
    }
}

/// The remote end of the stream.
struct Remote<'a> {
    link: &'a mut Link,
    channel: ssh2::Channel,
    cancel: &'a Cancel,
    said: Output,
    stop: Option<Stop>,
}

impl<'a> Remote<'a> {
    fn start(
        link: &'a mut Link,
        command: &str,
        cancel: &'a Cancel,
        scrubber: Scrubber,
    ) -> Result<Self, Stop> {
        let until = Until {
            deadline: Instant::now() + link.patience.stall,
            cancel,
        };
        let mut channel = link.retry(until, |ssh| ssh.channel_session())?;
        link.retry(until, |_| {
            channel.handle_extended_data(ssh2::ExtendedData::Merge)
        })?;
        link.retry(until, |_| channel.exec(command))?;
        Ok(Self {
            link,
            channel,
            cancel,
            said: Output::kept_last(scrubber),
            stop: None,
        })
    }

    fn until(&self) -> Until<'a> {
        Until {
            deadline: Instant::now() + self.link.patience.stall,
            cancel: self.cancel,
        }
    }

    /// Takes what the remote command says, which is nothing while all goes well.
    fn listen(&mut self) -> Result<(), Stop> {
        let mut buffer = [0; 4096];
        loop {
            match self.channel.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.said.take(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Stop::Broken(error.to_string())),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let until = self.until();
        // A machine that takes everything at once never makes us pause, where we would look.
        if self.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        loop {
            match self.channel.write(bytes) {
                Ok(0) => {}
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) if self.channel.eof() => return Ok(0),
                Err(error) => return Err(Stop::Broken(error.to_string())),
            }
            if !self.link.half_sent() {
                self.listen()?;
                if self.channel.eof() {
                    return Ok(0);
                }
            }
            self.link.pause(until)?;
        }
    }

    /// Ends the stream; the remote command's exit status and last lines.
    fn end(mut self) -> Result<(i32, Vec<String>), Stop> {
        let until = self.until();
        if !self.channel.eof() {
            self.link.retry(until, |_| self.channel.send_eof())?;
        }
        while !self.channel.eof() {
            self.listen()?;
            if !self.channel.eof() {
                self.link.pause(until)?;
            }
        }
        self.link.retry(until, |_| self.channel.wait_close())?;
        let exit = match self.channel.exit_signal()?.exit_signal {
            Some(_) => 128,
            None => self.channel.exit_status()?,
        };
        // Done with on both sides, so whether this arrives does not matter.
        let _ = self.channel.close();
        Ok((exit, self.said.last()))
    }
}

impl Write for Remote<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        match self.send(bytes) {
            Ok(0) => Err(io::Error::new(
                ErrorKind::BrokenPipe,
                "the remote command ended early",
            )),
            Ok(written) => Ok(written),
            Err(stop) => {
                self.stop = Some(stop);
                Err(io::Error::other("stopped"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
