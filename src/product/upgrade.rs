//! Which jumps of versions products permit, by dated tables of their own.
//! Takes a product and two versions; returns the reason if the jump is not permitted.

use std::fmt;

use semver::Version;

use super::Product;

/// The date of the tables. Later releases are not in them.
pub const AS_OF: &str = "2026-11-28";

/// A series of releases, as in 1.21.
pub(super) type Series = (u64, u64);

/// The permitted jumps of one product.
pub(super) struct Table {
    /// The newest series that is known.
    pub(super) newest: Series,
    /// The address of the upgrade notes.
    pub(super) source: &'static str,
    /// Returns why the product does not permit to replace the first version by the second one,
    /// which is newer and of another series.
    pub(super) refusal: fn(&Version, &Version) -> Option<Why>,
}

/// A jump of versions that is not permitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct JumpRefusal {
    product: Product,
    from: Box<str>,
    to: Box<str>,
    why: Why,
    page: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Downgrade,
    /// One upgrade may pass so many minor versions.
    TooFar(u64),
    /// An upgrade must stop at this version.
    Through(Version),
    Major,
    Unknown,
    Unreadable(Box<str>),
}

impl fmt::Display for JumpRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            product, from, to, ..
        } = self;
        write!(f, "{product} {from} to {to}: ")?;
        match &self.why {
            Why::Downgrade => f.write_str("its data does not go back to an older version"),
            Why::TooFar(most) => write!(f, "one upgrade may pass {most} minor versions"),
            Why::Through(stop) => write!(f, "an upgrade must stop at {stop}"),
            Why::Major => f.write_str("this jump to a new major version is in no table"),
            Why::Unknown => write!(f, "{to} is newer than the table of {AS_OF}"),
            Why::Unreadable(text) => write!(f, "`{text}` is no version"),
        }
    }
}

impl JumpRefusal {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> String {
        let source = self.page;
        match &self.why {
            Why::Downgrade => {
                "Choose an image with the same or a newer version. This cluster does not go back: \
                 see \"Back to an older version\" in docs/rollout.md."
                    .to_owned()
            }
            Why::TooFar(_) | Why::Major => format!(
                "Roll out a version in between first, see {source}, or pass \
                 --allow-version-jump REASON."
            ),
            Why::Through(stop) => {
                format!("Roll out {stop} first, see {source}, or pass --allow-version-jump REASON.")
            }
            Why::Unknown | Why::Unreadable(_) => format!(
                "Read the notes of each version in between, see {source}, then pass \
                 --allow-version-jump REASON."
            ),
        }
    }

    /// Whether `--allow-version-jump` permits it. Nothing permits a downgrade.
    pub fn can_be_allowed(&self) -> bool {
        self.why != Why::Downgrade
    }
}

/// Fails if `product` does not permit to replace version `from` by version `to` at once.
pub fn jump(product: Product, from: &str, to: &str) -> Result<(), JumpRefusal> {
    let table = &product.facts().upgrades;
    let refuse = |why| JumpRefusal {
        product,
        from: from.into(),
        to: to.into(),
        why,
        page: table.source,
    };
    let parse = |text: &str| {
        let version = Version::parse(text.trim_start_matches('v'));
        version.map_err(|_| refuse(Why::Unreadable(text.into())))
    };
    let (old, new) = (parse(from)?, parse(to)?);
    if new.cmp_precedence(&old).is_lt() {
        return Err(refuse(Why::Downgrade));
    }
    if series(&new) == series(&old) {
        return Ok(());
    }
    if series(&new) > table.newest {
        return Err(refuse(Why::Unknown));
    }
    match (table.refusal)(&old, &new) {
        Some(why) => Err(refuse(why)),
        None => Ok(()),
    }
}

pub(super) fn series(version: &Version) -> Series {
    (version.major, version.minor)
}
