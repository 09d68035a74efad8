//! `identity renew`: gives the archives of a cluster new certificates.

use vault_bake::cluster::identities::{NodeArchive, authority};

use super::{Cluster, archives_of, check_archive, read_archive, write_all};
use crate::args::identity::MakeIdentities;
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, clock};

pub async fn run(invocation: &Invocation, args: &MakeIdentities) -> Result<Exit, Failure> {
    let Cluster { file, secrets, .. } = Cluster::open(invocation, args)?;
    let paths = archives_of(&file.name, &args.to)?;
    if paths.is_empty() {
        let (name, folder) = (&file.name, args.to.display());
        let message = format!("cannot renew identities of {name}: {folder} has no archive of it");
        let hint = format!("Run `vault-bake identity make {name} --to {folder}`.");
        return Err(Failure::usage(message).hint(hint));
    }
    let authority = authority(&file, &secrets, clock(), &invocation.interrupt).await?;
    let valid_h = i64::from(file.identity.valid_h);
    let mut archives = Vec::new();
    for path in paths {
        let old = read_archive(&path)?;
        let interrupt = &invocation.interrupt;
        let new =
            vault_bake::identity::renew(&old, &authority, valid_h, clock(), interrupt).await?;
        let node = path.file_stem().unwrap_or_default().to_string_lossy();
        let archive = NodeArchive {
            node: node.into_owned(),
            archive: new,
        };
        archives.push(check_archive(invocation, archive).await?);
    }
    write_all(invocation, "renewed", &args.to, &archives)
}
