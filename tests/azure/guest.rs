//! A guest for a virtual machine of the simulator: a real `sshd` at the machine's own loopback address, with the host key
//! and the user's key that the machine's custom data brings. What a bake does over SSH happens for real.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use super::simulator::machines::{Machines, Spec};

/// A server that runs until it is dropped.
pub struct Guest {
    folder: TempDir,
    listener: Child,
}

impl Guest {
    /// Starts a server at `address` and `port` that is what `custom_data`, cloud-init's configuration, says.
    pub fn start(custom_data: &str, address: IpAddr, port: u16) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("vault-bake-guest-")
            .tempdir()
            .expect("a temporary folder");
        let at = folder.path();
        write(&at.join("host_key"), &file(custom_data, "host_key"));
        write(&at.join("authorized_keys"), &file(custom_data, "authorized_keys"));
        let shown = at.display();
        // The home is an empty one: what the shell of whoever runs the tests does at its start is no part of them.
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {shown}/host_key\nAuthorizedKeysFile {shown}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nMaxStartups 200\nLogLevel VERBOSE\nSetEnv HOME={shown}\n"
        );
        write(&at.join("sshd_config"), &config);
        // sshd refuses to start without it as root, and distributions make it only when the service starts.
        let _ = fs::DirBuilder::new().mode(0o755).create("/run/sshd");
        let log = fs::File::create(at.join("log")).expect("a log file");
        let listener = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts: is openssh-server installed?");
        Self { folder, listener }
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

/// Guests for all virtual machines of a simulator.
#[derive(Default)]
pub struct Guests {
    running: Mutex<HashMap<String, (Spec, Option<Guest>)>>,
}

impl Guests {
    fn with<T>(&self, id: &str, work: impl FnOnce(&mut (Spec, Option<Guest>)) -> T) -> Result<T, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let guest = running.get_mut(id).ok_or_else(|| format!("no machine {id}"))?;
        Ok(work(guest))
    }
}

impl Machines for Guests {
    fn create(&self, spec: &Spec) -> Result<(), String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(spec.id.clone(), (spec.clone(), None));
        drop(running);
        self.start(&spec.id)
    }

    fn start(&self, id: &str) -> Result<(), String> {
        self.with(id, |(spec, guest)| {
            let custom_data = String::from_utf8_lossy(&spec.custom_data);
            *guest = spec.ssh.map(|at| Guest::start(&custom_data, at.ip(), at.port()));
        })
    }

    fn stop(&self, id: &str) -> Result<(), String> {
        self.with(id, |(_, guest)| drop(guest.take()))
    }

    fn capture(&self, _id: &str, _image: &str) -> Result<Option<PathBuf>, String> {
        Ok(None)
    }

    fn delete(&self, id: &str) {
        // It may be gone already.
        let _ = self.stop(id);
    }

    fn discard(&self, id: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(id);
    }

    fn serial_log(&self, id: &str) -> String {
        let log = self.with(id, |(_, guest)| guest.as_ref().map(Guest::log));
        log.ok().flatten().unwrap_or_default()
    }
}

/// The content of the file that `custom_data` has written under this name.
fn file(custom_data: &str, name: &str) -> String {
    let config = custom_data
        .strip_prefix("#cloud-config\n")
        .expect("cloud-init reads what begins so");
    let config: Value = serde_json::from_str(config).expect("JSON is YAML");
    let files = config["write_files"].as_array().expect("files");
    let mut wanted = files.iter().filter(|file| {
        let path = file["path"].as_str().unwrap_or_default();
        path.ends_with(&format!("/{name}"))
    });
    let content = wanted.next().expect("the file")["content"].as_str();
    let bytes = openssl::base64::decode_block(content.expect("text")).expect("base64");
    String::from_utf8(bytes).expect("text")
}

fn write(path: &Path, text: &str) {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", text.trim_end()))
        .expect("a file in a temporary folder");
}
