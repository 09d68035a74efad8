//! Foreign resources that careless code would delete: similar names, similar tags, and the project's
//! tags with other values.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kinds::{GROUP, Kind, kind};
use super::rules::{DISK, IMAGE, NIC, NSG, PUBLIC_IP, VM, VNET};
use super::world::{CloudState, Resource, now};

/// The foreign resources in their original state.
pub struct Decoys(BTreeMap<String, (Value, String, Value)>);

/// Adds foreign resources named after `name`, once with each set of `tags`.
pub fn plant(cloud: &mut CloudState, name: &str, tags: &[Value]) -> Decoys {
    let subscription = cloud.config.subscription.clone();
    let mut planted = Vec::new();
    for (number, tags) in tags.iter().enumerate() {
        let group =
            format!("{name}{}", ["-old", "2", "-prod", "x"][number % 4]) + &number.to_string();
        let base = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        planted.push(put(cloud, &GROUP, base.clone(), tags));
        for named in [NSG, VNET, PUBLIC_IP, NIC, VM, DISK, IMAGE] {
            let id = format!("{base}/providers/{named}/{name}");
            planted.push(put(cloud, kind(named).expect("a kind"), id, tags));
        }
    }
    Decoys(
        planted
            .into_iter()
            .map(|id| {
                let resource = &cloud.resources[&id];
                let original = (
                    resource.body.clone(),
                    resource.state.clone(),
                    resource.inner.clone(),
                );
                (id, original)
            })
            .collect(),
    )
}

/// Adds a resource without a request. Returns its key.
pub fn put(cloud: &mut CloudState, kind: &'static Kind, id: String, tags: &Value) -> String {
    let key = id.to_lowercase();
    let resource = Resource {
        id,
        kind,
        body: json!({ "location": cloud.config.locations[0], "tags": tags, "properties": {} }),
        state: "Succeeded".to_owned(),
        hidden: 0,
        inner: json!({ "created": now(), "power": "running", "vm": null }),
        revision: 1,
    };
    cloud.resources.insert(key.clone(), resource);
    key
}

impl Decoys {
    /// Returns the ids of decoys that were deleted or changed.
    pub fn touched(&self, cloud: &CloudState) -> Vec<String> {
        self.0
            .iter()
            .filter(|(id, (body, state, inner))| {
                cloud.resources.get(*id).is_none_or(|now| {
                    now.body != *body || now.state != *state || now.inner != *inner
                })
            })
            .map(|(id, _)| id.clone())
            .collect()
    }
}
