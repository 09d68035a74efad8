//! Uploads an [`Archive`] to a remote `tar`, on the session's thread.
//! Takes a closure that writes the archive; its files end up in a folder of the machine.
//! If the remote command ends early, the upload stops at once with its output as the error.

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

/// An upload over SSH.
pub(super) struct Upload {
    pub(super) folder: String,
    pub(super) total_bytes: Option<u64>,
    pub(super) scrubber: Scrubber,
    pub(super) events: Events,
}

/// The interval between progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

impl Upload {
    /// Sends the archive that `write` fills.
    pub(super) fn run(
        self,
        link: &mut Link,
        write: impl FnOnce(&mut Archive<'_>) -> io::Result<()>,
        cancel: &Cancel,
    ) -> Result<(), SshError> {
        let folder = quote(&self.folder);
        let unpack = format!(
            "{}exec tar -xpzf - -C {folder}",
            create_folder(&self.folder)
        );
        let command = format!("exec sh -c {}", quote(&unpack));
        let mut remote = match Remote::start(link, &command, cancel, self.scrubber.clone()) {
            Ok(remote) => remote,
            Err(stop) => return Err(upload_error(stop)),
        };
        let mut progress = Progress::new(&self);
        let mut buffered = io::BufWriter::with_capacity(128 * 1024, &mut remote);
        let write_archive = || {
            let mut on_content = |bytes| progress.advance(bytes);
            let mut archive = Archive::new(&mut buffered, &mut on_content);
            write(&mut archive)?;
            archive.finish()?;
            buffered.flush()
        };
        let written = write_archive();
        // Prevents a write of the buffer on drop, after an error.
        let _ = buffered.into_parts();
        if let Some(stop) = remote.stop.take() {
            return Err(upload_error(stop));
        }
        let (exit, last) = remote.finish().map_err(upload_error)?;
        match (exit, written) {
            (0, Ok(())) => {
                progress.report();
                Ok(())
            }
            // After a broken pipe the exit status of the remote command says more.
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

/// An upload from the disk [`UPLOAD_DISK`] of the machine, an ext2 file system.
/// It unpacks the archive `work.tar` into `folder`, and links the disk's folder `releases`.
pub(super) struct DiskUpload {
    pub(super) folder: String,
    pub(super) scrubber: Scrubber,
}

/// The exit status of the script if the machine has no such disk, or cannot mount it.
const NO_DISK: i32 = 75;

/// A VM under emulation unpacks only a few MiB a second.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(300);

impl DiskUpload {
    /// Unpacks the disk. Returns false, and changes nothing, if the machine has no such disk.
    pub(super) fn run(self, link: &mut Link, cancel: &Cancel) -> Result<bool, SshError> {
        let Self { folder, scrubber } = self;
        let script = Script {
            name: "upload".to_owned(),
            text: unpack_disk(&folder),
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

/// Returns the script that mounts and unpacks the upload disk.
///
/// `blockdev --flushbufs` drops stale buffers: the VM read the disk when it started, still empty.
fn unpack_disk(folder: &str) -> String {
    let device = format!("/dev/disk/by-id/virtio-{UPLOAD_DISK}");
    let (mount_point, releases) = (format!("{folder}/disk"), format!("{folder}/releases"));
    let (mount_point, releases) = (quote(&mount_point), quote(&releases));
    format!(
        "[ -b {device} ] || exit {NO_DISK}\n\
         {} mkdir -p {mount_point}\n\
         grep -qs \"^$(readlink -f {device}) \" /proc/mounts || {{\n\
         blockdev --flushbufs {device}\n\
         mount -t ext2 -o ro,noatime,nodev,nosuid,noexec {device} {mount_point} || exit {NO_DISK}\n\
         }}\n\
         ln -sfnT disk/releases {releases}\n\
         tar -xpf {mount_point}/work.tar -C {}\n",
        create_folder(folder),
        quote(folder),
    )
}

/// Returns shell code that creates `folder`, on a tmpfs if it is [`GUEST_WORK`].
fn create_folder(folder: &str) -> String {
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

fn upload_error(stop: Stop) -> SshError {
    let lost = |why| SshError::Lost {
        what: "upload".to_owned(),
        why,
    };
    match stop {
        Stop::Broken(why) => lost(why),
        Stop::Deadline | Stop::OutputLimit => {
            lost("the machine does not accept more data".to_owned())
        }
        Stop::Cancelled => Interrupted.into(),
    }
}

struct Progress<'a> {
    upload: &'a Upload,
    done_bytes: u64,
    last_report: Instant,
}

impl<'a> Progress<'a> {
    fn new(upload: &'a Upload) -> Self {
        Self {
            upload,
            done_bytes: 0,
            last_report: Instant::now(),
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.done_bytes += bytes;
        if self.last_report.elapsed() >= PROGRESS_INTERVAL {
            self.last_report = Instant::now();
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

/// The remote `tar`.
struct Remote<'a> {
    link: &'a mut Link,
    channel: ssh2::Channel,
    cancel: &'a Cancel,
    output: Output,
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
            deadline: Instant::now() + link.timeouts.stall,
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
            output: Output::last_lines(scrubber),
            stop: None,
        })
    }

    fn until(&self) -> Until<'a> {
        Until {
            deadline: Instant::now() + self.link.timeouts.stall,
            cancel: self.cancel,
        }
    }

    /// Reads the available output of the remote command. It prints only errors.
    fn read_output(&mut self) -> Result<(), Stop> {
        let mut buffer = [0; 4096];
        loop {
            match self.channel.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.output.push(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Stop::Broken(error.to_string())),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let until = self.until();
        // Checked here as well, because a fast peer never makes this call `pause`.
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
                self.read_output()?;
                if self.channel.eof() {
                    return Ok(0);
                }
            }
            self.link.pause(until)?;
        }
    }

    /// Ends the stream. Returns the remote command's exit status and last lines.
    fn finish(mut self) -> Result<(i32, Vec<String>), Stop> {
        let until = self.until();
        if !self.channel.eof() {
            self.link.retry(until, |_| self.channel.send_eof())?;
        }
        while !self.channel.eof() {
            self.read_output()?;
            if !self.channel.eof() {
                self.link.pause(until)?;
            }
        }
        self.link.retry(until, |_| self.channel.wait_close())?;
        let exit = match self.channel.exit_signal()?.exit_signal {
            Some(_) => 128,
            None => self.channel.exit_status()?,
        };
        // Both sides have ended the channel, so a failure has no effect.
        let _ = self.channel.close();
        Ok((exit, self.output.last()))
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
