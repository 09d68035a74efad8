//! A builder whose VMs start at once: each is an `sshd` on 127.0.0.1.
//! Commands over SSH run on the host, in a temporary folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use vault_bake::builder::{
    AccessBy, Artifact, Boot, Builder, BuilderError, Captured, CapturedFile, Content, Disk,
    DiskFile, EndCause, Layer, LayerFile, LayerOrigin, Machine, MachineEnd, Resumed,
};
use vault_bake::definition::Firmware;
use vault_bake::definition::platform::PlannedBase;
use vault_bake::digest::Digest;
use vault_bake::event::{Events, Stage};
use vault_bake::process::{Program, Running};
use vault_bake::secret::Secret;
use vault_bake::ssh::Endpoint;
use vault_bake::teardown::{Teardown, Undo};
use vault_bake::wait::Interrupt;

use crate::sshd;

/// Makes fake VMs, and fails at a given stage.
pub struct FakeBuilder {
    /// The folder of the base disk.
    pub cache: PathBuf,
    /// The stage that fails.
    pub fails_at: Option<Stage>,
    /// The content of a captured disk, made from the private host key of the VM.
    pub captured: fn(&str) -> String,
    /// Whether it keeps cache entries. Its VMs have no disk, so an entry is only its record.
    pub layers: bool,
    /// The VM snapshot that its build VMs report.
    pub resumed: Option<Resumed>,
    /// How the VM of a role ends at its first, second … start. `None`: it runs until it is dropped.
    pub ends: Option<fn(&str, u32) -> Option<Ending>>,
    /// Number of starts, by role.
    pub starts: Mutex<BTreeMap<String, u32>>,
}

/// The end of a fake VM.
#[derive(Clone, Copy)]
pub struct Ending {
    /// The moment of the end.
    pub at: EndAt,
    /// The cause of the end.
    pub by: EndCause,
}

/// The moment at which a fake VM ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndAt {
    /// Before the builder returns the VM.
    Start,
    /// Before SSH answers.
    Boot,
    /// When a script writes the file [`gone`]; the connection ends too.
    Work,
}

/// Returns the path of the file that ends VMs with [`Moment::Work`].
pub fn gone_file(cache: &Path) -> PathBuf {
    cache.with_file_name("gone")
}

/// Returns a script that ends its VM and its connection.
pub fn gone_script(cache: &Path) -> String {
    let gone = gone_file(cache).display().to_string();
    // The nearest `sshd` among the parents serves the connection.
    format!(
        "touch {gone}\npid=$$\nuntil grep -q ^sshd /proc/$pid/comm; do pid=$(awk '{{print $4}}' /proc/$pid/stat); done\nkill -KILL $pid\nsleep 5\n"
    )
}

/// A fake VM, which ends when dropped.
pub struct FakeMachine {
    process: Running,
    resumed: Option<Resumed>,
    ending: Option<Ending>,
    gone: PathBuf,
    endpoint: Endpoint,
    host_key: Secret,
}

impl FakeBuilder {
    fn check(&self, stage: Stage) -> Result<(), BuilderError> {
        if self.fails_at == Some(stage) {
            return Err(BuilderError::TimedOut(format!("{stage} was told to fail")));
        }
        Ok(())
    }
}

impl FakeBuilder {
    fn layer_of(&self, key: &Digest) -> PathBuf {
        self.cache.join("fake-layers").join(key.hex())
    }
}

impl Builder for FakeBuilder {
    type Machine = FakeMachine;

    fn name(&self) -> &'static str {
        "fake"
    }

    async fn base(
        &self,
        _base: &PlannedBase,
        _teardown: &mut Teardown,
        _events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<Disk, BuilderError> {
        self.check(Stage::Base)?;
        let path = self.cache.join("base.raw");
        fs::create_dir_all(&self.cache)
            .and_then(|()| fs::write(&path, "a base"))
            .map_err(|error| BuilderError::File {
                path: path.clone(),
                error,
            })?;
        let file = DiskFile {
            path,
            format: "raw".to_owned(),
            sha256: Digest::hash_bytes("a base"),
        };
        Ok(Disk {
            content: Content::File(file),
            firmware: Firmware::Bios,
            access: AccessBy::Credentials,
            kernel: None,
        })
    }

    async fn find_layer(
        &self,
        _disk: &Disk,
        keys: &[Digest],
        _now: Timestamp,
        _interrupt: &Interrupt,
    ) -> Result<Option<Layer>, BuilderError> {
        let read = |key: &Digest| {
            let bytes = fs::read(self.layer_of(key)).ok()?;
            let made = serde_json::from_slice(&bytes).ok()?;
            Some(LayerFile {
                made,
                sha256: Digest::hash_bytes(bytes),
            })
        };
        let files: Vec<LayerFile> = keys.iter().map_while(read).collect();
        let last = files.last().map(|file| self.layer_of(&file.made.key));
        Ok(last.map(|disk| Layer::new(disk, files)))
    }

    fn can_cache_layers(&self, _disk: &Disk) -> bool {
        self.layers
    }

    async fn cache_layer(
        &self,
        _machine: &mut FakeMachine,
        made: LayerOrigin,
        _interrupt: &Interrupt,
    ) -> Result<(), BuilderError> {
        let path = self.layer_of(&made.key);
        let folder = path.parent().expect("a folder");
        let bytes = serde_json::to_vec(&made).expect("JSON");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| BuilderError::File { path, error })
    }

    async fn discard_layers(
        &self,
        _machine: Option<&mut FakeMachine>,
        run: &str,
    ) -> Result<(), BuilderError> {
        let folder = self.cache.join("fake-layers");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let made = fs::read(entry.path()).ok();
            let made = made.and_then(|bytes| serde_json::from_slice::<LayerOrigin>(&bytes).ok());
            if made.is_some_and(|made| made.run == run) {
                fs::remove_file(entry.path()).map_err(|error| BuilderError::File {
                    path: entry.path(),
                    error,
                })?;
            }
        }
        Ok(())
    }

    async fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        _events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<FakeMachine, BuilderError> {
        let stage = if boot.role == "test" {
            Stage::Test
        } else {
            Stage::Boot
        };
        self.check(stage)?;
        let start = {
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            let start = starts.entry(boot.role.to_owned()).or_default();
            *start += 1;
            *start
        };
        assert_eq!(boot.is_retry, start == 2, "a second start is marked as one");
        let ending = self.ends.and_then(|ends| ends(boot.role, start));
        if let Some(Ending {
            at: EndAt::Start,
            by,
        }) = ending
        {
            return Err(BuilderError::Died {
                machine: boot.role.to_owned(),
                end: Box::new(end(by)),
            });
        }
        // An earlier VM of this role may have left its folder.
        let _ = fs::remove_dir_all(teardown.work().join(boot.role));
        let at = teardown.work().join(boot.role);
        fs::create_dir(&at).map_err(|error| BuilderError::File {
            path: at.clone(),
            error,
        })?;
        let address = ([127, 0, 0, 1], sshd::free_port()).into();
        let (host, user) = (boot.keys.host_private.expose(), &boot.keys.user_public);
        let config = sshd::prepare(&at, host, user, address);
        teardown.register(Undo::Process {
            marker: config.display().to_string(),
        })?;
        if self.fails_at == Some(Stage::Cleanup) && stage == Stage::Boot {
            // A folder cannot be deleted as a file, so this undo cannot succeed.
            teardown.register(Undo::File {
                path: self.cache.clone(),
            })?;
        }
        // sshd overwrites its arguments. Its parent, a shell, keeps the marker and the process
        // group.
        let process = Program::new("sh")
            .args(["-c", "/usr/sbin/sshd -D -e -f \"$0\"; exit $?"])
            .arg(config)
            .start()?;
        Ok(FakeMachine {
            process,
            resumed: self.resumed.clone().filter(|_| boot.role == "build"),
            ending,
            gone: gone_file(&self.cache),
            endpoint: sshd::endpoint(address),
            host_key: boot.keys.host_private.clone(),
        })
    }

    async fn capture(
        &self,
        machine: FakeMachine,
        to: PathBuf,
        _teardown: &mut Teardown,
        _events: &Events,
        _interrupt: &Interrupt,
    ) -> Result<Captured, BuilderError> {
        let content = (self.captured)(machine.host_key.expose());
        drop(machine);
        self.check(Stage::Capture)?;
        let raw = to.with_file_name("captured.raw");
        for path in [&to, &raw] {
            fs::write(path, &content).map_err(|error| BuilderError::File {
                path: path.clone(),
                error,
            })?;
        }
        Ok(Captured {
            raw: Some(raw),
            artifact: Artifact::File(CapturedFile {
                path: to,
                format: "qcow2".to_owned(),
                sha256: Digest::hash_bytes(&content),
                size_bytes: content.len() as u64,
                virtual_size_bytes: content.len() as u64,
            }),
        })
    }
}

fn end(by: EndCause) -> MachineEnd {
    MachineEnd {
        cause: by,
        details: "its last words".to_owned(),
    }
}

impl Machine for FakeMachine {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn resumed(&self) -> Option<&Resumed> {
        self.resumed.as_ref()
    }

    fn end(&mut self) -> Option<MachineEnd> {
        match self.ending {
            Some(Ending { at, by }) if at == EndAt::Boot || self.gone.exists() => Some(end(by)),
            _ => {
                let status = self.process.exit_status()?;
                Some(end(EndCause::Exit(status.code().unwrap_or_default())))
            }
        }
    }

    async fn console(&self) -> Vec<String> {
        self.process.last_lines()
    }

    fn detach(self) {
        self.process.detach();
    }
}
