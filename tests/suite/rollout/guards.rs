//! The guards of a rollout: what refuses it, with the way out, and what the targets are.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use vault_bake::cluster::file::TierName;
use vault_bake::cluster::identities::IdentitiesError;
use vault_bake::cluster::secrets::SecretName;
use vault_bake::cluster::state::{NodeStage, NodeState, Phase};
use vault_bake::cluster::{FrontStatus, NodeImage, NodeStatus, Problem, Role, Status, TokenError};
use vault_bake::definition::Firmware;
use vault_bake::digest::Digest;
use vault_bake::rollout::guards::{
    Facts, ImageClass, Refusal, open_rollout, refusals, to_begin, unasked,
};
use vault_bake::rollout::planner::{Inventory, Request, plan};
use vault_bake::rollout::targets::{TargetsError, add, complete};
use vault_bake::rollout::{Plan, RolloutError, Target};

use super::clusters::{
    BOTH, NEW, OLD, Shape, Tiers, Versions, address, inventory, request, target,
};

const THREE: Shape = Shape {
    consul: 3,
    vault: 3,
    leader: 1,
    active: 2,
};

const VAULT: Tiers = Tiers {
    consul: false,
    vault: true,
};

const NEITHER: Tiers = Tiers {
    consul: false,
    vault: false,
};

/// What the guards are asked about, to be changed by a test.
struct Case {
    inventory: Inventory,
    status: Status,
    request: Request<'static>,
    promoted: BTreeSet<Digest>,
    firmware: BTreeMap<TierName, Firmware>,
    classes: BTreeMap<Digest, ImageClass>,
    highest: BTreeMap<String, String>,
    can_unseal: bool,
    operator: Option<TokenError>,
    management: Option<TokenError>,
    lost: Option<IdentitiesError>,
    reason: Option<&'static str>,
}

fn now() -> Timestamp {
    "2026-11-29T10:00:00Z".parse().unwrap()
}

fn class(arch: &str) -> ImageClass {
    ImageClass {
        builder: "qemu".to_owned(),
        output: "qcow2".to_owned(),
        arch: arch.to_owned(),
    }
}

impl Case {
    fn new(tiers: Tiers, versions: Versions) -> Self {
        let inventory = inventory(THREE);
        let request = request(THREE, tiers, versions);
        let node = |(name, node): (&String, &vault_bake::rollout::planner::InventoryNode)| {
            let product = node.releases[node.tier.as_str()].clone();
            NodeStatus {
                node: name.clone(),
                tier: node.tier,
                address: node.address.to_string(),
                image: node.image.clone(),
                version: node.version,
                manifest: node.manifest.to_string(),
                product_version: product,
                stage: NodeStage::Serving,
                running: true,
                role: node.role,
                reason: None,
                certificate_end: Some(now() + SignedDuration::from_hours(24)),
                outdated_by: None,
                image_problem: None,
            }
        };
        let all = inventory.nodes.values().map(|node| node.manifest);
        let targets = request.targets.values().map(|target| target.manifest);
        let manifests: BTreeSet<Digest> = all.chain(targets).collect();
        Self {
            status: Status {
                cluster: "dev".to_owned(),
                phase: Phase::Created,
                platform: "containers",
                at: now(),
                nodes: inventory.nodes.iter().map(node).collect(),
                rollout: None,
                front: Some(FrontStatus {
                    url: "https://10.77.0.1:8200".to_owned(),
                    running: true,
                    nodes: vec!["dev-vault-1-1".to_owned()],
                }),
                problem: None,
            },
            promoted: manifests.clone(),
            firmware: [
                (TierName::Consul, Firmware::Bios),
                (TierName::Vault, Firmware::Bios),
            ]
            .into(),
            classes: manifests
                .into_iter()
                .map(|one| (one, class("x86_64")))
                .collect(),
            highest: BTreeMap::new(),
            can_unseal: true,
            operator: None,
            management: None,
            lost: None,
            reason: None,
            inventory,
            request,
        }
    }

    fn vault(&mut self) -> &mut Target {
        self.request.targets.get_mut(&TierName::Vault).unwrap()
    }

    fn planned(&self) -> (Plan, Vec<Refusal>) {
        let plan = plan(&self.inventory, &self.request).unwrap();
        let facts = Facts {
            name: "dev",
            inventory: &self.inventory,
            status: &self.status,
            targets: &self.request.targets,
            promoted: &self.promoted,
            firmware: &self.firmware,
            classes: &self.classes,
            highest: &self.highest,
            can_unseal: self.can_unseal,
            operator: self.operator.as_ref(),
            management: self.management.as_ref(),
            lost: self.lost.as_ref(),
            allow_version_jump: self.reason,
            allow_unpromoted: false,
            now: now(),
        };
        let found = refusals(&facts, &plan);
        (plan, found)
    }

    fn refusals(&self) -> Vec<String> {
        let (_, found) = self.planned();
        let lines = found
            .iter()
            .map(|one| format!("{}\n  {}", one.why, one.hint));
        lines.collect()
    }
}

/// Returns the refusals of a rollout to other versions, after a change.
fn refused(versions: Versions, change: impl FnOnce(&mut Case)) -> String {
    let mut case = Case::new(BOTH, versions);
    change(&mut case);
    case.refusals().join("\n") + "\n"
}

#[test]
fn a_healthy_cluster_and_newer_images_are_refused_nothing() {
    for versions in [OLD, NEW] {
        let none: Vec<String> = Vec::new();
        assert_eq!(Case::new(BOTH, versions).refusals(), none);
    }
}

#[test]
fn each_guard_refuses_in_words_with_the_way_out() {
    const LOWER: Versions = Versions {
        consul: "1.8.6",
        vault: "1.14.8",
    };
    const FAR: Versions = Versions {
        consul: "1.10.12",
        vault: "9.0.0",
    };
    let mut text = String::new();
    text += &refused(LOWER, |_| ());
    // What ever served counts, too, and no reason permits less.
    text += &refused(OLD, |case| {
        case.highest = [("vault".to_owned(), "1.15.0".to_owned())].into();
        case.reason = Some("a test");
    });
    text += &refused(FAR, |_| ());
    assert_eq!(refused(FAR, |case| case.reason = Some("read")), "\n");
    text += &refused(NEW, |case| case.vault().firmware = Firmware::Uefi);
    text += &refused(NEW, |case| {
        let manifest = case.vault().manifest;
        case.classes.insert(manifest, class("aarch64"));
    });
    text += &refused(NEW, |case| {
        let manifest = case.vault().manifest;
        let other = case.classes.get_mut(&manifest).unwrap();
        other.builder = "azure".to_owned();
    });
    text += &refused(NEW, |case| {
        let consul = case.request.targets.get_mut(&TierName::Consul).unwrap();
        consul.releases.insert("vault".into(), NEW.vault.into());
    });
    text += &refused(NEW, |case| {
        case.vault().releases.remove("consul");
    });
    text += &refused(NEW, |case| {
        let manifest = case.vault().manifest;
        case.promoted.remove(&manifest);
    });
    for can_abort in [true, false] {
        let open = open_rollout("dev", 4, can_abort);
        text += &[open.why, "\n  ".to_owned(), open.hint, "\n".to_owned()].concat();
    }
    for hint in [Some("Restore the secret.".to_owned()), None] {
        let why = "a secret is absent".to_owned();
        let refusal = unasked(&Problem { why, hint }, "dev");
        text += &[
            refusal.why,
            "\n  ".to_owned(),
            refusal.hint,
            "\n".to_owned(),
        ]
        .concat();
    }
    text += &refused(NEW, |case| case.can_unseal = false);
    text += &refused(NEW, |case| {
        let place = "in SECRETS/vault-operator, with mode 0600".to_owned();
        let name = SecretName::VaultOperator;
        case.operator = Some(TokenError::Absent { name, place });
    });
    text += &refused(NEW, |case| {
        let place = "in SECRETS/consul-management, with mode 0600".to_owned();
        let name = SecretName::ConsulManagement;
        case.management = Some(TokenError::Refused { name, place });
    });
    text += &refused(NEW, |case| {
        case.lost = Some(IdentitiesError::Lost {
            cluster: "dev".to_owned(),
            secret: SecretName::GossipKey.to_string(),
            asked: "SECRETS".to_owned(),
            place: "in SECRETS/gossip-key, with mode 0600".to_owned(),
        });
    });
    text += &refused(NEW, |case| {
        case.status.nodes[1].role = Role::Failed;
    });
    insta::assert_snapshot!("guards", text);
    // Without a manifest that can be read, nothing is compared.
    assert_eq!(refused(NEW, |case| case.classes.clear()), "\n");
}

/// A tier may change without a new node, as after a restored file: three old nodes have the target
/// image, and a newer one is active.
#[test]
fn a_newer_vault_is_not_left_to_old_nodes_that_still_run() {
    let mut case = Case::new(VAULT, OLD);
    *case.vault() = target(TierName::Vault, "1.0.0", OLD);
    let nodes = &mut case.inventory.nodes;
    let mut newer = nodes["dev-vault-1-2"].clone();
    nodes.get_mut("dev-vault-1-2").unwrap().role = Role::Standby;
    let built = target(TierName::Vault, "1.0.1", NEW);
    (newer.generation, newer.number, newer.address) = (2, 1, address(TierName::Vault, 4));
    (newer.version, newer.manifest, newer.releases) =
        (built.version, built.manifest, built.releases);
    nodes.insert("dev-vault-2-1".to_owned(), newer);
    case.inventory.generation = 2;
    let (plan, found) = case.planned();
    assert_eq!(plan.names(TierName::Vault, true), BTreeSet::new());
    let found: Vec<&str> = found.iter().map(|one| one.why.as_str()).collect();
    let expected = "vault 1.15.0 to 1.14.9: its data does not go back to an older version";
    assert!(found.contains(&expected), "{found:?}");
}

/// A rollout takes less than two hours, so no certificate of an old node ends in the middle.
#[test]
fn a_certificate_that_may_end_in_the_middle_refuses_a_rollout() {
    let ends = |seconds: i64| {
        refused(NEW, |case| {
            let end = now() + SignedDuration::from_secs(seconds);
            case.status.nodes[4].certificate_end = Some(end);
        })
    };
    assert_eq!(ends(2 * 3600), "\n");
    insta::assert_snapshot!(ends(2 * 3600 - 1), @r"
    the certificate of dev-vault-1-2 ends within two hours
      Run `vault-bake cluster renew dev`.
    ");
    assert!(ends(-1).contains("dev-vault-1-2"));
}

#[test]
fn a_rollout_with_nothing_to_do_is_not_begun() {
    let mut case = Case::new(NEITHER, NEW);
    // Nothing gets a new image, so neither channel, key shares nor certificates matter.
    case.promoted.clear();
    case.can_unseal = false;
    case.status.nodes[0].certificate_end = Some(now());
    let (plan, found) = case.planned();
    assert_eq!((plan.steps.len(), found.len()), (0, 0));
    assert_eq!(to_begin(plan, found).unwrap(), None);
    let (plan, found) = Case::new(BOTH, NEW).planned();
    assert_eq!(to_begin(plan.clone(), found).unwrap(), Some(plan));
    // A cluster that does not serve is refused all the more.
    case.status.nodes[1].role = Role::Failed;
    let (plan, found) = case.planned();
    assert_eq!(found.len(), 1, "{found:?}");
    let error = to_begin(plan, found).unwrap_err();
    assert!(matches!(error, RolloutError::Refused { .. }), "{error}");
}

fn image(tier: TierName, version: &str) -> NodeImage {
    let target = target(tier, version, OLD);
    NodeImage {
        reference: target.reference,
        image: target.image,
        version: target.version,
        manifest: target.manifest,
        artifact: target.artifact,
        firmware: target.firmware,
        releases: target.releases,
        warnings: Vec::new(),
    }
}

fn nodes(versions: [(TierName, &str); 4]) -> BTreeMap<String, NodeState> {
    let node = |(number, (tier, version)): (u32, (TierName, &str))| {
        let target = target(tier, version, OLD);
        let node = NodeState {
            tier,
            generation: 1,
            number,
            address: address(tier, number),
            reference: target.reference,
            image: target.image,
            version: target.version,
            manifest: target.manifest,
            artifact: target.artifact,
            firmware: target.firmware,
            releases: target.releases,
            stage: NodeStage::Serving,
        };
        (format!("dev-{tier}-1-{number}"), node)
    };
    (1..).zip(versions).map(node).collect()
}

#[test]
fn a_tier_that_is_not_named_keeps_the_image_of_its_nodes() {
    let (consul, vault) = (TierName::Consul, TierName::Vault);
    let all = [
        (consul, "1.0.0"),
        (consul, "1.0.0"),
        (vault, "1.0.0"),
        (vault, "1.0.1"),
    ];
    let named = BTreeMap::from([(vault, target(vault, "2.0.0", NEW))]);
    let targets = complete(named.clone(), &nodes(all)).unwrap();
    assert_eq!(targets[&vault], named[&vault]);
    assert_eq!(targets[&consul], target(consul, "1.0.0", OLD));
    // The plan has no step of the other tier, even with --all-nodes.
    let mut request = request(THREE, NEITHER, NEW);
    request.targets = targets;
    request.choices.all_nodes = [vault].into();
    let planned = plan(&inventory(THREE), &request).unwrap();
    assert!(planned.names(consul, true).is_empty());
    assert_eq!(planned.names(vault, true).len(), 3);
    assert_eq!(planned.new_images(), [named[&vault].manifest]);

    let named = BTreeMap::from([(consul, target(consul, "2.0.0", NEW))]);
    let error = complete(named, &nodes(all)).unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.hint()), @r"
    cannot keep the image of vault: its nodes run vault-server@1.0.0 and vault-server@1.0.1
    Name its image, too, as in `--to vault-server@1.0.1`.
    ");
    let mut chosen = BTreeMap::new();
    add(&mut chosen, image(vault, "1.0.0")).unwrap();
    add(&mut chosen, image(consul, "1.0.0")).unwrap();
    let error = add(&mut chosen, image(vault, "1.0.1")).unwrap_err();
    assert!(matches!(error, TargetsError::Two { .. }), "{error}");
    insta::assert_snapshot!(format!("{error}\n{}", error.hint()), @r"
    cannot roll out two images to the nodes of vault: vault-server@1.0.0 and vault-server@1.0.1
    Name one image for each tier with --to.
    ");
}
