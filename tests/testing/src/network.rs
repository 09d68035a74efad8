//! Servers that misbehave, and a proxy whose connections can be cut or go quiet.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Listens, and runs `each` with every connection on its own thread.
pub fn server(each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    server_at([127, 0, 0, 1], each)
}

fn server_at(host: [u8; 4], each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from((host, 0))).expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let each = Arc::new(each);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(connection));
        }
    });
    address
}

/// Starts a server that accepts and closes, as QEMU's user network does if no process of the VM
/// listens.
pub fn closing() -> SocketAddr {
    server(drop)
}

/// Starts a server that accepts and sends nothing.
pub fn silent() -> SocketAddr {
    server(|mut connection| {
        let _ = connection.read_to_end(&mut Vec::new());
    })
}

/// Starts a server that sends an SSH banner and then random text.
pub fn babbling() -> SocketAddr {
    server(|mut connection| {
        let _ = connection.write_all(b"SSH-2.0-Babble\r\n");
        let _ = connection.write_all(&[b'?'; 4096]);
        let _ = connection.read_to_end(&mut Vec::new());
    })
}

/// A proxy to a real server.
pub struct Proxy {
    /// The address for clients.
    pub address: SocketAddr,
    quiet: Arc<AtomicBool>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Starts a proxy to `server`.
    pub fn to(server: SocketAddr) -> Self {
        Self::from([127, 0, 0, 1], server)
    }

    /// Starts a proxy from a loopback address to `server`.
    pub fn from(local: [u8; 4], server: SocketAddr) -> Self {
        let quiet = Arc::new(AtomicBool::new(false));
        let ends: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (is_quiet, opened) = (Arc::clone(&quiet), Arc::clone(&ends));
        let address = server_at(local, move |client| {
            let Ok(server) = TcpStream::connect(server) else {
                return;
            };
            let pairs = [(&client, &server), (&server, &client)].map(|(from, to)| {
                let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
                (clone(from), clone(to))
            });
            opened
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend([client, server]);
            let threads = pairs.map(|(from, to)| {
                let quiet = Arc::clone(&is_quiet);
                thread::spawn(move || forward(from, to, &quiet))
            });
            for forwarding in threads {
                let _ = forwarding.join();
            }
        });
        Self {
            address,
            quiet,
            ends,
        }
    }

    /// Forwards no more data, and stays connected.
    pub fn go_quiet(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        for end in self
            .ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, quiet: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        if !quiet.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
