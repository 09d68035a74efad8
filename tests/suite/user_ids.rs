//! Requirements for bases from packages without root, by the content of system files.

use vault_bake::platform::qemu::UserIds;

/// A user with all requirements.
fn user() -> UserIds {
    UserIds {
        uid: 1000,
        name: Some("ci".to_owned()),
        subuid: Some("root:1:9\nci:100000:65536\n".to_owned()),
        subgid: Some("# a comment\n1000:231072:65536\n".to_owned()),
        ..UserIds::default()
    }
}

#[test]
fn what_is_lacking_is_named_with_the_command_that_helps() {
    let text = |text: &str| Some(text.to_owned());
    let change = |change: fn(&mut UserIds)| {
        let mut ids = user();
        change(&mut ids);
        ids
    };
    let mut cases = vec![
        ("nothing", user()),
        (
            "no files",
            change(|ids| (ids.subuid, ids.subgid) = (None, None)),
        ),
        (
            "root without files",
            change(|ids| (ids.uid, ids.subuid, ids.subgid) = (0, None, None)),
        ),
        (
            "another source",
            change(|ids| (ids.other_source, ids.subuid) = (true, None)),
        ),
        ("no name", change(|ids| ids.name = None)),
    ];
    for (case, line) in [
        ("empty", ""),
        ("another user", "cia:100000:65536\n"),
        ("another number", "10000:100000:65536\n"),
        ("too few", "ci:100000:65535\n"),
        (
            "two ranges that are too short",
            "ci:1:40000\nci:50000:40000\n",
        ),
        ("second line", "a:1:65536\nci:165536:65536\n"),
        ("blanks", "  ci:100000:65536  \n"),
        ("no number", "ci:100000:many\n"),
        ("cut off", "ci:100000\n"),
    ] {
        let subuid = text(line);
        cases.push((case, UserIds { subuid, ..user() }));
    }
    for (case, value) in [("clone 1", "1\n"), ("clone 0", "0\n")] {
        let userns_clone = text(value);
        cases.push((
            case,
            UserIds {
                userns_clone,
                ..user()
            },
        ));
    }
    for (case, value) in [("namespaces 0", "0\n"), ("namespaces", "63000\n")] {
        let most_namespaces = text(value);
        cases.push((
            case,
            UserIds {
                max_namespaces: most_namespaces,
                ..user()
            },
        ));
    }
    for (case, value, apparmor_allows) in [
        ("AppArmor", "1\n", false),
        ("AppArmor with a profile", "1\n", true),
        ("AppArmor off", "0\n", false),
    ] {
        let apparmor_restricts = text(value);
        let ids = UserIds {
            apparmor_restricts,
            apparmor_allows,
            ..user()
        };
        cases.push((case, ids));
    }
    let lines = cases.into_iter().map(|(case, ids)| {
        let lacks = ids.missing_settings();
        format!(
            "{case}: {}",
            if lacks.is_empty() {
                "nothing".to_owned()
            } else {
                lacks.join("\n  ")
            }
        )
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}
