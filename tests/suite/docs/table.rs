//! How each command and each other block of the pages is tested, in the order of the page.

use super::data::{self, Checked};
use super::fixtures;
use super::project::Project;

/// How a command is tested. A test is named as in `docs/promises.md`.
#[derive(Clone, Copy)]
pub enum Way {
    /// It runs here, ends with 0, and prints what the page says.
    Runs,
    /// It runs here and looks at this computer, so that its exit status and numbers differ.
    Doctor,
    /// It runs here with a stub, and for real in this test.
    Stub(&'static str),
    /// It runs here with `--dry-run`, and for real in this test.
    DryRun(&'static str),
    /// The binary parses its arguments here; it runs in this test.
    Parsed(&'static str),
    /// This test reads it from the page and runs it.
    Tested(&'static str),
    /// make prints what it would do.
    Make,
    /// cargo parses its arguments. The tests that it names exist.
    Cargo(&'static [&'static str]),
}

/// How another block is tested.
pub enum Check {
    /// By this function.
    Call(fn(&Project, &str) -> Checked),
    /// By this test.
    Tested(&'static str),
}

/// What happens next on a page. Commands and blocks are named by their first line.
pub enum Entry {
    Before(fn(&Project)),
    Command(&'static str, Way),
    Block(&'static str, Check),
}

const fn before(prepare: fn(&Project)) -> Entry {
    Entry::Before(prepare)
}

const fn runs(command: &'static str) -> Entry {
    Entry::Command(command, Way::Runs)
}

const fn dry_run(command: &'static str, test: &'static str) -> Entry {
    Entry::Command(command, Way::DryRun(test))
}

const fn parsed(command: &'static str, test: &'static str) -> Entry {
    Entry::Command(command, Way::Parsed(test))
}

const fn command(command: &'static str, way: Way) -> Entry {
    Entry::Command(command, way)
}

const fn block(line: &'static str, check: fn(&Project, &str) -> Checked) -> Entry {
    Entry::Block(line, Check::Call(check))
}

const fn tested(line: &'static str, test: &'static str) -> Entry {
    Entry::Block(line, Check::Tested(test))
}

const AUDIT_LOG: &str =
    "suite provisioners::settings::the_audit_log_is_where_vault_may_write_and_logrotate_looks";
const BUILD: &str = "real bake::the_quickstart_with_a_secret_is_baked_in_two_goes_and_tested";
const SERVERS: &str = "real bake::shipped_servers_are_baked_and_form_a_cluster";
const LOST: &str = "suite clusters::lost::a_cluster_whose_state_is_lost_is_not_founded_anew";
const ROLLED: &str = "real bake::six_nodes_are_replaced_and_put_back_without_a_failed_request";
const ON_AZURE: &str =
    "real azure::exhaustive::a_bake_on_azure_ends_with_a_tested_image_and_nothing_else";
const KEPT: &str = "real bake::ended::a_build_vm_is_kept_after_a_failed_step_until_a_sweep";
const BOOTED: &str =
    "real bake::exhaustive::a_boot_test_whose_qemu_crashes_twice_is_an_error_and_no_test";
const AUDITED: &str =
    "real bake::exhaustive::an_audit_says_how_hard_an_image_is_and_how_hard_its_base_was";
const RENEWED: &str = "real bake::exhaustive::vms_of_the_quickstart_take_and_refuse_identities";
const GITHUB: &str = "azure client::credentials::a_job_of_github_shows_what_github_signs";
const ROLE: &str = "azure documented::the_role_has_what_is_requested_and_nothing_else";
const REFUSED: &str = "azure bakes::a_standard_machine_that_azure_refuses_has_a_way_out";
const OPTIONS: &str = "azure bakes::options_are_what_azure_is_asked_for";
const NVME: &str = "azure bases::nvme_needs_a_size_a_base_and_a_definition_that_support_it";
const MIRROR: &str = "real fixture_vault::the_mirror_is_made_once_even_by_two_at_once";
const TERRAFORM: &str =
    "suite resolve::terraform::the_real_terraform_reads_the_variables_and_its_plan_is_checked";
const QEMU: &str =
    "suite qemu::documented::qemu_accepts_the_documented_command_and_shows_the_node_its_identity";
const LIBVIRT: &str =
    "suite qemu::documented::libvirt_accepts_the_documented_domain_with_its_identity_and_a_key";
const JOURNAL: &str =
    "suite qemu::documented::the_journal_of_a_stopped_node_is_read_by_the_documented_commands";
const KEY: &str =
    "suite qemu::documented::a_documented_key_lets_root_in_until_the_next_boot_without_it";

const ABORTED: &str = "suite rollout::executions::an_abort_from_any_point_goes_back_or_is_refused";
const TAKEN_OVER: &str =
    "suite store::rollouts::a_rollout_begins_once_and_is_taken_over_only_on_request";
const RECORDS: &str = "suite cli::rollouts::rollouts_are_listed_and_shown";
const MOVED: &str = "suite cli::channels::a_channel_moves_and_moves_back";

/// The pages with blocks, in the order of the tests.
pub const PAGES: [(&str, &[Entry]); 23] = [
    ("README.md", README),
    ("docs/azure.md", AZURE_PAGE),
    ("docs/build.md", BUILD_PAGE),
    ("docs/clusters.md", CLUSTERS),
    ("docs/definition.md", DEFINITION),
    ("docs/deploy.md", DEPLOY),
    ("docs/events.md", EVENTS),
    ("docs/exit-codes.md", EXIT_CODES),
    ("docs/gc.md", GC),
    ("docs/hardening.md", HARDENING),
    ("docs/identity.md", IDENTITY),
    ("docs/lint.md", LINT),
    ("docs/load-balancer.md", LOAD_BALANCER),
    ("docs/nodes.md", NODES),
    ("docs/performance.md", PERFORMANCE),
    ("docs/project.md", PROJECT),
    ("docs/promises.md", PROMISES),
    ("docs/provisioners.md", PROVISIONERS),
    ("docs/rollout.md", ROLLOUT),
    ("docs/store.md", STORE),
    ("docs/terraform.md", TERRAFORM_PAGE),
    ("docs/troubleshooting.md", TROUBLESHOOTING),
    ("docs/trust.md", TRUST),
];

const README: &[Entry] = &[
    before(fixtures::locks),
    dry_run("vault-bake build quickstart", BUILD),
    before(fixtures::one_image),
    runs("vault-bake promote quickstart staging"),
    command("make quickstart", Way::Make),
    command("make test", Way::Make),
    command("make setup", Way::Make),
    command("cargo install --locked --path .", Way::Cargo(&[])),
    command("vault-bake doctor", Way::Doctor),
    parsed("vault-bake lock quickstart --builder qemu", BUILD),
    dry_run("vault-bake build quickstart", BUILD),
    before(fixtures::one_image),
    runs("vault-bake images quickstart"),
    block("schema = 1", data::definition),
    parsed("vault-bake lock vault-server --builder azure", ON_AZURE),
    dry_run(
        "vault-bake build vault-server --builder azure --var azure_allow_from=203.0.113.7",
        ON_AZURE,
    ),
    before(fixtures::staged),
    runs("vault-bake promote quickstart:staging prod"),
    runs("vault-bake channel list"),
    parsed("vault-bake cluster up dev", SERVERS),
    parsed("vault-bake cluster status dev", SERVERS),
    tested("eval \"$(vault-bake cluster env dev)\"", SERVERS),
    parsed("vault-bake rollout plan dev", ROLLED),
    parsed("vault-bake rollout start dev", ROLLED),
    runs("vault-bake pin quickstart:prod"),
    runs("vault-bake verify --pins vault-bake.pins.json"),
    runs(r"vault-bake resolve --pins vault-bake.pins.json quickstart:prod \"),
    before(fixtures::planned),
    command("terraform plan -out=plan.bin", Way::Stub(TERRAFORM)),
    command(
        "terraform show -json plan.bin >plan.json",
        Way::Stub(TERRAFORM),
    ),
    runs("vault-bake check-plan plan.json"),
    command("vault-bake doctor", Way::Doctor),
    dry_run("vault-bake build quickstart --on-error keep", KEPT),
    runs("vault-bake sweep"),
];

const AZURE_PAGE: &[Entry] = &[
    before(fixtures::role),
    before(fixtures::locks),
    command(
        "subscription=$(az account show --query id --output tsv)",
        Way::Stub(ROLE),
    ),
    command(
        "az group create --name images --location westeurope",
        Way::Stub(ROLE),
    ),
    command(
        "az provider register --namespace Microsoft.Compute",
        Way::Stub(ROLE),
    ),
    command(
        "az provider register --namespace Microsoft.Network",
        Way::Stub(ROLE),
    ),
    command(
        "az role definition create --role-definition @role.json",
        Way::Stub(ROLE),
    ),
    command(
        "client=$(az ad app create --display-name vault-bake --query appId --output tsv)",
        Way::Stub(GITHUB),
    ),
    command(r#"az ad sp create --id "$client""#, Way::Stub(ROLE)),
    command(
        r#"az role assignment create --assignee "$client" --role vault-bake --scope "/subscriptions/$subscription""#,
        Way::Stub(ROLE),
    ),
    block("{", data::json),
    command(
        "az sig create --resource-group images --gallery-name images",
        Way::Stub(OPTIONS),
    ),
    command(
        r"az sig image-definition create --resource-group images --gallery-name images \",
        Way::Stub(OPTIONS),
    ),
    command(
        r#"az ad app federated-credential create --id "$client" --parameters @github.json"#,
        Way::Stub(GITHUB),
    ),
    block("{", data::json),
    tested("jobs:", GITHUB),
    block("[azure]", data::project_file),
    block("[base.azure]", data::part),
    command(
        r"az sig image-definition create --resource-group images --gallery-name images \",
        Way::Stub(NVME),
    ),
    parsed("vault-bake lock vault-server --builder azure", ON_AZURE),
    dry_run(
        r"vault-bake build vault-server --builder azure --var azure_allow_from=203.0.113.7 \",
        ON_AZURE,
    ),
    runs("vault-bake sweep"),
    command(
        "az feature register --namespace Microsoft.Compute --name UseStandardSecurityType",
        Way::Stub(REFUSED),
    ),
    command(
        r"az feature show --namespace Microsoft.Compute --name UseStandardSecurityType \",
        Way::Stub(REFUSED),
    ),
    command(
        "az provider register --namespace Microsoft.Compute",
        Way::Stub(REFUSED),
    ),
];

const BUILD_PAGE: &[Entry] = &[
    block("# images/web/image.toml", data::definition),
    before(fixtures::locks),
    runs("vault-bake validate quickstart"),
    runs("vault-bake lint quickstart"),
    parsed("vault-bake lock quickstart --builder qemu", BUILD),
    runs("vault-bake plan quickstart"),
    runs("vault-bake plan quickstart"),
    before(fixtures::fixture_mirror),
    command(
        "tests/fixture-mirror/make target/fixture-mirror",
        Way::Stub(MIRROR),
    ),
    runs("export VAULT_BAKE_RELEASES=$PWD/target/fixture-mirror"),
    runs("export VAULT_BAKE_RELEASE_KEY_FILE=$PWD/target/fixture-mirror/key.asc"),
    runs("export VAULT_BAKE_RELEASE_FINGERPRINT=$(cat target/fixture-mirror/fingerprint)"),
    runs("export VB_VAR_vault_version=1.15.6+fixture VB_VAR_consul_version=1.8.7"),
    parsed("vault-bake lock quickstart --builder qemu", BUILD),
    before(fixtures::lock_from_mirror),
    dry_run("vault-bake build quickstart", BUILD),
    dry_run("vault-bake build quickstart", BUILD),
    before(fixtures::one_image),
    dry_run("vault-bake test quickstart", BOOTED),
    before(fixtures::one_revoked),
    runs("vault-bake images"),
    before(fixtures::unpromoted),
    runs("vault-bake show quickstart@2026.1129.0"),
    runs("vault-bake diff quickstart@2026.1129.0 quickstart@2026.1129.1"),
    runs("vault-bake sbom quickstart >quickstart.cdx.json"),
];

const CLUSTERS: &[Entry] = &[
    runs("vault-bake init vault-project"),
    runs("vault-bake cluster init staging --project vault-project"),
    runs("vault-bake validate --project vault-project"),
    parsed("vault-bake cluster up dev", SERVERS),
    parsed("vault-bake cluster env dev", SERVERS),
    tested("eval \"$(vault-bake cluster env dev)\"", SERVERS),
    parsed("vault-bake cluster status dev", SERVERS),
    parsed("vault-bake cluster logs dev-vault-1-1 --lines 50", SERVERS),
    parsed("vault-bake cluster shell dev-vault-1-1", SERVERS),
    parsed("vault-bake rollout plan dev", ROLLED),
    parsed("vault-bake rollout start dev", ROLLED),
    parsed("vault-bake cluster renew dev", SERVERS),
    parsed("vault-bake cluster down dev", SERVERS),
    parsed("vault-bake cluster down dev --force", LOST),
    parsed("vault-bake cluster up dev", SERVERS),
    block("#:schema ../cluster.schema.json", data::cluster_file),
];

const DEFINITION: &[Entry] = &[
    runs("vault-bake validate"),
    block("schema = 1", data::definition),
    block("[lint.allow]", data::part),
    tested(
        "error: step site/script failed on root@127.0.0.1:33121 (exit 127)",
        "suite guest_steps::scripts::a_script_is_run_by_what_its_first_line_names",
    ),
    tested(
        "error: step site/script cannot be completed: the machine root@127.0.0.1:33121 went away: …",
        "suite guest_steps::leaving::a_step_after_which_the_machine_leaves_fails_and_says_what_was_seen",
    ),
    block("[[step]]", data::part),
    block("[variables.users]", data::part),
    before(fixtures::web),
    dry_run("VB_VAR_token=… vault-bake build web", BUILD),
    block("[[step]]", data::part),
];

const DEPLOY: &[Entry] = &[
    before(fixtures::one_image),
    runs("vault-bake promote quickstart staging"),
    runs("vault-bake promote quickstart:staging prod"),
    before(fixtures::newer_staged),
    runs(r#"vault-bake promote quickstart:staging prod --expect 1 --note "release 12""#),
    before(fixtures::promoted),
    runs("vault-bake channel list"),
    before(fixtures::two_generations),
    runs(r#"vault-bake rollback quickstart:staging --reason "too slow""#),
    runs("vault-bake channel log quickstart:staging"),
    before(fixtures::one_failed),
    runs("vault-bake revoke --release vault --below 1.21.2 --reason CVE-2026-0001 --dry-run"),
    runs(r#"vault-bake revoke quickstart@2026.1129.1 --reason "wrong datacenter""#),
    runs("vault-bake revoke --list"),
    runs("vault-bake revoke --list"),
    runs(r#"vault-bake restore 7 --reason "a mistake""#),
    runs("vault-bake fetch quickstart:prod --to quickstart.qcow2"),
];

const EVENTS: &[Entry] = &[
    before(fixtures::locks),
    dry_run("vault-bake build quickstart --json", BUILD),
    block(
        r#"{"event":"finished","time":"2026-11-28T22:58:38Z","image":"web","version":"2026.1128.0","#,
        data::json,
    ),
];

const EXIT_CODES: &[Entry] = &[
    before(fixtures::locks),
    dry_run("vault-bake build quickstart", BUILD),
    runs("case $? in"),
];

const GC: &[Entry] = &[
    before(fixtures::in_production),
    runs("vault-bake gc"),
    before(fixtures::pinned),
    runs("vault-bake resolve quickstart:prod --format plain >nodes.txt"),
    runs("vault-bake gc --plan --pins vault-bake.pins.json --in-use nodes.txt"),
    before(fixtures::due),
    runs("vault-bake gc --apply 41"),
];

const HARDENING: &[Entry] = &[
    before(fixtures::one_image),
    runs("vault-bake show quickstart --json"),
    before(fixtures::locks),
    dry_run(
        "vault-bake build consul-server --var management_subnets=10.0.9.0/28,10.1.9.0/28",
        SERVERS,
    ),
    command(
        "vault audit enable file file_path=/var/log/vault/audit.log",
        Way::Tested(AUDIT_LOG),
    ),
    block("[[step]]", data::vault_step),
    dry_run("vault-bake test quickstart --audit", AUDITED),
];

const IDENTITY: &[Entry] = &[
    before(fixtures::cluster),
    runs("vault-bake identity make dev --to identities"),
    runs("vault-bake identity check identities/dev-vault-1-1.tar"),
    runs("vault-bake identity renew dev --to identities"),
    before(fixtures::identity),
    runs("tar -C vault-1 -cf seed.tar node.json consul vault"),
    block(
        r#"{"schema":1,"node":"vault-1","datacenter":"dc1"}"#,
        data::json,
    ),
    block("{", data::json),
    block("{", data::json),
    before(fixtures::locks),
    dry_run(
        "vault-bake build vault-server --var key_vaults=https://prod-nodes.vault.azure.net",
        SERVERS,
    ),
    runs("tar -C vault-1 -czf seed.tar.gz node.json consul vault"),
    command(
        r"az keyvault secret set --vault-name prod-nodes --name vault-1 \",
        Way::Stub("suite provisioners::fetch::an_archive_may_be_compressed"),
    ),
    tested(
        "#cloud-config",
        "suite provisioners::fetch::an_identity_is_fetched_and_taken_and_the_token_stays_hidden",
    ),
    tested(
        "#cloud-config",
        "suite provisioners::fetch::an_identity_is_fetched_as_the_managed_identity_that_the_user_data_names",
    ),
    command("systemctl reload vault-bake-identity", Way::Stub(RENEWED)),
    command(
        "systemctl restart vault-bake-fetch-identity vault-bake-identity",
        Way::Stub(RENEWED),
    ),
];

const LINT: &[Entry] = &[
    runs("vault-bake lint quickstart"),
    block("[lint.allow]", data::part),
    block("[lint.allow]", data::part),
];

const LOAD_BALANCER: &[Entry] = &[
    tested(
        "# Written by vault-bake, which overwrites it.",
        "suite front::the_documented_configuration_is_what_is_written",
    ),
    before(fixtures::locks),
    dry_run(
        r"vault-bake build vault-server --builder azure --var tls_min_version=tls12 \",
        ON_AZURE,
    ),
    block(r#"resource "azurerm_lb" "vault" {"#, data::azurerm),
];

const NODES: &[Entry] = &[
    before(fixtures::promoted),
    runs("vault-bake fetch quickstart:prod --to quickstart.qcow2"),
    command(
        "qemu-img create -f qcow2 -F qcow2 -b quickstart.qcow2 node.qcow2",
        Way::Tested(QEMU),
    ),
    command(
        r"qemu-system-x86_64 -machine q35 -m 2048 -nographic \",
        Way::Tested(QEMU),
    ),
    command(
        "cp /usr/share/OVMF/OVMF_VARS_4M.fd vars.fd",
        Way::Tested(QEMU),
    ),
    command(
        r"virt-install --name vault-1 --memory 2048 --vcpus 2 --machine q35 --osinfo linux2022 --import \",
        Way::Tested(LIBVIRT),
    ),
    command(
        "qemu-img convert -O raw node.qcow2 node.raw",
        Way::Tested(JOURNAL),
    ),
    command(
        "first=$(sgdisk -i 3 node.raw | awk '/^First sector/ { print $3 }')",
        Way::Tested(JOURNAL),
    ),
    command(
        r#"debugfs -R "rdump /var/log/journal ." "node.raw?offset=$((first * 512))""#,
        Way::Tested(JOURNAL),
    ),
    command(
        "journalctl --directory=journal -u vault-bake-identity -u vault -u consul",
        Way::Tested(JOURNAL),
    ),
    command("key=$(cat ~/.ssh/id_ed25519.pub)", Way::Tested(KEY)),
    command(
        "entry=io.systemd.credential.binary:tmpfiles.extra=$(base64 -w 0 <<END",
        Way::Tested(KEY),
    ),
];

const PERFORMANCE: &[Entry] = &[
    command("make bench", Way::Make),
    command("make bench-store", Way::Make),
];

const PROJECT: &[Entry] = &[block("[store]", data::project_file)];

const PROMISES: &[Entry] = &[command(
    "cargo nextest run --test suite -E 'test(=layers::nothing_is_kept_from_a_step_with_a_secret_on)'",
    Way::Cargo(&["suite layers::nothing_is_kept_from_a_step_with_a_secret_on"]),
)];

const PROVISIONERS: &[Entry] = &[
    before(fixtures::motd),
    block("[[step]]", data::motd_step),
    block("[inputs.key_vaults]", data::provisioner_part),
    block("ok 1 - motd.text: /etc/motd has the text", data::tap),
    block("schema = 1", data::provisioner),
    block("{{ inputs.text }} ({{ image }})", data::template),
    block(r#". "$VB_LIB""#, data::script),
    block(r#". "$VB_LIB""#, data::script),
];

const ROLLOUT: &[Entry] = &[
    parsed("vault-bake lock vault-server --builder qemu", SERVERS),
    parsed("vault-bake build vault-server", SERVERS),
    parsed("vault-bake promote vault-server stable", MOVED),
    parsed("vault-bake rollout plan dev", ROLLED),
    parsed("vault-bake rollout start dev", ROLLED),
    parsed(
        "vault-bake rollout start dev --stop-before-handover",
        ROLLED,
    ),
    parsed("vault-bake rollout status dev", ROLLED),
    parsed("vault-bake rollout resume dev", ROLLED),
    parsed("vault-bake rollout resume dev --take-over", TAKEN_OVER),
    parsed("vault-bake rollout abort dev", ABORTED),
    parsed(
        r#"vault-bake rollback vault-server:stable --reason "too slow""#,
        MOVED,
    ),
    parsed("vault-bake rollout start dev", ROLLED),
    runs("cluster=$(echo ~/.local/state/vault-bake/clusters/dev-*)"),
    parsed("{", SERVERS),
    runs("base64 -d dev.base64 >dev.snap"),
    parsed(
        "echo 'systemctl stop vault' | vault-bake cluster shell dev-vault-1-1",
        SERVERS,
    ),
    runs("cluster=$(echo ~/.local/state/vault-bake/clusters/dev-*)"),
    parsed("{", SERVERS),
    parsed(
        "echo 'systemctl start vault' | vault-bake cluster shell dev-vault-1-1",
        SERVERS,
    ),
    parsed("vault-bake cluster up dev", SERVERS),
    parsed("vault-bake rollout log dev", RECORDS),
    parsed("vault-bake rollout show dev@1", RECORDS),
];

const STORE: &[Entry] = &[
    before(fixtures::envelope),
    runs(r#"keyid=$(jq -r '.signatures[0].keyid' "$ENVELOPE")"#),
    runs(r#"jq -r --arg id "$keyid" '.trust.keys[$id]' "$STORE/store.json" | base64 -d >key.der"#),
    runs("openssl pkey -pubin -inform DER -in key.der -out key.pem"),
    runs(r#"jq -r '.signatures[0].sig' "$ENVELOPE" | base64 -d >signature"#),
    runs(r#"jq -r '.payload' "$ENVELOPE" | base64 -d >payload"#),
    runs(r#"type=$(jq -r '.payloadType' "$ENVELOPE")"#),
    runs(
        r#"{ printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c <payload)"; cat payload; } >signed"#,
    ),
    runs("openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile signature"),
    before(fixtures::approved),
    runs(r#"jq -r '.payload' "$ENVELOPE" | base64 -d | jq '.body' >approved"#),
    runs(r#"jq -r '.payload' approved | base64 -d >payload"#),
    runs(r#"type=$(jq -r '.payloadType' approved)"#),
    runs(
        r#"{ printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c <payload)"; cat payload; } >signed"#,
    ),
    runs(r#"jq -r '.signatures[] | .keyid + " " + .sig' approved | while read -r keyid sig; do"#),
    runs(r#"before="$STORE/store.json""#),
    runs(r#"find "$STORE/log/entries" -type f | sort | while read -r entry; do"#),
    runs(r#"find "$STORE/objects/sha256" -type f | sed -E 's#.*/(..)/([0-9a-f]{62})$#\1\2  &#' |"#),
];

const TERRAFORM_PAGE: &[Entry] = &[
    before(fixtures::in_production),
    before(fixtures::repository),
    runs("vault-bake pin quickstart:prod"),
    runs("git add vault-bake.pins.json"),
    before(fixtures::in_production),
    runs("vault-bake pin quickstart:prod"),
    runs("vault-bake verify --pins vault-bake.pins.json"),
    runs(r"vault-bake resolve --pins vault-bake.pins.json quickstart:prod \"),
    runs("cat image.auto.tfvars.json"),
    block(r#"data "external" "vault_image" {"#, data::hcl),
    before(fixtures::planned),
    command("terraform plan -out=plan.bin", Way::Stub(TERRAFORM)),
    command(
        "terraform show -json plan.bin >plan.json",
        Way::Stub(TERRAFORM),
    ),
    runs("vault-bake check-plan plan.json"),
    block(
        "tracked      azurerm_linux_virtual_machine.vault source_image_id: vault-server@2026.1122.0",
        data::printed,
    ),
    before(fixtures::outdated_pin),
    runs("vault-bake pin --update"),
];

const TROUBLESHOOTING: &[Entry] = &[
    command("vault-bake doctor", Way::Doctor),
    before(fixtures::locks),
    dry_run("vault-bake build quickstart --on-error keep", KEPT),
    runs("vault-bake sweep"),
    runs("vault-bake sweep"),
    parsed("vault-bake rollout status dev", ROLLED),
    parsed("vault-bake cluster status dev", SERVERS),
    command("vault-bake doctor", Way::Doctor),
];

const TRUST: &[Entry] = &[
    runs("openssl genpkey -algorithm ed25519 -out signing-key.pem"),
    runs("chmod 600 signing-key.pem"),
    runs("vault-bake trust key --signing-key signing-key.pem"),
    before(fixtures::signing_program),
    runs(
        r#"vault-bake promote quickstart staging --signer "/usr/local/bin/sign" --signer-public-key key.pem"#,
    ),
    runs("vault-bake trust show"),
    runs("vault-bake trust key --signing-key signing-key.pem --json >new.json"),
    runs("vault-bake trust add new.json --role promoter --channel staging"),
    runs("vault-bake trust show | jq '.version += 1' >policy.json"),
    runs("vault-bake trust set policy.json --dry-run"),
    runs("vault-bake trust set policy.json"),
    before(fixtures::team),
    runs("vault-bake store init --key alice.pub --key bob.pub --key carol.pub --threshold 2"),
    runs("vault-bake trust show >trust.json"),
    before(fixtures::images_of_team),
    runs("vault-bake promote quickstart prod --propose"),
    runs("vault-bake proposals"),
    runs("proposal=$(vault-bake proposals --json | jq -r .proposal)"),
    runs(r#"vault-bake sign "$proposal" --signing-key bob.pem --dry-run"#),
    runs(r#"vault-bake sign "$proposal" --signing-key bob.pem"#),
    runs(r#"vault-bake complete "$proposal" --signing-key carol.pem"#),
    runs(
        r#"vault-bake rollback quickstart:prod --to quickstart@2026.1128.0 --reason "logins fail" --propose"#,
    ),
    runs("proposal=$(vault-bake proposals --json | jq -r .proposal)"),
    runs(r#"vault-bake proposals "$proposal" --to proposal.json"#),
    runs("vault-bake sign proposal.json --trust trust.json --signing-key bob.pem"),
    runs("vault-bake complete proposal.json"),
    runs("cp alice.pem backup.pem"),
    runs("vault-bake trust key --signing-key backup.pem"),
    runs("openssl genpkey -algorithm ed25519 -out next.pem"),
    runs("chmod 600 next.pem"),
    runs("openssl pkey -in next.pem -pubout -out next.pub"),
    runs("vault-bake trust add next.pub --role root --role promoter --role revoker --propose"),
    runs("proposal=$(vault-bake proposals --json | jq -r .proposal)"),
    runs(r#"vault-bake sign "$proposal" --signing-key bob.pem"#),
    runs("vault-bake trust remove carol.pub --role root --role promoter --role revoker --propose"),
    runs("proposal=$(vault-bake proposals --json | jq -r .proposal)"),
    runs(r#"vault-bake sign "$proposal" --signing-key bob.pem"#),
    runs("vault-bake trust show >trust.json"),
    runs("vault-bake images --trust trust.json"),
    before(fixtures::one_untested),
    runs("vault-bake verify"),
];
