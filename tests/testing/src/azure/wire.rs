//! An HTTPS server on loopback with its own certificate authority and one thread for each connection.
//!
//! It supports keep-alive and resets without an answer. Handlers interpret the requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod, SslStream};
use openssl::x509::X509;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::answer::Reply;

/// A received request.
pub struct Incoming {
    pub method: String,
    /// Path and query, not decoded.
    pub target: String,
    /// The headers by name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// The fate of a connection after a request.
pub enum Outgoing {
    Answer(Reply),
    /// The connection is reset without an answer.
    Reset,
}

pub type Handler = Arc<dyn Fn(Incoming) -> Outgoing + Send + Sync>;

/// A server, which runs until it is dropped.
pub struct Wire {
    pub address: SocketAddr,
    /// The certificate authority of the server, in PEM.
    pub ca_pem: String,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

/// A bound port that is not served yet.
pub struct Bound {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Bound {
    pub fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        Self { listener, address }
    }

    pub fn serve(self, handler: Handler) -> Wire {
        let (acceptor, ca_pem) = identity();
        let stop = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let wire = Wire {
            address: self.address,
            ca_pem,
            stop: stop.clone(),
            open: open.clone(),
        };
        thread::spawn(move || {
            for stream in self.listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                if let Ok(copy) = stream.try_clone() {
                    open.lock().expect("the list of connections").push(copy);
                }
                let (acceptor, handler) = (acceptor.clone(), handler.clone());
                thread::spawn(move || {
                    let Ok(copy) = stream.try_clone() else { return };
                    if let Ok(stream) = acceptor.accept(stream) {
                        // A client may disconnect at any time.
                        let _ = converse(stream, &handler);
                    }
                    let _ = copy.shutdown(Shutdown::Both);
                });
            }
        });
        wire
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Ok(open) = self.open.lock() {
            for stream in open.iter() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// Serves the requests of one connection in sequence.
fn converse(stream: SslStream<TcpStream>, handler: &Handler) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(incoming) = read(&mut stream)? {
        let last = incoming
            .headers
            .get("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let head = incoming.method == "HEAD";
        match handler(incoming) {
            Outgoing::Answer(reply) => write(stream.get_mut(), &reply, head)?,
            Outgoing::Reset => return reset(stream.get_ref().get_ref()),
        }
        if last {
            break;
        }
    }
    Ok(())
}

/// Closes a connection with a reset, which tokio supports and the standard library does not.
fn reset(stream: &TcpStream) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _inside = runtime.enter();
    let copy = stream.try_clone()?;
    copy.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(copy)?.set_zero_linger()
}

fn read(stream: &mut BufReader<SslStream<TcpStream>>) -> io::Result<Option<Incoming>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other("not a request line"));
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers
        .get("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = headers.get("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        stream.take(length).read_to_end(&mut body)?;
    }
    Ok(Some(Incoming {
        method,
        target,
        headers,
        body,
    }))
}

fn read_chunks(stream: &mut BufReader<SslStream<TcpStream>>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16).map_err(io::Error::other)?;
        stream.by_ref().take(length).read_to_end(body)?;
        stream.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn write(stream: &mut SslStream<TcpStream>, reply: &Reply, head: bool) -> io::Result<()> {
    // A plain string is the content of a blob, not JSON.
    let body = reply.body.as_ref().map(|body| match body.as_str() {
        Some(text) => (text.to_owned(), "text/plain"),
        None => (body.to_string(), "application/json"),
    });
    let mut text = format!("HTTP/1.1 {} -\r\n", reply.status);
    for (name, value) in &reply.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if let Some((body, media)) = &body {
        let length = body.len();
        let _ = write!(text, "content-type: {media}; charset=utf-8\r\n");
        let _ = write!(text, "content-length: {length}\r\n\r\n");
        if !head {
            text.push_str(body);
        }
    } else if reply.status == 204 {
        text.push_str("\r\n");
    } else {
        text.push_str("content-length: 0\r\n\r\n");
    }
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Creates a certificate for loopback and its certificate authority.
fn identity() -> (SslAcceptor, String) {
    let mut params = CertificateParams::new([]).expect("parameters");
    let name = "Simulated Azure authority";
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("an authority");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, "ARM");
    let own = [127, 0, 0, 1].into();
    params.subject_alt_names.push(SanType::IpAddress(own));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("a key");
    let leaf = params.signed_by(&key, &authority).expect("a certificate");
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("TLS");
    let key = PKey::private_key_from_pem(key.serialize_pem().as_bytes()).expect("a key");
    let leaf = X509::from_pem(leaf.pem().as_bytes()).expect("a certificate");
    acceptor.set_private_key(&key).expect("a key");
    acceptor.set_certificate(&leaf).expect("a certificate");
    (acceptor.build(), authority.pem())
}
