//! One exchange over TLS: the HTTP client, its limits, and the reasons why there is no answer.
//! Trusts only the authority of the cluster, also if the system trusts others.
//! Returns status, headers and body, and the end of the server's certificate.

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::x509::X509;
use reqwest::header::LOCATION;
use reqwest::tls::{self, TlsInfo};
use reqwest::{Certificate, Client, Identity, Request, Url, redirect, retry};

use crate::product::{ApiError, Endpoint, TlsMaterial};
use crate::terminal::visible_line;

/// The parts of an answer that are used.
pub(super) struct Received {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) location: Option<String>,
    pub(super) certificate_end: Option<Timestamp>,
}

/// The reason why there is no usable answer.
pub(super) enum Fault {
    Http(reqwest::Error),
    TooLarge,
    File(io::Error),
}

/// Sends `request` and reads the answer.
pub(super) async fn exchange(http: Client, request: Request) -> Result<Received, Fault> {
    let mut response = http.execute(request).await.map_err(Fault::Http)?;
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let tls = response.extensions().get::<TlsInfo>();
    let certificate = tls.and_then(TlsInfo::peer_certificate);
    let certificate_end = certificate.and_then(end_of_certificate);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Fault::Http)? {
        if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received {
        status: response.status().as_u16(),
        body,
        location,
        certificate_end,
    })
}

/// Sends `request` and writes the body of a successful answer to `file`, in parts.
pub(super) async fn download(
    http: Client,
    request: Request,
    mut file: File,
) -> Result<Received, Fault> {
    let mut response = http.execute(request).await.map_err(Fault::Http)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Fault::Http)? {
        if status.is_success() {
            file.write_all(&chunk).map_err(Fault::File)?;
        } else if body.len() + chunk.len() <= LARGEST_ANSWER_BYTES {
            body.extend_from_slice(&chunk);
        }
    }
    file.sync_all().map_err(Fault::File)?;
    Ok(Received {
        status: status.as_u16(),
        body,
        location: None,
        certificate_end: None,
    })
}

impl Fault {
    pub(super) fn into_error(self, what: String, server: String, limit: Duration) -> ApiError {
        let error = match self {
            Self::TooLarge => {
                let reason = format!("larger than {} MiB", LARGEST_ANSWER_BYTES >> 20);
                return ApiError::Malformed {
                    what,
                    server,
                    reason,
                };
            }
            Self::File(error) => {
                let reason = format!("cannot write the answer: {error}");
                return ApiError::Invalid {
                    what,
                    server,
                    reason,
                };
            }
            Self::Http(error) => error,
        };
        if let Some(reason) = tls_reason(&error) {
            return ApiError::Tls {
                what,
                server,
                reason,
            };
        }
        let reason = match (error.is_timeout(), error.is_connect()) {
            (true, true) => format!("no connection within {} s", CONNECT_LIMIT.as_secs_f32()),
            (true, false) => format!("not complete after {} s", limit.as_secs_f32()),
            (false, _) => root_cause(&error),
        };
        ApiError::Unreachable {
            what,
            server,
            reason,
        }
    }
}

/// Returns the URL of a server, whose host is the name in its certificate.
pub(super) fn base_url(endpoint: &Endpoint) -> Result<Url, String> {
    let (name, address) = (&endpoint.server_name, endpoint.address);
    let url = Url::parse(&format!("https://{name}:{}/", address.port())).ok();
    // Any other URL has another host, or has a path.
    let names_host = |url: &Url| url.host_str() == Some(name) && url.path() == "/";
    let is_other = |ip: IpAddr| ip != address.ip();
    url.filter(|url| names_host(url) && !name.parse().is_ok_and(is_other))
        .ok_or_else(|| format!("`{}` cannot be its name", visible_line(name)))
}

/// Prepares the HTTP client of a server, which keeps at most `kept` connections without a request.
pub(super) fn http_client(
    endpoint: &Endpoint,
    tls: &TlsMaterial,
    kept: usize,
) -> Result<Client, String> {
    let authorities = Certificate::from_pem_bundle(tls.ca_pem.as_bytes());
    let authorities = authorities.map_err(|error| defect("authority", &error))?;
    if authorities.is_empty() {
        return Err("the authority has no certificate in PEM".to_owned());
    }
    let mut builder = Client::builder()
        .user_agent(concat!("vault-bake/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only(authorities)
        .tls_version_min(tls::Version::TLS_1_2)
        .tls_info(true)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .resolve(&endpoint.server_name, endpoint.address)
        .connect_timeout(CONNECT_LIMIT)
        .pool_max_idle_per_host(kept);
    if let Some(leaf) = &tls.client {
        let (certificate, key) = (&leaf.certificate_pem, leaf.key_pem.expose());
        let identity = Identity::from_pkcs8_pem(certificate.as_bytes(), key.as_bytes());
        builder = builder.identity(identity.map_err(|error| defect("client", &error))?);
    }
    let client = builder.build();
    client.map_err(|error| defect("authority or the client", &error))
}

/// Describes a certificate or key that cannot be read, without its text.
fn defect(owner: &str, error: &reqwest::Error) -> String {
    let reason = tls_reason(error).unwrap_or_else(|| root_cause(error));
    format!("a certificate or key of the {owner}: {reason}")
}

/// Returns the reason if TLS failed: the words of OpenSSL, and the result of the verification.
fn tls_reason(error: &reqwest::Error) -> Option<String> {
    let mut outer: &dyn StdError = error;
    while let Some(inner) = outer.source() {
        if let Some(stack) = inner.downcast_ref::<ErrorStack>() {
            let reasons = stack.errors().iter();
            let reason = reasons
                .filter_map(openssl::error::Error::reason)
                .next_back();
            let text = outer.to_string();
            let result = text.rsplit_once(" (").filter(|_| text.ends_with(')'));
            let result = result.map_or(String::new(), |(_, result)| format!(" ({result}"));
            return Some(format!("{}{result}", reason.unwrap_or("unknown reason")));
        }
        outer = inner;
    }
    None
}

/// Returns the innermost reason: the text of reqwest repeats the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn StdError = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    visible_line(&innermost.to_string()).into_owned()
}

fn end_of_certificate(der: &[u8]) -> Option<Timestamp> {
    timestamp(X509::from_der(der).ok()?.not_after())
}

fn timestamp(time: &Asn1TimeRef) -> Option<Timestamp> {
    let since_1970 = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    let seconds = i64::from(since_1970.days) * 86_400 + i64::from(since_1970.secs);
    Timestamp::from_second(seconds).ok()
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER_BYTES: usize = 8 << 20;
