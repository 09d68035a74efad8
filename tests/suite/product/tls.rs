//! Whom the clients trust, and how they show who they are.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use vault_bake::identity::Leaf;
use vault_bake::network::Network;
use vault_bake::process::Program;
use vault_bake::product::{ApiError, Endpoint, TlsMaterial, consul};
use vault_bake::wait::Interrupt;

use super::mock::{Authority, Connection, MockServer, NAME, answer, read_request};

fn server(authority: &Authority, leaf: &Leaf, clients: Option<&Authority>) -> MockServer {
    let respond = |_: &str, to: &mut Connection| answer(to, 200, &[], "\"1.2.3.4:8300\"");
    MockServer::start_with(&authority.pem(), leaf, clients, respond)
}

async fn refused(server: &MockServer, tls: &TlsMaterial) -> String {
    let client = consul::Client::new(&server.endpoint(), tls).unwrap();
    let error = client.leader().await.unwrap_err();
    assert!(matches!(error, ApiError::Tls { .. }), "{error}");
    assert!(!error.is_transient() && error.hint().is_some());
    server.normalize(&error)
}

#[tokio::test]
async fn only_a_certificate_of_the_authority_with_the_right_name_and_time_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue(NAME, 2099);
    let trusted = server(&authority, &good, None);
    let client = trusted.consul();
    assert_eq!(
        client.leader().await.unwrap().as_deref(),
        Some("1.2.3.4:8300")
    );
    let end = client.certificate_end().await.unwrap();
    assert_eq!(end.to_string(), "2099-01-01T00:00:00Z");

    let of_other = server(&authority, &other.issue(NAME, 2099), None);
    let error = refused(&of_other, &of_other.tls()).await;
    assert!(error.contains("certificate verify failed ("), "{error}");
    let misnamed = server(
        &authority,
        &authority.issue("server.dc2.consul", 2099),
        None,
    );
    let error = refused(&misnamed, &misnamed.tls()).await;
    assert!(error.contains("hostname mismatch"), "{error}");
    let expired = server(&authority, &authority.issue(NAME, 2021), None);
    let error = refused(&expired, &expired.tls()).await;
    assert!(error.contains("certificate has expired"), "{error}");
    let asked = [of_other, misnamed, expired].map(|server| server.requests().len());
    assert_eq!(
        asked,
        [0, 0, 0],
        "no request reached a server that is not trusted"
    );
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_the_clients_own() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let leaf = authority.issue(NAME, 2099);
    let server = server(&authority, &leaf, Some(&clients));
    let with = |client: Option<Leaf>| TlsMaterial {
        ca_pem: authority.pem(),
        client,
    };
    let own = with(Some(clients.issue("client", 2099)));
    let client = consul::Client::new(&server.endpoint(), &own).unwrap();
    client.leader().await.unwrap();
    let none = refused(&server, &with(None)).await;
    let foreign = refused(&server, &with(Some(authority.issue("client", 2099)))).await;
    for error in [none, foreign] {
        assert!(error.contains(" alert "), "{error}");
    }
    assert_eq!(server.requests().len(), 1);
}

/// A server without TLS gets no byte of a request.
#[tokio::test]
async fn plaintext_is_no_answer() {
    let authority = Authority::new();
    let plain = testing::network::server(|mut connection| {
        answer(&mut connection, 200, &[], "\"1.2.3.4:8300\"");
        let mut first = [0; 1];
        let _ = std::io::Read::read(&mut connection, &mut first);
        assert_eq!(first[0], 0x16, "the client begins with a TLS handshake");
    });
    let tls = TlsMaterial {
        ca_pem: authority.pem(),
        client: None,
    };
    let endpoint = Endpoint {
        address: plain,
        ..server(&authority, &authority.issue(NAME, 2099), None).endpoint()
    };
    let client = consul::Client::new(&endpoint, &tls).unwrap();
    let error = client.leader().await.unwrap_err();
    assert!(matches!(error, ApiError::Tls { .. }), "{error}");
}

/// A node that renewed its certificate shows the new one at once: connections are not kept.
#[tokio::test]
async fn each_request_reads_the_present_certificate() {
    let authority = Authority::new();
    // Servers that keep the connection for further requests.
    let keeping = |end| {
        let leaf = authority.issue(NAME, end);
        MockServer::start_with(&authority.pem(), &leaf, None, |_, to| {
            answer(to, 200, &[], "\"\"");
            while read_request(to).is_some() {
                answer(to, 200, &[], "\"\"");
            }
        })
    };
    let (first, second) = (keeping(2030), keeping(2031));
    let addresses = [first.address, second.address];
    let count = AtomicUsize::new(0);
    // A new connection reaches the other server.
    let switch = testing::network::server(move |client| {
        let turn = count.fetch_add(1, Ordering::SeqCst).min(1);
        let server = TcpStream::connect(addresses[turn]).unwrap();
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ = io::copy(&mut &server, &mut &client);
        });
        let _ = io::copy(&mut &from, &mut &to);
        let _ = to.shutdown(Shutdown::Write);
        let _ = back.join();
    });
    let endpoint = Endpoint {
        address: switch,
        ..first.endpoint()
    };
    let client = consul::Client::new(&endpoint, &first.tls()).unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        ends.push(client.certificate_end().await.unwrap().to_string());
    }
    assert_eq!(ends, ["2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"]);
}

/// The addresses of the servers, in the environment of the child.
const CHILD: &str = "PRODUCT_TLS_CHILD";

/// The system's authorities and its proxy are variables of the environment, so a child has them.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the child reads its environment")]
async fn authorities_and_proxies_of_the_system_are_not_used() {
    if let Ok(addresses) = std::env::var(CHILD) {
        return ask_as_child(&addresses).await;
    }
    let (own, systems) = (Authority::new(), Authority::new());
    let [of_own, of_system] = [&own, &systems].map(|authority| {
        let respond = |_: &str, to: &mut Connection| answer(to, 200, &[], "\"1.2.3.4:8300\"");
        MockServer::start_with(&own.pem(), &authority.issue(NAME, 2099), None, respond)
    });
    let folder = tempfile::tempdir().unwrap();
    let [own_file, system_file] = ["own.pem", "system.pem"].map(|name| folder.path().join(name));
    fs::write(&own_file, own.pem()).unwrap();
    fs::write(&system_file, systems.pem()).unwrap();
    let proxy = testing::network::closing();
    let addresses = [of_own.address, of_system.address].map(|address| address.to_string());
    Program::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "product::tls::authorities_and_proxies_of_the_system_are_not_used",
        ])
        .env("SSL_CERT_FILE", &system_file)
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .env(
            CHILD,
            format!("{} {}", addresses.join(" "), own_file.display()),
        )
        .run(&Interrupt::default())
        .await
        .unwrap();
    // That of the system was asked by a usual client only.
    let asked = [of_own, of_system].map(|server| server.requests().len());
    assert_eq!(asked, [1, 1]);
}

async fn ask_as_child(addresses: &str) {
    let [own, system, ca_file] = addresses.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{addresses}");
    };
    let tls = TlsMaterial {
        ca_pem: fs::read_to_string(ca_file).unwrap(),
        client: None,
    };
    let client = |address: &str| {
        let endpoint = Endpoint {
            address: address.parse().unwrap(),
            server_name: NAME.to_owned(),
            network: Network::host(),
        };
        consul::Client::new(&endpoint, &tls).unwrap()
    };
    client(own).leader().await.unwrap();
    let error = client(system).leader().await.unwrap_err();
    assert!(matches!(error, ApiError::Tls { .. }), "{error}");
    let usual = || {
        let address = system.parse().unwrap();
        reqwest::Client::builder().resolve(NAME, address)
    };
    let url = format!("https://{NAME}:{}/", system.rsplit(':').next().unwrap());
    let trusting = usual().no_proxy().build().unwrap();
    trusting.get(&url).send().await.unwrap();
    let by_proxy = usual().build().unwrap();
    by_proxy.get(&url).send().await.unwrap_err();
}
