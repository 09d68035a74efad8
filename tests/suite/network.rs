//! Futures in a network namespace: their sockets, their end, and the end of the thread.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use vault_bake::event::Events;
use vault_bake::network::Network;
use vault_bake::process::{Program, Running};
use vault_bake::wait::{Interrupt, Poll, Wait};

/// A process in a network namespace of its own, whose loopback interface is up.
struct Namespace {
    process: Running,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Namespace {
    /// Starts the process. Prints a reason and returns `None` if that is not possible.
    async fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return skip("a network namespace needs root");
        }
        let probe = Program::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]);
        if let Err(error) = probe.run(&Interrupt::default()).await {
            return skip(&format!("no network namespace: {error}"));
        }
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let script = "ip link set lo up && touch \"$0\" && exec sleep 300";
        let process = Program::new("unshare")
            .args(["-n", "sh", "-c", script])
            .arg(&ready)
            .start()
            .unwrap();
        wait("the namespace", || async { ready.exists() }).await;
        let path = PathBuf::from(format!("/proc/{}/ns/net", process.pid().unwrap()));
        Some(Self {
            process,
            path,
            _folder: folder,
        })
    }

    fn enter(&self) -> Network {
        Network::namespace(&self.path).unwrap()
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip<T>(reason: &str) -> Option<T> {
    eprintln!("SKIPPED: {reason}");
    None
}

async fn wait<F: Future<Output = bool>>(what: &str, done: impl Fn() -> F) {
    Wait::new(what, Duration::from_secs(20))
        .until(&Events::silent(), &Interrupt::default(), || async {
            match done().await {
                true => Poll::<_, String>::Ready(()),
                false => Poll::NotYet("not yet".to_owned()),
            }
        })
        .await
        .unwrap();
}

/// Returns the namespace of the thread that asks.
fn own_namespace() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").unwrap()
}

/// Returns the number of threads of namespaces.
fn threads() -> usize {
    let names = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    let is_ours = |name: &String| name.trim() == "network";
    names
        .filter_map(|task| name(task.ok()?).ok())
        .filter(is_ours)
        .count()
}

async fn greet(address: SocketAddr) -> Result<String, std::io::Error> {
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    let mut text = String::new();
    connection.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_server_in_a_namespace_is_reached_from_there_only() {
    let Some(namespace) = Namespace::start().await else {
        return;
    };
    let server = namespace.enter();
    let address = server
        .run(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                while let Ok((mut connection, _)) = listener.accept().await {
                    let _ = connection.write_all(b"from inside").await;
                }
            });
            address
        })
        .await;
    let client = namespace.enter();
    assert_eq!(client.run(greet(address)).await.unwrap(), "from inside");
    let refused = Network::host().run(greet(address)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    // A server of the host is not reached from the namespace.
    let host = testing::network::server(|mut connection: TcpStream| {
        let _ = connection.write_all(b"from the host");
        let _ = connection.read(&mut [0]);
    });
    let refused = client.run(greet(host)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn only_the_thread_of_a_network_is_in_the_namespace() {
    let Some(namespace) = Namespace::start().await else {
        return;
    };
    let before = own_namespace();
    let network = namespace.enter();
    let inside = network.run(async { own_namespace() }).await;
    assert_eq!(inside, fs::read_link(&namespace.path).unwrap());
    assert_ne!(inside, before);
    let blocking = async { tokio::task::spawn_blocking(own_namespace).await.unwrap() };
    assert_eq!(network.run(blocking).await, inside);
    let host = Network::host().run(async { own_namespace() }).await;
    assert_eq!((own_namespace(), host), (before.clone(), before));
}

#[tokio::test]
async fn work_ends_with_its_future_and_the_thread_with_the_last_clone() {
    let Some(namespace) = Namespace::start().await else {
        return;
    };
    let network = namespace.enter();
    assert_eq!(threads(), 1);
    let (alive, ended) = oneshot::channel::<()>();
    let (started, start) = oneshot::channel();
    let endless = network.run(async move {
        started.send(()).unwrap();
        std::future::pending::<()>().await;
        drop(alive);
    });
    tokio::select! {
        () = endless => panic!("it has no end"),
        begun = start => begun.unwrap(),
    }
    ended.await.unwrap_err();

    let panics = network.clone();
    let task = tokio::spawn(async move { panics.run(async { panic!("of the work") }).await });
    let panic = task.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the work"));
    assert_eq!(network.run(async { 7 }).await, 7);

    let clone = network.clone();
    drop(network);
    assert_eq!(clone.run(async { 8 }).await, 8);
    // The last clone may also be dropped by work in the namespace.
    let last = clone.clone();
    clone.run(async move { drop(last) }).await;
    drop(clone);
    wait("the end of the thread", || async { threads() == 0 }).await;
}

#[tokio::test]
async fn a_namespace_that_cannot_be_entered_is_an_error() {
    let failed = |path: &Path| Network::namespace(path).err().unwrap();
    let missing = failed(Path::new("/nonexistent/net"));
    assert_eq!(
        missing.to_string(),
        "cannot enter the network namespace /nonexistent/net: No such file or directory (os error 2)"
    );
    assert!(missing.hint().unwrap().starts_with("Start the cluster"));
    for path in ["/dev/null", "/proc/self/ns/uts"] {
        let error = failed(Path::new(path)).to_string();
        assert!(error.starts_with("cannot enter the network"), "{error}");
    }
    if let Some(mut namespace) = Namespace::start().await {
        namespace.process.kill().await;
        assert!(failed(&namespace.path).hint().is_some());
    }
    wait("the end of the threads", || async { threads() == 0 }).await;
}
