//! Begins a cluster: its state, and the images of its nodes.

use std::path::PathBuf;

use super::down::site_without_state;
use super::file::{self, TierName};
use super::identities::{
    IdentitiesError, common_secrets, existing_secret, make_secrets, node_secrets,
};
use super::images::NodeImage;
use super::secrets::SecretName;
use super::state::{Phase, PlatformKind, State, StateError, StateFolder};
use super::{Cluster, ClusterError, Context, Images};
use crate::manifest::ImageVersion;
use crate::nodes;
use crate::product::consul::config::answers;
use crate::store::backend::Backend;
use crate::terminal::counted;

impl Cluster<'_> {
    /// Reads the state of the cluster, or writes that of a new one.
    pub(super) async fn begin(
        &self,
        auto: PlatformKind,
        context: &Context<'_>,
    ) -> Result<State, ClusterError> {
        let platform = self.platform_kind(auto)?;
        let Some(mut state) = self.folder.read()? else {
            self.refuse_remains(context).await?;
            let name = &self.file.name;
            let random = uuid::Uuid::from_u128(rand::random()).simple().to_string();
            let state = State {
                schema: 1,
                id: format!("{name}-{}", &random[..8]),
                name: name.clone(),
                created_at: (context.now)(),
                phase: Phase::Creating,
                platform,
                subnet: self.file.platform.subnet,
                nodes: [].into(),
                generation: 1,
                highest: [].into(),
                secrets: [].into(),
                epoch: 0,
                rollout: None,
            };
            self.folder.write(&state)?;
            return Ok(state);
        };
        let name = state.name.clone();
        if state.phase == Phase::Removing {
            return Err(ClusterError::Removing { name });
        }
        if state.nodes.is_empty() {
            // A former run was refused before it made anything.
            state.platform = platform;
            state.subnet = self.file.platform.subnet;
            self.folder.write(&state)?;
            return Ok(state);
        }
        let hint = format!("Undo the change, or run `vault-bake cluster down {name}` first.");
        if self.file.platform.kind != file::PlatformKind::Auto && state.platform != platform {
            let why = format!("its nodes are {}", state.platform.name());
            return Err(ClusterError::Differs { name, why, hint });
        }
        if state.subnet != self.file.platform.subnet {
            let why = format!("its nodes have addresses of {}", state.subnet);
            let hint = format!(
                "{hint} The image of its Consul servers must name the new network in \
                 `management_subnets`."
            );
            return Err(ClusterError::Differs { name, why, hint });
        }
        Ok(state)
    }

    /// Fails if parts of a cluster exist whose state is lost.
    async fn refuse_remains(&self, context: &Context<'_>) -> Result<(), ClusterError> {
        let mut found = Vec::new();
        for name in [SecretName::VaultInit, SecretName::VaultOperator] {
            let secret = self.secrets.get(&name, context.interrupt).await?;
            if secret.is_some() {
                found.push(format!("the secret `{name}` in {}", self.secrets.asked()));
            }
        }
        if nodes::has_nodes(self.folder.path()) {
            let nodes = self.folder.path().join("nodes");
            found.push(format!("a node in {}", nodes.display()));
        }
        let site = site_without_state(self.folder);
        if let Some(site) = site.filter(nodes::is_alive) {
            found.push(format!("a process of {}", site.id));
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(ClusterError::Remains {
            name: self.file.name.clone(),
            path: self.folder.file(),
            found,
            has_commands: self.file.identity.secrets != file::Secrets::Folder,
        })
    }

    fn platform_kind(&self, auto: PlatformKind) -> Result<PlatformKind, ClusterError> {
        match self.file.platform.kind {
            file::PlatformKind::Auto => Ok(auto),
            file::PlatformKind::Containers => Ok(PlatformKind::Containers),
            file::PlatformKind::Machines => Ok(PlatformKind::Machines),
            file::PlatformKind::Azure(_) => Err(ClusterError::Unsupported {
                name: self.file.name.clone(),
                why: "this version runs nodes on this computer only".to_owned(),
                hint: "Set `kind = \"auto\"` in [platform] of cluster.toml.".to_owned(),
            }),
        }
    }

    /// Chooses images for the nodes that the file has and the state lacks, and adds these nodes.
    pub(super) async fn add_nodes<B: Backend>(
        &self,
        state: &mut State,
        images: &Images<'_, B>,
        context: &Context<'_>,
    ) -> Result<(), ClusterError> {
        for tier in [TierName::Consul, TierName::Vault] {
            if state.rollout.is_some() {
                // It has old and new nodes.
                continue;
            }
            let wanted = self.file.tier(tier);
            let existing = state
                .nodes
                .values()
                .filter(|node| node.tier == tier)
                .count();
            let existing = u32::try_from(existing).unwrap_or(u32::MAX);
            if existing == wanted.nodes {
                continue;
            }
            if existing != 0 {
                let name = self.file.name.clone();
                let why = format!(
                    "it has {} of the tier {tier}, and cluster.toml has {}",
                    counted(existing, "node"),
                    wanted.nodes
                );
                let hint = format!("Set `nodes = {existing}` in [{tier}].");
                return Err(ClusterError::Differs { name, why, hint });
            }
            let image = images.choose(&wanted.image, (context.now)()).await?;
            check_products(tier, &image)?;
            self.check_reach(tier, &image, images).await?;
            for warning in &image.warnings {
                context.events.warn(warning);
            }
            let folder = images_folder(self.folder);
            images.fetch(&image, &folder).await?;
            for number in 1..=wanted.nodes {
                let name = self.file.node_name(tier, 1, number);
                let address = match tier {
                    TierName::Consul => self.file.consul_address(number),
                    TierName::Vault => self.file.vault_address(number),
                };
                state
                    .nodes
                    .insert(name, image.node(tier, (1, number), address));
            }
        }
        self.folder.write(state)?;
        Ok(())
    }
}

impl Cluster<'_> {
    /// Fails if the state is from before a rollout of the cluster that has ended: it would bring
    /// back nodes that are gone, with their older images, beside those that run.
    pub(crate) async fn check_epoch<B: Backend>(
        &self,
        state: &State,
        images: &Images<'_, B>,
    ) -> Result<(), ClusterError> {
        let history = images.store.history().await?;
        let mut ended = history.rollouts().iter().rev();
        let ended = ended.find(|one| one.cluster == state.id && one.end.is_some());
        let Some(ended) = ended.filter(|ended| ended.epoch > state.epoch) else {
            return Ok(());
        };
        Err(StateError::Stale {
            name: state.name.clone(),
            path: self.folder.file(),
            rollout: format!("{}@{}", state.id, ended.epoch),
        }
        .into())
    }

    /// Fails if the Consul servers of an image would not answer this computer.
    pub(crate) async fn check_reach<B: Backend>(
        &self,
        tier: TierName,
        image: &NodeImage,
        images: &Images<'_, B>,
    ) -> Result<(), ClusterError> {
        let subnets = images.management_subnets(&image.manifest).await?;
        let Some(subnets) = subnets.filter(|_| tier == TierName::Consul) else {
            return Ok(());
        };
        // The controller asks from the address of the gateway.
        if answers(&subnets, self.file.gateway().into()) {
            return Ok(());
        }
        let (name, subnet) = (&image.image, self.file.platform.subnet);
        let found = match subnets.as_slice() {
            [] => "name no subnet".to_owned(),
            subnets => format!("are {}", subnets.join(", ")),
        };
        Err(ClusterError::Image {
            image: format!("{name}@{}", image.version),
            tier: tier.as_str(),
            why: format!("its `management_subnets` {found}; the nodes are in {subnet}"),
            hint: format!(
                "Add \"{subnet}\" to `management_subnets` in images/{name}/image.toml and build \
                 the image again, or set `subnet` in [platform] of clusters/{}/cluster.toml.",
                self.file.name
            ),
        })
    }

    /// Makes the secrets of the cluster and its nodes, and writes their names into the state.
    /// Fails if one that was made before is absent.
    pub(crate) async fn make_secrets(
        &self,
        state: &mut State,
        context: &Context<'_>,
    ) -> Result<(), ClusterError> {
        let mut needed = common_secrets(self.file);
        needed.push(SecretName::ConsulOperator);
        for (name, node) in &state.nodes {
            needed.extend(node_secrets(node.tier, name));
        }
        self.make(&needed, state, context).await?;
        state
            .secrets
            .extend(needed.iter().map(SecretName::to_string));
        Ok(self.folder.write(state)?)
    }

    /// Returns the error of the first secret that running nodes use and that is absent. Tokens of
    /// administrators have errors of their own: [`super::token_errors`].
    pub(crate) async fn lost_secret(
        &self,
        state: &State,
        context: &Context<'_>,
    ) -> Result<Option<IdentitiesError>, ClusterError> {
        let nodes = state.nodes.iter();
        let of_nodes = nodes.flat_map(|(name, node)| node_secrets(node.tier, name));
        let of_all = common_secrets(self.file).into_iter();
        let needed: Vec<SecretName> = of_all
            .filter(|name| *name != SecretName::ConsulManagement)
            .chain(of_nodes)
            .filter(|name| state.has_made(name))
            .collect();
        for name in &needed {
            let (secrets, interrupt) = (self.secrets, context.interrupt);
            match existing_secret(self.file, name, secrets, interrupt).await {
                Err(error @ IdentitiesError::Lost { .. }) => return Ok(Some(error)),
                found => drop(found?),
            }
        }
        Ok(None)
    }

    /// Makes those of the secrets `needed` that `state` does not name.
    pub(crate) async fn make(
        &self,
        needed: &[SecretName],
        state: &State,
        context: &Context<'_>,
    ) -> Result<(), ClusterError> {
        let was_made = |name: &SecretName| state.has_made(name);
        let (now, interrupt) = ((context.now)(), context.interrupt);
        let making = make_secrets(self.file, needed, was_made, self.secrets, now, interrupt);
        Ok(making.await?)
    }
}

/// Fails if an image lacks the products of its tier.
pub(crate) fn check_products(tier: TierName, image: &NodeImage) -> Result<(), ClusterError> {
    let needed: &[&str] = match tier {
        TierName::Consul => &["consul"],
        TierName::Vault => &["consul", "vault"],
    };
    let missing = needed
        .iter()
        .find(|product| !image.releases.contains_key(**product));
    missing.map_or(Ok(()), |product| {
        Err(no_product(tier, &image.image, image.version, product))
    })
}

/// Returns the folder of the captured disks.
pub(crate) fn images_folder(folder: &StateFolder) -> PathBuf {
    folder.path().join("images")
}

/// Returns the error that an image lacks a product.
pub(super) fn no_product(
    tier: TierName,
    image: &str,
    version: ImageVersion,
    product: &str,
) -> ClusterError {
    ClusterError::Image {
        image: format!("{image}@{version}"),
        tier: tier.as_str(),
        why: format!("it has no {product}"),
        hint: format!("Name another image in [{tier}] of cluster.toml."),
    }
}
