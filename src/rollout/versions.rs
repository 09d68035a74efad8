//! Which jumps of versions Consul and Vault permit, as dated tables.
//! Takes a product and two versions; returns the reason if the jump is not permitted.

use std::fmt;

use semver::Version;

/// The date of the tables. Later releases are not in them.
pub const AS_OF: &str = "2026-11-28";

/// The most minor versions of Consul that one upgrade may pass.
const MAX_MINORS: u64 = 2;

const CONSUL_SOURCE: &str = "https://developer.hashicorp.com/consul/docs/upgrade/instructions";
const VAULT_SOURCE: &str = "https://developer.hashicorp.com/vault/docs/upgrading";

/// A series of releases, as in 1.21.
type Series = (u64, u64);

/// A product with the newest series in the tables.
struct Table {
    product: &'static str,
    newest: Series,
    source: &'static str,
}

const CONSUL: Table = Table {
    product: "consul",
    newest: (2, 1),
    source: CONSUL_SOURCE,
};

const VAULT: Table = Table {
    product: "vault",
    newest: (2, 2),
    source: VAULT_SOURCE,
};

/// An upgrade that Consul's documentation describes on its own.
struct Dedicated {
    from: (Version, Version),
    /// The first and the last version that it may lead to.
    to: (Version, Version),
}

static DEDICATED: [Dedicated; 3] = [
    Dedicated {
        from: (Version::new(1, 6, 9), Version::new(1, 8, 18)),
        to: (Version::new(1, 8, 19), Version::new(1, 8, 19)),
    },
    Dedicated {
        from: (Version::new(1, 8, 0), Version::new(1, 9, 17)),
        to: (Version::new(1, 10, 12), Version::new(1, 10, 12)),
    },
    Dedicated {
        from: (Version::new(1, 21, 7), Version::new(1, 21, u64::MAX)),
        to: (Version::new(2, 0, 0), Version::new(2, 0, u64::MAX)),
    },
];

/// The version of Consul that upgrades from below 1.10 to above 1.10 must stop at.
const CONSUL_STOP: Version = Version::new(1, 10, 12);

/// A jump of versions that is not permitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct JumpRefusal {
    product: &'static str,
    from: Box<str>,
    to: Box<str>,
    why: Why,
    page: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Downgrade,
    TooFar,
    Through,
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
            Why::TooFar => write!(f, "one upgrade may pass {MAX_MINORS} minor versions"),
            Why::Through => write!(f, "an upgrade must stop at {CONSUL_STOP}"),
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
            Why::TooFar | Why::Major => format!(
                "Roll out a version in between first, see {source}, or pass \
                 --allow-version-jump REASON."
            ),
            Why::Through => {
                format!(
                    "Roll out {CONSUL_STOP} first, see {source}, or pass --allow-version-jump REASON."
                )
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
pub fn jump(product: &str, from: &str, to: &str) -> Result<(), JumpRefusal> {
    let table = match product {
        "consul" => &CONSUL,
        _ => &VAULT,
    };
    let refuse = |why| JumpRefusal {
        product: table.product,
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
    let is_consul = table.product == CONSUL.product;
    match is_consul.then(|| consul(&old, &new)).flatten() {
        Some(why) => Err(refuse(why)),
        None => Ok(()),
    }
}

fn series(version: &Version) -> Series {
    (version.major, version.minor)
}

fn consul(old: &Version, new: &Version) -> Option<Why> {
    let within =
        |(first, last): &(Version, Version), version: &Version| first <= version && version <= last;
    let mut all = DEDICATED.iter();
    if all.any(|dedicated| within(&dedicated.from, old) && within(&dedicated.to, new)) {
        return None;
    }
    let stop = series(&CONSUL_STOP);
    if new.major != old.major {
        Some(Why::Major)
    } else if series(old) < stop && series(new) > stop {
        Some(Why::Through)
    } else {
        (new.minor - old.minor > MAX_MINORS).then_some(Why::TooFar)
    }
}
