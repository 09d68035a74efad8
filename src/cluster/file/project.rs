//! Checks what a cluster's file alone does not show: other clusters of the project, and pin files.

use std::path::{Path, PathBuf};

use super::document::Document;
use super::{ClusterFile, FILE, FrontKind, ImageRef, PlatformKind, Subnet, TierName, check_name};
use crate::definition::{Location, Problem, Problems};

/// A cluster of a project, and its folder.
pub struct ProjectCluster {
    /// The folder with the file.
    pub folder: PathBuf,
    /// The definition.
    pub file: ClusterFile,
}

impl ProjectCluster {
    /// Fails if the cluster shares a subnet or a port with one of `others`, or if it names a pin
    /// file that is missing. Hints have values that none of `all` has.
    pub fn check(&self, others: &[&Self], all: &[Self]) -> Result<(), Problems> {
        let path = self.folder.join(FILE);
        // It was read before.
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let document = Document::parse(&path, &text)?;
        let mut found = Vec::new();
        for tier in [TierName::Consul, TierName::Vault] {
            found.extend(self.missing_pins(tier, &document));
        }
        for other in others {
            found.extend(self.shared_subnet(other, all, &document));
            found.extend(self.shared_port(other, all, &document));
        }
        Problems::from_unsorted(found).map_or(Ok(()), Err)
    }

    fn missing_pins(&self, tier: TierName, document: &Document<'_>) -> Option<Problem> {
        let ImageRef::Pin { pins, .. } = &self.file.tier(tier).image else {
            return None;
        };
        let at = document.at(&format!("{tier}.image.pins"));
        let problem = at.problem(format!(
            "no such file: {}; expected a pin file",
            pins.display()
        ));
        let hint = "Run `vault-bake pin IMAGE:CHANNEL` to create one, or name one relative to this folder.";
        (!pins.is_file()).then(|| problem.with_hint(hint))
    }

    fn shared_subnet(
        &self,
        other: &Self,
        all: &[Self],
        document: &Document<'_>,
    ) -> Option<Problem> {
        let (own, taken) = (self.file.platform.subnet, other.file.platform.subnet);
        if self.is_on_azure() || other.is_on_azure() || !own.overlaps(taken) {
            return None;
        }
        let problem = document.at("platform.subnet").problem(format!(
            "{own} overlaps {taken} of {}; expected a subnet of its own",
            other.folder.join(FILE).display()
        ));
        let is_free = |subnet: &Subnet| {
            let overlaps = |other: &Self| other.file.platform.subnet.overlaps(*subnet);
            !all.iter().any(overlaps)
        };
        let free = (0..=u8::MAX).map(Subnet::development).find(is_free);
        Some(match free {
            Some(free) => problem.with_hint(format!("Write `subnet = \"{free}\"`.")),
            None => problem,
        })
    }

    fn shared_port(&self, other: &Self, all: &[Self], document: &Document<'_>) -> Option<Problem> {
        let (own, taken) = (self.file.front, other.file.front);
        let are_local = own.kind == FrontKind::Haproxy && taken.kind == FrontKind::Haproxy;
        if !are_local || own.port != taken.port {
            return None;
        }
        let problem = document.at("front.port").problem(format!(
            "{} is the port of {} too; expected a port of its own",
            own.port,
            other.folder.join(FILE).display()
        ));
        let is_free = |port: &u16| !all.iter().any(|other| other.file.front.port == *port);
        let free = (own.port..=u16::MAX).step_by(10).find(is_free);
        Some(match free {
            Some(free) => problem.with_hint(format!("Write `port = {free}`.")),
            None => problem,
        })
    }

    fn is_on_azure(&self) -> bool {
        matches!(self.file.platform.kind, PlatformKind::Azure(_))
    }
}

/// Returns a problem for each folder of `clusters`, the folder of a project, without a definition.
pub fn check_folders(clusters: &Path) -> Result<(), Problems> {
    let entries = std::fs::read_dir(clusters).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    let without = folders.filter(|path| path.is_dir() && !path.join(FILE).exists());
    let problem = |folder: PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let at = Location::start_of(&folder.join(FILE));
        let problem = at.problem("no such file; expected the definition of a cluster");
        problem.with_hint(match check_name(&name) {
            Ok(()) => {
                format!("Run `vault-bake cluster init {name}` to write it, or remove the folder.")
            }
            Err(_) => "Remove the folder.".to_owned(),
        })
    };
    Problems::from_unsorted(without.map(problem)).map_or(Ok(()), Err)
}
