//! `identity check`: checks an archive as its node will, and prints its public content.

use jiff::SignedDuration;
use vault_bake::identity::{CheckedCertificate, CheckedIdentity, Products};

use super::{left, read_archive};
use crate::args::identity::CheckIdentity;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &CheckIdentity) -> Result<Exit, Failure> {
    let bytes = read_archive(&args.file)?;
    let products = Products::of_archive(&bytes)?;
    let identity = vault_bake::identity::check(&bytes, products, &invocation.interrupt).await?;
    if invocation.json {
        print_json(&identity);
    } else {
        print_identity(&identity);
    }
    let hours = i64::from(args.valid_h.unwrap_or(0));
    if identity.not_after < clock() + SignedDuration::from_hours(hours) {
        let end = identity.not_after;
        let message = format!(
            "a certificate of {} ends within {hours} hours, at {end}",
            identity.node
        );
        let hint = "Renew the archive with `vault-bake identity renew`.";
        return Err(Failure::new(Exit::Checks, message).hint(hint));
    }
    Ok(Exit::Done)
}

fn print_identity(identity: &CheckedIdentity) {
    let role = match &identity.consul {
        None => "no Consul agent",
        Some(_) if identity.server => "Consul server",
        Some(_) => "Consul client",
    };
    let vault = if identity.vault.is_some() {
        ", Vault"
    } else {
        ""
    };
    print_line(&format!("node       {}", identity.node));
    print_line(&format!("datacenter {}", identity.datacenter));
    print_line(&format!("products   {role}{vault}"));
    let end = identity.authority_not_after;
    print_line(&format!("authority  {}", identity.authority));
    print_line(&format!("           until {end}, {}", left(end)));
    for (product, certificate) in [("consul", &identity.consul), ("vault", &identity.vault)] {
        if let Some(certificate) = certificate {
            print_certificate(product, certificate);
        }
    }
}

fn print_certificate(product: &str, certificate: &CheckedCertificate) {
    let addresses = certificate.addresses.iter().map(ToString::to_string);
    let names: Vec<String> = certificate.names.iter().cloned().chain(addresses).collect();
    let end = certificate.not_after;
    print_line(&format!("{product:<10} {}", names.join(", ")));
    print_line(&format!("           until {end}, {}", left(end)));
}
