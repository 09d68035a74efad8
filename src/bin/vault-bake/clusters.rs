//! The clusters of a project: their folders, and the files of a new one.
//! A new cluster gets a subnet and a port that no other cluster of the project has.

use std::path::PathBuf;

use vault_bake::cluster::file::{self, ClusterFile, ProjectCluster, Subnet};

use crate::exit::{Exit, Failure};
use crate::invocation::Invocation;
use crate::new_files::NewFile;

/// The definition of a new cluster.
const TEMPLATE: &str = include_str!("project/cluster.toml");

/// The subnet of the template.
const TEMPLATE_SUBNET: &str = "10.77.0.0/24";

/// The port of the template.
const TEMPLATE_PORT: u16 = 8200;

/// Path of the JSON Schema, which the first line of the template names.
const SCHEMA_PATH: &str = "clusters/cluster.schema.json";

/// What a cluster has of its own.
pub struct NewCluster {
    /// Name of the cluster.
    pub name: String,
    /// Addresses of its nodes.
    pub subnet: Subnet,
    port: u16,
}

impl NewCluster {
    /// Describes a cluster that shares nothing with `others`.
    pub fn new(name: &str, others: &[ClusterFile]) -> Result<Self, Failure> {
        file::check_name(name)?;
        let is_free = |subnet: &Subnet| {
            let taken = |other: &ClusterFile| other.platform.subnet.overlaps(*subnet);
            !others.iter().any(taken)
        };
        let subnet = (0..=u8::MAX).map(Subnet::development).find(is_free);
        let subnet = subnet.ok_or_else(|| {
            let message =
                format!("cannot add the cluster {name}: no subnet of 10.77.0.0/16 is free");
            Failure::new(Exit::Failed, message).hint("Remove a cluster below clusters/.")
        })?;
        let is_unused = |port: &u16| !others.iter().any(|other| other.front.port == *port);
        let port = (TEMPLATE_PORT..=u16::MAX).step_by(10).find(is_unused);
        Ok(Self {
            name: name.to_owned(),
            subnet,
            port: port.unwrap_or(TEMPLATE_PORT),
        })
    }

    /// Returns the path of the definition, below the folder of the project.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", file::FOLDER, self.name, file::FILE)
    }

    /// Returns the definition, and the schema that it names.
    pub fn files(&self) -> [NewFile; 2] {
        let text = TEMPLATE
            .replace(TEMPLATE_SUBNET, &self.subnet.to_string())
            .replace(
                &format!("port = {TEMPLATE_PORT}"),
                &format!("port = {}", self.port),
            );
        let schema = serde_json::to_string_pretty(&ClusterFile::json_schema()).unwrap_or_default();
        [
            NewFile::new(self.path(), text),
            NewFile::new(SCHEMA_PATH, schema + "\n"),
        ]
    }
}

impl Invocation {
    /// Returns the names of the project's clusters, sorted.
    pub fn clusters(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.project.join(file::FOLDER));
        let entries = entries.into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join(file::FILE).exists())
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// Returns the clusters of the project that can be read.
    pub fn project_clusters(&self) -> Vec<ProjectCluster> {
        let names = self.clusters().into_iter();
        let folders = names.map(|name| self.cluster_folder(&name));
        let load = |folder: PathBuf| {
            let file = ClusterFile::load(&folder).ok()?;
            Some(ProjectCluster { folder, file })
        };
        folders.filter_map(load).collect()
    }

    /// Returns the folder of a cluster. `cluster` is a name in `clusters/`, or a folder.
    pub fn cluster_folder(&self, cluster: &str) -> PathBuf {
        let named = self.project.join(file::FOLDER).join(cluster);
        if named.is_dir() && !cluster.contains('/') {
            named
        } else {
            PathBuf::from(cluster)
        }
    }
}
