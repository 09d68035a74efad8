//! Deletes expired resources of runs without a journal, found by their tags.
//!
//! Takes an ARM client and the time; returns the resources and whether they were deleted.
//! A resource is ignored unless it has both the expiry tag and the run tag.

use jiff::Timestamp;
use serde_json::Value;

use super::cleanup::Cleaner;
use super::names::{EXPIRES_TAG, ID_TAG};
use super::{AzureError, body};
use crate::azure::ArmClient;
use crate::event::Events;
use crate::teardown::Cloud as _;

/// An expired resource of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Its resource id.
    pub id: String,
    /// The id of the run, from the tag.
    pub run: String,
    /// The time of its expiry, from the tag.
    pub expired_at: Timestamp,
    /// The reason why it was not deleted; `None` if it was, or after a dry run.
    pub failure: Option<String>,
}

/// Deletes every expired group, and every expired resource outside of those groups.
///
/// With `dry_run`, deletes nothing and returns the same list.
pub async fn sweep_expired(
    arm: &ArmClient,
    now: Timestamp,
    dry_run: bool,
    events: &Events,
) -> Result<Vec<Expired>, AzureError> {
    let filter = [("$filter", format!("tagName eq '{EXPIRES_TAG}'"))];
    let query: Vec<(&str, &str)> = filter
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let root = format!("/subscriptions/{}", arm.subscription());
    let groups = arm
        .list(format!("{root}/resourcegroups"), body::RESOURCES, &query)
        .await?;
    let resources = arm
        .list(format!("{root}/resources"), body::RESOURCES, &query)
        .await?;
    let mut found: Vec<(Expired, &str)> = Vec::new();
    for resource in groups.iter().chain(&resources) {
        let Some(expired) = read_expired(resource, now) else {
            continue;
        };
        let inside = |group: &(Expired, &str)| {
            let group = group.0.id.to_ascii_lowercase();
            expired
                .id
                .to_ascii_lowercase()
                .starts_with(&format!("{group}/"))
        };
        if !found.iter().any(inside) {
            found.push((expired, api_version(resource)));
        }
    }
    // A VM is deleted with its disk and interface, and before the resources that it uses.
    found.sort_by_key(|(expired, _)| deletion_rank(&expired.id));
    let cleaner = Cleaner::new(arm);
    let mut swept = Vec::new();
    for (mut expired, api) in found {
        if !dry_run {
            let undo = (expired.id.as_str(), api, Some(expired.run.as_str()));
            expired.failure = cleaner.remove(undo, true, events).await.err();
        }
        swept.push(expired);
    }
    Ok(swept)
}

fn read_expired(resource: &Value, now: Timestamp) -> Option<Expired> {
    let tags = &resource["tags"];
    let expired_at: Timestamp = tags[EXPIRES_TAG].as_str()?.parse().ok()?;
    (expired_at < now).then_some(Expired {
        id: resource["id"].as_str()?.to_owned(),
        run: tags[ID_TAG].as_str()?.to_owned(),
        expired_at,
        failure: None,
    })
}

/// The types of resources in the order of their deletion.
const ORDER: [&str; 7] = [
    "virtualmachines",
    "images",
    "snapshots",
    "networkinterfaces",
    "publicipaddresses",
    "networksecuritygroups",
    "virtualnetworks",
];

fn last_type(id: &str) -> String {
    id.rsplit('/')
        .nth(1)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn deletion_rank(id: &str) -> usize {
    let kind = last_type(id);
    ORDER
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(ORDER.len())
}

fn api_version(resource: &Value) -> &'static str {
    let id = resource["id"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match last_type(&id).as_str() {
        "resourcegroups" => body::RESOURCES,
        "disks" | "snapshots" => body::DISKS,
        _ if id.contains("/microsoft.network/") => body::NETWORK,
        _ => body::COMPUTE,
    }
}
