//! A TLS server that answers as Vault does, and a client that verifies it.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslConnector, SslMethod, SslStream};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};

const VAULT_NAME: &str = "vault.service.consul";

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name = common_name("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }
}

/// A certificate whose subject is its issuer would count as self-signed.
fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// What the threads of a node share.
struct State {
    name: String,
    /// The status of its health without parameters.
    status: AtomicU16,
    requests: AtomicUsize,
    is_dead: AtomicBool,
    is_cut_off: AtomicBool,
    connections: Mutex<HashMap<usize, TcpStream>>,
}

/// A server with the certificate of a node.
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    acceptor: SslAcceptor,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node whose `/v1/sys/health` answers `status` if it has no parameters.
    pub fn start(name: &str, status: u16, authority: &Authority) -> Self {
        Self::make(name, status, VAULT_NAME, authority)
    }

    /// Starts an active node with a certificate for another name.
    pub fn named(name: &str, certified: &str, authority: &Authority) -> Self {
        Self::make(name, 200, certified, authority)
    }

    fn make(name: &str, status: u16, certified: &str, authority: &Authority) -> Self {
        let names = vec![certified.to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name = common_name(name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority.0).expect("a certificate");
        // TLS 1.3 alone, as the shipped image has it.
        let mut acceptor =
            SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).expect("an acceptor");
        let pem = certificate.pem();
        let read = X509::from_pem(pem.as_bytes()).expect("a certificate");
        acceptor.set_certificate(&read).expect("its certificate");
        let key = PKey::private_key_from_pem(key.serialize_pem().as_bytes()).expect("a key");
        acceptor.set_private_key(&key).expect("its key");
        let mut node = Self {
            name: name.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: read.to_der().expect("a certificate"),
            acceptor: acceptor.build(),
            state: Arc::new(State {
                name: name.to_owned(),
                status: AtomicU16::new(status),
                requests: AtomicUsize::new(0),
                is_dead: AtomicBool::new(true),
                is_cut_off: AtomicBool::new(false),
                connections: Mutex::default(),
            }),
            accepting: None,
        };
        node.start_again();
        node
    }

    /// Listens on its address, which is a free one at the first time.
    pub fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).expect("a port");
        self.address = listener.local_addr().expect("an address");
        self.state.is_dead.store(false, Ordering::SeqCst);
        let (state, acceptor) = (Arc::clone(&self.state), self.acceptor.clone());
        self.accepting = Some(thread::spawn(move || accept(&listener, &acceptor, &state)));
    }

    pub fn set_status(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// From now on it does not close connections that its clients close, as without a network.
    pub fn cut_off(&self) {
        self.state.is_cut_off.store(true, Ordering::SeqCst);
    }

    /// Returns how many requests it answered, other than for its health.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Ends as a killed process does: nothing listens, and connections are closed.
    pub fn kill(&mut self) {
        self.state.is_dead.store(true, Ordering::SeqCst);
        // Ends the wait for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for (_, connection) in connections(&self.state).drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn connections(state: &State) -> std::sync::MutexGuard<'_, HashMap<usize, TcpStream>> {
    let connections = state.connections.lock();
    connections.unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, acceptor: &SslAcceptor, state: &Arc<State>) {
    for (number, connection) in listener.incoming().enumerate() {
        if state.is_dead.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let Ok(handle) = connection.try_clone() else {
            continue;
        };
        connections(state).insert(number, handle);
        let (acceptor, state) = (acceptor.clone(), Arc::clone(state));
        thread::spawn(move || {
            // A client that goes away ends its connection.
            let _ = serve(connection, &acceptor, &state);
            if !state.is_cut_off.load(Ordering::SeqCst) {
                connections(&state).remove(&number);
            }
        });
    }
}

/// Answers requests without a body until the client closes the connection.
fn serve(connection: TcpStream, acceptor: &SslAcceptor, state: &State) -> io::Result<()> {
    let stream = acceptor.accept(connection).map_err(io::Error::other)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while stream.read_line(&mut header)? > 2 {
            header.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let status = match path.strip_prefix("/v1/sys/health") {
            Some(parameters) => {
                let has = |name: &str| parameters.split(['?', '&']).any(|given| given == name);
                match state.status.load(Ordering::SeqCst) {
                    429 if has("standbyok=true") => 200,
                    473 if has("perfstandbyok=true") => 200,
                    status => status,
                }
            }
            None => {
                state.requests.fetch_add(1, Ordering::SeqCst);
                200
            }
        };
        let (name, length) = (&state.name, state.name.len());
        let answer = format!("HTTP/1.1 {status} Any\r\nContent-Length: {length}\r\n\r\n{name}");
        stream.get_mut().write_all(answer.as_bytes())?;
    }
}

/// A connection that has verified the name and the authority of its node.
pub struct Client(BufReader<SslStream<TcpStream>>);

impl Client {
    pub fn connect(address: SocketAddr, authority: &str) -> io::Result<Self> {
        let mut store = X509StoreBuilder::new()?;
        store.add_cert(X509::from_pem(authority.as_bytes())?)?;
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_cert_store(store.build());
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let stream = connector.build().connect(VAULT_NAME, stream);
        Ok(Self(BufReader::new(stream.map_err(io::Error::other)?)))
    }

    /// Sends a request, and returns the name of the node that answers.
    pub fn ask(&mut self) -> io::Result<String> {
        let request = "GET /v1/secret/key HTTP/1.1\r\nHost: vault\r\n\r\n";
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut name = vec![0; length];
        self.0.read_exact(&mut name)?;
        String::from_utf8(name).map_err(io::Error::other)
    }

    /// Returns the certificate of the node, DER.
    pub fn certificate(&self) -> Vec<u8> {
        let certificate = self.0.get_ref().ssl().peer_certificate();
        certificate
            .expect("a certificate")
            .to_der()
            .expect("a certificate")
    }

    /// Returns its own port.
    pub fn port(&self) -> u16 {
        let address = self.0.get_ref().get_ref().local_addr();
        address.expect("an address").port()
    }
}
