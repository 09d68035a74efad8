//! Compares the linter's parser with Consul's own, by `consul validate`.

use std::fs;

use vault_bake::lint::{Configuration, Role};
use vault_bake::process::Program;
use vault_bake::product::Product;
use vault_bake::wait::Interrupt;

use crate::fixture_vault::lab::{mirror, unpack};

/// The beginning of each HCL file, to make it valid for Consul.
const NEEDED: &str = "data_dir = \"/tmp\"\nbind_addr = \"127.0.0.1\"\n";

/// The beginning of each JSON file.
const NEEDED_JSON: &str = "{\"data_dir\": \"/tmp\", \"bind_addr\": \"127.0.0.1\"";

/// Files whose names start with `no` are refused by both.
fn files() -> Vec<(&'static str, String)> {
    let hcl = |text: &str| format!("{NEEDED}{text}");
    let json = |text: &str| format!("{NEEDED_JSON}{text}");
    vec![
        ("plain.hcl", hcl("")),
        (
            "commas.hcl",
            hcl("server = true,\nacl = {\n  enabled = true,\n},\n"),
        ),
        (
            "one-line.hcl",
            hcl("ports { http = -1 https = 8501 } server = true"),
        ),
        (
            "block-in-object.hcl",
            hcl("acl = { tokens { agent = \"x\" } }"),
        ),
        ("quoted.hcl", hcl("\"ports\" { \"http\" = -1 }")),
        ("case.hcl", hcl("Ports { HTTP = -1 }\nSERVER = true")),
        ("list-of-one.hcl", hcl("ports = [{ http = -1 }]")),
        ("names.hcl", hcl("node_meta { Foo = \"1\" foo = \"2\" }")),
        (
            "alias.hcl",
            hcl("check { name = \"x\" tcp = \"a:1\" interval = \"1s\" TLSSkipVerify = true }"),
        ),
        (
            "heredoc.hcl",
            hcl("node_name = \"a\"\nnode_meta { a = <<EOF\n${ and %{ \"\nEOF\n}"),
        ),
        ("indented.hcl", hcl("node_meta { a = <<-EOF\n  x\n  EOF\n}")),
        ("interpolation.hcl", hcl("node_meta { a = \"${ \"x\" }\" }")),
        (
            "numbers.hcl",
            hcl("ports { http = 0x2134 dns = 010 https = -1 }"),
        ),
        (
            "comments.hcl",
            hcl("# a\n// b\n/* c\n */ server /* d */ = true"),
        ),
        (
            "windows.hcl",
            hcl("server = true\r\nports {\r\n  http = -1\r\n}\r\n"),
        ),
        (
            "services.hcl",
            hcl("services { name = \"a\" } services { name = \"b\" }"),
        ),
        ("json.hcl", json(", \"server\": true}")),
        ("json-comma.hcl", json(", \"retry_join\": [\"a\",],}")),
        (
            "json.json",
            json(", \"Server\": true, \"node_meta\": {\"a\": \"\\/\\ud83d\\ude00\"}}"),
        ),
        ("empty-with-flags.json", json("}")),
        ("no-label-without-block.hcl", hcl("ports \"x\" = {}")),
        (
            "no-sections.hcl",
            hcl("ports { http = -1 }\nports { https = 8501 }"),
        ),
        (
            "no-objects.hcl",
            hcl("ports = { http = -1 }\nports = { https = 8501 }"),
        ),
        (
            "no-section-list.json",
            json(", \"ports\": [{\"http\": 1}, {\"https\": 2}]}"),
        ),
        (
            "no-service-twice.hcl",
            hcl("service { name = \"a\" }\nservice { name = \"b\" }"),
        ),
        ("no-spellings.hcl", hcl("server = true\nServer = false")),
        (
            "no-spellings-inside.hcl",
            hcl("ports { http = -1 HTTP = 8500 }"),
        ),
        (
            "no-spellings.json",
            json(", \"server\": true, \"Server\": false}"),
        ),
        ("no-end.hcl", hcl("ports { http = -1")),
        ("no-end-of-text.hcl", hcl("node_name = \"a")),
        ("no-end-of-heredoc.hcl", hcl("node_name = <<EOF\na\nEOF")),
        ("no-indented-end.hcl", hcl("node_name = <<-EOF\na\nEOF\n")),
        ("no-expression.hcl", hcl("node_name = upper(\"a\")")),
        ("no-capitals.hcl", hcl("server = TRUE")),
        ("no-two-commas.hcl", hcl("server = true,,\n")),
        ("no-escape.hcl", hcl("node_name = \"\\q\"")),
        ("no-mark.hcl", format!("\u{feff}{NEEDED}")),
        ("no-mark.json", format!("\u{feff}{}", json("}"))),
        ("no-comma.json", json(",}")),
        ("no-hcl.json", hcl("")),
        ("no-rest.json", json("} x")),
        ("no-comment.json", json(" // a\n}")),
        ("no-escape.hcl", json(", \"node_name\": \"\\/\"}")),
    ]
}

#[tokio::test]
async fn consul_reads_and_refuses_the_same_files() {
    let Some(mirror) = mirror().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    unpack(&mirror, "consul", "1.8.7", folder.path()).await;
    let mut wrong = Vec::new();
    for (name, text) in files() {
        let file = folder.path().join(name);
        fs::write(&file, &text).expect("a file");
        let validate = Program::new(folder.path().join("consul"))
            .arg("validate")
            .arg(&file);
        let consul = validate.run(&Interrupt::default()).await;
        let version = Some("1.8.7".parse().expect("a version"));
        let mut ours = Configuration::new(Product::Consul, version, Role::Node);
        let ours = ours.add(name, &text);
        let expected = !name.starts_with("no-");
        if (consul.is_ok(), ours.is_ok()) != (expected, expected) {
            let consul = consul.err().map(|error| error.to_string());
            wrong.push(format!("{name}: consul {consul:?}, ours {:?}", ours.err()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
