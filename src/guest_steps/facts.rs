//! Reads the packages, kernel and distribution of a running machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ProvisionError;
use crate::ssh::{Endpoint, Script, Session};
use crate::wait::Interrupt;

/// All installed packages of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// `dpkg` or `rpm`.
    pub manager: String,
    /// The packages, sorted by name, architecture and version.
    pub packages: Vec<Package>,
}

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The package name, as in `libssl3`.
    pub name: String,
    /// The architecture, as in `amd64`.
    pub arch: String,
    /// The version, in the distribution's format.
    pub version: String,
    /// The source package, as in `openssl`.
    pub source: String,
}

/// The kernel and distribution of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFacts {
    /// The release of the kernel, as in `6.1.0-28-amd64`.
    pub kernel: String,
    /// The distribution, as in `debian`.
    pub os_id: String,
    /// The version of the distribution, as in `12`; empty if it has none.
    pub os_version: String,
}

/// Prints the package manager, then a line for each package.
const PACKAGES: &str = r#"
if command -v dpkg-query >/dev/null 2>&1; then
  echo dpkg
  dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\t${source:Package}\n'
elif command -v rpm >/dev/null 2>&1; then
  echo rpm
  rpm -qa --qf 'installed\t%{NAME}\t%{ARCH}\t%{EVR}\t%{SOURCERPM}\n'
else
  echo 'neither dpkg-query nor rpm is installed' >&2
  exit 1
fi
"#;

const BOOT: &str = r#"
uname -r
( . /etc/os-release && printf '%s\n%s\n' "$ID" "$VERSION_ID" )
"#;

/// Returns the packages of the machine.
pub async fn inventory(
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Packages, ProvisionError> {
    let text = run(session, "package list", PACKAGES, interrupt).await?;
    parse_packages(&text, session.endpoint())
}

/// Returns the kernel and distribution of the machine.
pub async fn boot_facts(
    session: &Session,
    interrupt: &Interrupt,
) -> Result<BootFacts, ProvisionError> {
    let text = run(session, "kernel and distribution", BOOT, interrupt).await?;
    let lines: Vec<&str> = text.lines().collect();
    match lines[..] {
        [kernel, os_id, os_version] if !kernel.is_empty() && !os_id.is_empty() => Ok(BootFacts {
            kernel: kernel.to_owned(),
            os_id: os_id.to_owned(),
            os_version: os_version.to_owned(),
        }),
        _ => Err(unexpected(
            "kernel and distribution",
            session.endpoint(),
            &lines.join(" / "),
        )),
    }
}

async fn run(
    session: &Session,
    what: &str,
    text: &str,
    interrupt: &Interrupt,
) -> Result<String, ProvisionError> {
    let script = Script {
        name: what.to_owned(),
        text: text.to_owned(),
        timeout: Duration::from_secs(60),
    };
    session
        .output(script, interrupt)
        .await
        .map_err(|error| ProvisionError::ssh(session.endpoint(), error))
}

fn parse_packages(text: &str, endpoint: &Endpoint) -> Result<Packages, ProvisionError> {
    let mut lines = text.lines();
    let manager = lines.next().unwrap_or_default().to_owned();
    let mut packages = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let [status, name, arch, version, source] = fields[..] else {
            return Err(unexpected("package list", endpoint, line));
        };
        if status == "installed" {
            packages.push(Package {
                name: name.to_owned(),
                arch: arch.to_owned(),
                version: version.to_owned(),
                source: source.to_owned(),
            });
        }
    }
    packages.sort();
    Ok(Packages { manager, packages })
}

fn unexpected(what: &str, endpoint: &Endpoint, line: &str) -> ProvisionError {
    ProvisionError::Unexpected {
        what: what.to_owned(),
        endpoint: endpoint.to_string(),
        line: line.to_owned(),
    }
}
