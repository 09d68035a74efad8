//! A TLS server whose answers a test chooses, and certificates for it.

use std::io::{self, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::ssl::{HandshakeError, SslAcceptor, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use vault_bake::identity::Leaf;
use vault_bake::network::Network;
use vault_bake::product::{Endpoint, TlsMaterial, consul, vault};
use vault_bake::secret::Secret;

pub const NAME: &str = "server.dc1.consul";

/// An authority that issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = called("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate that ends on the first day of a year.
    pub fn issue(&self, name: &str, end: i32) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = called(name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(end, 1, 1);
        let key = KeyPair::generate().unwrap();
        Leaf {
            certificate_pem: params.signed_by(&key, &self.0).unwrap().pem(),
            key_pem: Secret::new(key.serialize_pem()),
        }
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

pub type Connection = SslStream<TcpStream>;

/// A server that records its requests.
pub struct MockServer {
    pub address: SocketAddr,
    pub ca_pem: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl MockServer {
    /// Starts a server that runs `respond` with each request.
    pub fn start(respond: impl Fn(&str, &mut Connection) + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let leaf = authority.issue(NAME, 2099);
        Self::start_with(&authority.pem(), &leaf, None, respond)
    }

    /// Starts a server that answers each request with a status and a body.
    pub fn answering(status: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::start(move |_, to| answer(to, status, &[], &body))
    }

    /// Starts a server with a certificate, and an authority that clients must have.
    pub fn start_with(
        ca_pem: &str,
        leaf: &Leaf,
        clients: Option<&Authority>,
        respond: impl Fn(&str, &mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        let key = PKey::private_key_from_pem(leaf.key_pem.expose().as_bytes()).unwrap();
        let certificate = X509::from_pem(leaf.certificate_pem.as_bytes()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        if let Some(clients) = clients {
            let mut store = X509StoreBuilder::new().unwrap();
            let authority = X509::from_pem(clients.pem().as_bytes()).unwrap();
            store.add_cert(authority).unwrap();
            acceptor.set_verify_cert_store(store.build()).unwrap();
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        let acceptor = acceptor.build();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let recorded = Arc::clone(&requests);
        let address = testing::network::server(move |connection| {
            let mut connection = match acceptor.accept(connection) {
                Ok(connection) => connection,
                Err(HandshakeError::Failure(failed)) => {
                    // Unread bytes of the client would reset the connection, and lose the alert.
                    let mut socket = failed.get_ref();
                    let _ = socket.shutdown(Shutdown::Write);
                    let _ = io::copy(&mut socket, &mut io::sink());
                    return;
                }
                Err(_) => return,
            };
            if let Some(request) = read_request(&mut connection) {
                recorded.lock().unwrap().push(request.clone());
                respond(&request, &mut connection);
                let _ = connection.shutdown();
            }
        });
        Self {
            address,
            ca_pem: ca_pem.to_owned(),
            requests,
        }
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address,
            server_name: NAME.to_owned(),
            network: Network::host(),
        }
    }

    pub fn tls(&self) -> TlsMaterial {
        TlsMaterial {
            ca_pem: self.ca_pem.clone(),
            client: None,
        }
    }

    pub fn consul(&self) -> consul::Client {
        let client = consul::Client::new(&self.endpoint(), &self.tls()).unwrap();
        client.with_limit(Duration::from_secs(20))
    }

    pub fn vault(&self) -> vault::Client {
        let client = vault::Client::new(&self.endpoint(), &self.tls()).unwrap();
        client.with_limit(Duration::from_secs(20))
    }

    /// Returns the text without the address of this server, which differs between runs.
    pub fn normalize(&self, text: &impl ToString) -> String {
        text.to_string()
            .replace(&self.address.to_string(), "ADDRESS")
    }
}

/// Reads one request with its body.
pub fn read_request(connection: &mut Connection) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// Writes an answer. The client may be gone already.
pub fn answer(to: &mut impl Write, status: u16, headers: &[(&str, &str)], body: &str) {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    let _ = to.write_all(text.as_bytes());
}
