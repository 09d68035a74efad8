//! The ids of images in plans: their classes and their lookup keys.

/// The folder of local artifacts, relative to the store.
pub(super) const LOCAL: &str = "artifacts/sha256/";

/// The planned image of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedImage {
    /// The id of an image.
    Id(String),
    /// The id is known only after the plan is applied.
    Unknown,
    /// There is no id in the plan, for this reason.
    NoId(String),
}

/// Returns the message for an image with a name but no id.
pub(super) fn marketplace(name: &str) -> String {
    format!("the marketplace image {name} has no id and cannot be looked up")
}

pub(super) fn is_image(text: &str) -> bool {
    text.contains(LOCAL) || class(text).is_some()
}

/// Returns the class of an image, if the form of its id shows it.
pub(super) fn class(id: &str) -> Option<&'static str> {
    let id = id.to_ascii_lowercase();
    if id.starts_with("/subscriptions/") {
        let (_, kind) = id.split_once("/providers/microsoft.compute/")?;
        let parts: Vec<&str> = kind.split('/').collect();
        return match parts[..] {
            ["images", _] => Some("azure-managed-image"),
            ["galleries", _, "images", _] | ["galleries", _, "images", _, "versions", _] => {
                Some("azure-gallery-version")
            }
            _ => None,
        };
    }
    id.contains(LOCAL).then_some("qcow2")
}

/// Whether an id refers to a gallery image without a version, or to the newest one.
pub(super) fn is_unversioned(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    class(&id) == Some("azure-gallery-version")
        && (!id.contains("/versions/") || id.ends_with("/versions/latest"))
}

/// Returns the lookup key of an id. Azure ids are case-insensitive. A local path counts from the
/// folder of artifacts.
pub(super) fn key(id: &str) -> String {
    match id.rfind(LOCAL) {
        Some(at) => id[at..].to_owned(),
        None if id.starts_with('/') => id.to_ascii_lowercase(),
        None => id.to_owned(),
    }
}
