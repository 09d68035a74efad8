//! An `sshd` on 127.0.0.1 in place of a VM, with its own host key and authorized key. It ends when
//! dropped.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use std::io::Write as _;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use vault_bake::ssh::{Endpoint, Keys};

/// A server that ends with its connections when dropped.
pub struct Sshd {
    /// The address of the server.
    pub address: SocketAddr,
    folder: TempDir,
    listener: Child,
}

impl Sshd {
    /// Starts a server with the host key of `keys` that accepts their user key.
    pub fn start(keys: &Keys) -> Self {
        // Another process may take the free port first. The server then ends at once.
        for _ in 0..5 {
            let mut server = Self::start_at(keys, free_port());
            if server.listens() {
                return server;
            }
        }
        panic!("sshd does not listen: is openssh-server installed?")
    }

    /// Starts a server on a given port without waiting for it.
    pub fn start_at(keys: &Keys, port: u16) -> Self {
        let (host, user) = (keys.host_private.expose(), &keys.user_public);
        Self::start_with(host, user, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Starts a server with this host key that accepts this user key, without waiting for it.
    pub fn start_with(host_private: &str, user_public: &str, address: SocketAddr) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("vault-bake-sshd-")
            .tempdir()
            .expect("a temporary folder");
        let at = folder.path();
        let config = prepare(at, host_private, user_public, address);
        let log = fs::File::create(at.join("log")).expect("a log file");
        #[expect(
            clippy::disallowed_methods,
            reason = "the server must start outside of an async runtime too"
        )]
        let listener = std::process::Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts: is openssh-server installed?");
        Self {
            address,
            folder,
            listener,
        }
    }

    /// Returns the endpoint for a login as the user that runs the tests.
    pub fn endpoint(&self) -> Endpoint {
        endpoint(self.address)
    }

    /// Returns the log of the server.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills the processes of all connections; the server still listens.
    pub fn drop_connections(&self) {
        for pid in children(self.listener.id()) {
            for pid in children(pid.as_raw_nonzero().get() as u32) {
                // With privilege separation, the process that serves the client is a child of a
                // monitor.
                if is_sshd(pid) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    fn listens(&mut self) -> bool {
        let began = std::time::Instant::now();
        while began.elapsed().as_secs() < 10 {
            if std::net::TcpStream::connect(self.address).is_ok() {
                return matches!(self.listener.try_wait(), Ok(None));
            }
            if !matches!(self.listener.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.drop_connections();
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

/// Writes the files of a server into the folder `at`. Returns the path of its configuration.
pub fn prepare(at: &Path, host_private: &str, user_public: &str, address: SocketAddr) -> PathBuf {
    write_private(&at.join("host_key"), host_private);
    write_private(&at.join("authorized_keys"), user_public);
    write_private(&at.join("sshd_config"), &config(at, address));
    if rustix::process::geteuid().is_root() {
        // As root, sshd needs this folder, which distributions make only when the service starts.
        let _ = fs::DirBuilder::new().mode(0o755).create("/run/sshd");
    }
    at.join("sshd_config")
}

/// Returns the endpoint for a login at `address` as the user that runs the tests.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        user: own_name(),
    }
}

/// Returns a port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

/// The home folder is empty, so that start files of the user's shell have no effect.
fn config(at: &Path, address: SocketAddr) -> String {
    let (at, ip, port) = (at.display(), address.ip(), address.port());
    format!(
        "Port {port}\nListenAddress {ip}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
         PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nMaxStartups 200\nLogLevel VERBOSE\nSubsystem sftp internal-sftp\nSetEnv HOME={at}\n"
    )
}

fn write_private(path: &Path, text: &str) {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", text.trim_end()))
        .expect("a file in a temporary folder");
}

pub fn own_name() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let own = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| fields[0].to_owned())
    });
    own.expect("the user has a name")
}

fn is_sshd(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
        .is_ok_and(|name| name.trim().starts_with("sshd"))
}

fn children(parent: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("a proc file system");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            (rest.split(' ').nth(1)? == parent.to_string()).then_some(pid)
        })
        .collect()
}
