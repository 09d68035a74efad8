//! Values of variables, from the command line and from the environment.

use super::*;

/// A project of three images: `app` with a secret and lists, `web` without either, and `nodes` with
/// the
/// inputs of the shipped provisioners.
fn variables_project() -> tempfile::TempDir {
    let folder = project();
    let write = |image: &str, text: &str| {
        let folder = folder.path().join("images").join(image);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("image.toml"), text).unwrap();
    };
    let head = "schema = 1\ndescription = \"an image\"\nbase.qemu.kind = \"packages\"\n";
    let seal = "\n[[step]]\nprovisioner = \"seal\"\n";
    write(
        "app",
        &format!(
            "{head}\n[variables.token]\ntype = \"string\"\nsensitive = true\n\n[variables.users]\ntype = \"list\"\ndefault = []\n\n\
         [[step]]\ninline = \"true\"\nenv = {{ TOKEN = \"{{{{ var.token }}}}\", USERS = \"{{{{ var.users | join(' ') }}}}\" }}\n{seal}"
        ),
    );
    write(
        "nodes",
        &format!(
            "{head}\n[variables.key_vaults]\ntype = \"list\"\ndefault = []\n\n[variables.login_users]\ntype = \"list\"\ndefault = []\n\n\
         [[step]]\nprovisioner = \"base\"\ninputs = {{ key_vaults = \"{{{{ var.key_vaults }}}}\" }}\n\n\
         [[step]]\nprovisioner = \"harden\"\ninputs = {{ login_users = \"{{{{ var.login_users }}}}\" }}\n{seal}"
        ),
    );
    folder
}

/// Runs the binary with environment variables, and formats the output.
fn transcript(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vault-bake"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let set = environment
        .iter()
        .map(|(name, value)| format!("{name}={value} "));
    format!(
        "=== {}vault-bake {}\n{}",
        set.collect::<String>(),
        arguments.join(" "),
        format_run(folder, &output)
    )
}

/// Environment variables and arguments.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn a_variable_of_the_environment_is_used_or_named() {
    let folder = variables_project();
    let folder = folder.path();
    let token = ("VB_VAR_token", "hush-0123");
    let cases: [Case; 10] = [
        (&[], &["validate", "app"]),
        (&[token], &["validate", "app"]),
        (&[("VB_VAR_TOKEN", "hush-0123")], &["validate", "app"]),
        (
            &[token, ("VB_VAR_TOKEN", "hush-0123")],
            &["validate", "app"],
        ),
        (
            &[token, ("VB_VAR_TOKEN", "hush-4567")],
            &["validate", "app"],
        ),
        (&[("VB_VAR_tokn", "hush-0123")], &["validate", "app"]),
        (
            &[token, ("VB_VAR_user", "a"), ("VB_VAR_fooo", "1")],
            &["validate", "app"],
        ),
        (
            &[
                token,
                ("VB_VAR_greeting", "hi"),
                ("VB_VAR_KEY_VAULTS", "https://a.vault.azure.net"),
            ],
            &["validate"],
        ),
        (&[token, ("VB_VAR_greting", "hi")], &["validate"]),
        (&[token, ("VB_VAR_users", "[\"a\",")], &["validate", "app"]),
    ];
    let transcripts =
        cases.map(|(environment, arguments)| transcript(folder, environment, arguments));
    insta::with_settings!({filters => vec![(r"sha256:[0-9a-f]{64}", "DIGEST")]}, {
        insta::assert_snapshot!(transcripts.join("\n"));
    });
}

#[test]
fn variables_of_the_command_line_are_checked_where_they_are_given() {
    let folder = variables_project();
    let folder = folder.path();
    let token = [("VB_VAR_token", "hush-0123")];
    let cases: [&[&str]; 16] = [
        &["validate", "app", "--var", "users=[\"a\",\"b\"]"],
        &["validate", "app", "--var", "users=a,b"],
        &["validate", "app", "--var", "users=\"a\",\"b\""],
        &["validate", "app", "--var", "users=[a,b]"],
        &["validate", "app", "--var", "user=a"],
        &["validate", "app", "--var", "USERS=a"],
        // A variable that some images have applies to those. One that no image has is an error of
        // each.
        &["validate", "--var", "users=a", "--var", "greeting=hi"],
        &["validate", "app", "web", "--var", "greting=hi"],
        &[
            "validate",
            "nodes",
            "--var",
            "key_vaults=https://a.vault.azure.net,https://b.vault.azure.net",
        ],
        &[
            "validate",
            "nodes",
            "--var",
            "key_vaults=[\"https://a.vault.azure.net\"]",
        ],
        &["validate", "nodes", "--var", "key_vaults=http://x"],
        &["plan", "nodes", "--var", "key_vaults=http://x"],
        &["lock", "nodes", "--var", "key_vaults=https://a https://b"],
        &["build", "nodes", "--var", "key_vaults=https://"],
        &["validate", "nodes", "--var", "login_users=root; rm"],
        &[
            "validate",
            "nodes",
            "--var",
            "login_users=[\"ops\", \"Ops Team\"]",
        ],
    ];
    let transcripts = cases.map(|arguments| transcript(folder, &token, arguments));
    insta::assert_snapshot!(transcripts.join("\n"));
}

#[test]
fn a_list_in_brackets_means_the_same_as_one_without() {
    let folder = variables_project();
    let of = |given: &str| {
        let definition = folder.path().join("images/nodes");
        let given = BTreeMap::from([("login_users".to_owned(), given.to_owned())]);
        Definition::load(&definition, &given, &vault_bake::platform::all(None))
            .unwrap_or_else(|error| panic!("{error}"))
            .digest
    };
    let forms = [
        "[\"a\",\"b\"]",
        "['a', 'b']",
        "[\"a\", 'b',]",
        " [ \"a\" , \"b\" ] ",
        "a,b",
        " a , b ",
        "a\nb",
    ];
    assert!(forms.iter().all(|form| of(form) == of(forms[0])));
    assert_eq!(of("[]"), of(""));
    assert_ne!(of("[\"a,b\"]"), of("a,b"));
}

/// clap would name the option alone, which the user did not write.
#[test]
fn an_empty_variable_of_an_option_is_named() {
    let folder = project();
    let folder = folder.path();
    let cases: [Case; 8] = [
        (
            &[("VAULT_BAKE_CLUSTERS", "")],
            &["cluster", "status", "dev"],
        ),
        (
            &[("VAULT_BAKE_CLUSTERS", "")],
            &["cluster", "logs", "x", "--json"],
        ),
        (
            &[("VAULT_BAKE_UNSEAL_KEYS_FILE", "")],
            &["cluster", "up", "dev"],
        ),
        (&[("VAULT_BAKE_STORE", "")], &["images"]),
        (&[("VAULT_BAKE_PROJECT", "")], &["validate"]),
        (&[("VAULT_BAKE_SIGNER", "")], &["images"]),
        (&[("VAULT_BAKE_RELEASES", "")], &["lock", "web"]),
        // Another verb does not read it.
        (&[("VAULT_BAKE_CLUSTERS", "")], &["validate"]),
    ];
    let table = cases.map(|(environment, arguments)| transcript(folder, environment, arguments));
    insta::assert_snapshot!(table.join("\n"));
}
