//! Sends one archive to a remote `tar`, on the session's thread.
//!
//! In: a closure that writes an [`Archive`]. Out: the files in a folder of the machine, or what `tar` said. A remote
//! command that ends early is noticed at once.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::archive::Archive;
use super::error::SshError;
use super::link::{Cancel, Link, Stop, Until};
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
                progress.tell();
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

/// An archive that goes by a disk which the machine sees: the content of a file of this computer, from its beginning.
pub(super) struct ByDisk {
    pub(super) upload: Upload,
    pub(super) disk: PathBuf,
}

/// What `test` ends with where the machine sees no such disk.
const NO_DISK: i32 = 75;

/// A machine under emulation unpacks some MiB in a second.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(1800);

impl ByDisk {
    /// Writes what `write` writes to the disk, and has the machine unpack it. Whether it sees the disk.
    pub(super) fn run(
        self,
        link: &mut Link,
        write: impl FnOnce(&mut Archive<'_>) -> io::Result<()>,
        cancel: &Cancel,
    ) -> Result<bool, SshError> {
        let Self { upload, disk } = self;
        let mut progress = Progress::new(&upload);
        let mut content = |bytes| progress.advance(bytes);
        let file = OpenOptions::new().write(true).open(&disk);
        let mut buffered = io::BufWriter::with_capacity(1 << 20, file.map_err(SshError::Archive)?);
        let write_all = || {
            let mut to = Watching(&mut buffered, cancel);
            let mut archive = Archive::plain(&mut to, &mut content);
            write(&mut archive)?;
            archive.finish()?;
            buffered.flush()
        };
        let written = write_all();
        if cancel.is_set() {
            return Err(Interrupted.into());
        }
        written.map_err(SshError::Archive)?;
        progress.tell();
        // What the machine has read of it before, when it looked for file systems, is out of date.
        let device = format!("/dev/disk/by-id/virtio-{UPLOAD_DISK}");
        let text = format!(
            "[ -b {device} ] || exit {NO_DISK}\nblockdev --flushbufs --setra 8192 {device}\n{} tar -b 2048 -xpf {device} -C {}\n",
            prepare(&upload.folder),
            quote(&upload.folder)
        );
        let script = Script {
            name: "upload".to_owned(),
            text,
            timeout: UNPACK_TIMEOUT,
        };
        let captured = script::capture(link, &script, upload.scrubber.clone(), cancel)?;
        match captured.exit {
            0 => Ok(true),
            NO_DISK => Ok(false),
            exit => Err(SshError::Failed {
                what: format!("upload to {}", upload.folder),
                exit,
                last: captured.last,
            }),
        }
    }
}

/// Writes on until somebody asks to stop.
struct Watching<'a, W>(W, &'a Cancel);

impl<W: Write> Write for Watching<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.is_set() {
            return Err(io::Error::other("stopped"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
            self.tell();
        }
    }

    fn tell(&self) {
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
