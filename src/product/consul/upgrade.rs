//! Which jumps of versions Consul permits.

use semver::Version;

use crate::product::upgrade::{Table, Why, series};

pub(super) const TABLE: Table = Table {
    newest: (2, 1),
    source: "https://developer.hashicorp.com/consul/docs/upgrade/instructions",
    refusal,
};

/// The most minor versions that one upgrade may pass.
const MAX_MINORS: u64 = 2;

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

/// The version that upgrades from below 1.10 to above 1.10 must stop at.
const STOP: Version = Version::new(1, 10, 12);

fn refusal(old: &Version, new: &Version) -> Option<Why> {
    let within =
        |(first, last): &(Version, Version), version: &Version| first <= version && version <= last;
    let mut all = DEDICATED.iter();
    if all.any(|dedicated| within(&dedicated.from, old) && within(&dedicated.to, new)) {
        return None;
    }
    let stop = series(&STOP);
    if new.major != old.major {
        Some(Why::Major)
    } else if series(old) < stop && series(new) > stop {
        Some(Why::Through(STOP))
    } else {
        (new.minor - old.minor > MAX_MINORS).then_some(Why::TooFar(MAX_MINORS))
    }
}
