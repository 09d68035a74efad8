//! README and `docs/`: every command runs or is parsed, every definition and record is read, in the order of the page.
//!
//! `docs/table.rs` says how for each of them. A command that is not in the table fails the test.

#![expect(
    clippy::disallowed_methods,
    reason = "the commands are run as a person does"
)]

mod data;
mod fixtures;
mod output;
mod pages;
mod project;
mod stubs;
mod table;

use std::process::Command;

use regex::Regex;

use crate::promises::exists;
use output::{Digests, Numbers, compare};
use pages::{Block, Documented, blocks, commands, inline_commands, pages, root};
use project::Project;
use table::{Check, Entry, PAGES, Way};

/// The languages of blocks.
const TAGS: [&str; 7] = ["sh", "console", "toml", "json", "hcl", "yaml", "text"];

/// A page that is being read.
struct Reader {
    page: &'static str,
    entries: std::slice::Iter<'static, Entry>,
    project: Project,
    digests: Digests,
    /// What is wrong, with the place in the page.
    wrong: Vec<String>,
    last: &'static str,
}

impl Reader {
    /// Prepares what the table says, and returns the next entry without taking it.
    fn next(&mut self) -> Option<&'static Entry> {
        while let Some(Entry::Before(prepare)) = self.entries.as_slice().first() {
            prepare(&self.project);
            self.entries.next();
        }
        self.entries.as_slice().first()
    }

    fn read(&mut self, block: &Block) {
        let first = block.lines.first().map_or("", String::as_str);
        if let Some(Entry::Block(line, check)) = self.next()
            && *line == first
        {
            self.last = line;
            self.entries.next();
            let checked = match check {
                Check::Call(read) => read(&self.project, &block.text()),
                Check::Tested(test) => tested(test),
            };
            self.note(block.line, checked);
            return;
        }
        if !block.has_commands() {
            self.stop(block.line, first);
        }
        for command in commands(self.page, block) {
            let first = command.text.lines().next().unwrap_or_default();
            let Some(Entry::Command(line, way)) = self.next() else {
                self.stop(command.line, first)
            };
            if *line != first {
                self.stop(command.line, first);
            }
            self.last = line;
            self.entries.next();
            let checked = self.follow(&command, *way);
            self.note(command.line, checked);
        }
    }

    fn follow(&mut self, command: &Documented, way: Way) -> Result<(), String> {
        let (project, text) = (&self.project, command.text.as_str());
        let ends = |status: i32, expected: i32| {
            if status == expected {
                return Ok(());
            }
            Err(format!(
                "exit {status}, expected {expected}\n{}",
                project.printed()
            ))
        };
        let mut numbers = Numbers::Exact;
        match way {
            Way::Runs => ends(project.run(text, ""), 0)?,
            Way::Doctor => {
                project.run(text, "");
                numbers = Numbers::Any;
            }
            Way::Stub(test) => {
                tested(test)?;
                ends(project.run(text, ""), 0)?;
            }
            Way::DryRun(test) => {
                tested(test)?;
                ends(project.run(&format!("{text} --dry-run"), ""), 0)?;
                return Ok(());
            }
            Way::Parsed(test) => {
                tested(test)?;
                return parse(project, text);
            }
            Way::Tested(test) => return tested(test),
            Way::Make => {
                return dry_make(project, text);
            }
            Way::Cargo(tests) => {
                tests.iter().try_for_each(|test| tested(test))?;
                if Command::new("cargo").arg("--version").output().is_err() {
                    println!("SKIPPED: there is no cargo for `{text}`");
                    return Ok(());
                }
                // It parses its arguments, and finds no package.
                project.run_in_empty_folder(text);
                let printed = project.printed();
                project.succeed();
                return if printed.contains("Cargo.toml") {
                    Ok(())
                } else {
                    Err(printed)
                };
            }
        }
        let mut printed = project.printed();
        if numbers == Numbers::Any {
            printed = as_on_documented_computer(&printed);
        }
        if let Some(output) = &command.output {
            compare(output, &printed, numbers, &mut self.digests)
                .map_err(|why| format!("{why}\nIt printed:\n{printed}"))?;
        }
        Ok(())
    }

    fn note(&mut self, line: usize, checked: Result<(), String>) {
        let (page, last) = (self.page, self.last);
        let wrong = checked
            .err()
            .map(|why| format!("{page}:{line}: `{last}`: {why}"));
        self.wrong.extend(wrong);
    }

    fn stop(&mut self, line: usize, text: &str) -> ! {
        let expected = match self.entries.as_slice().first() {
            Some(Entry::Command(text, _) | Entry::Block(text, _)) => *text,
            _ => "the end of the page",
        };
        panic!(
            "{}\n{}:{line}: `{text}` is not accounted for: after `{}` the table expects `{expected}`.\n\
             Say in tests/suite/docs/table.rs how it is tested: `runs` if it can run here, else `dry_run` or `parsed` \
             with the test that runs it. If it is gone from the page, remove it there.",
            self.wrong.join("\n"),
            self.page,
            self.last
        );
    }
}

/// What `doctor` would print if this computer had all programs, and no KVM.
fn as_on_documented_computer(printed: &str) -> String {
    let missing = Regex::new(r"(?m)^missing  ([^:\n]+): [^\n]*\n +get it: [^\n]*$").unwrap();
    let printed = missing.replace_all(printed, "ok       $1");
    let kvm = "no KVM: machines run under software emulation, slower but sound";
    printed.replace("\nKVM: machines run at full speed", &format!("\n{kvm}"))
}

/// Has the binary parse the arguments of a command: without folders of a user, it ends after that.
fn parse(project: &Project, text: &str) -> Result<(), String> {
    let status = project.run(text, "vault-bake() { env -u HOME vault-bake \"$@\"; }");
    project.succeed();
    let printed = project.printed();
    // `--version` needs no folders.
    if status == 0 || printed.contains("neither XDG_CACHE_HOME nor HOME is an absolute path") {
        return Ok(());
    }
    Err(format!("its arguments are refused: {printed}"))
}

/// Has make print what it would do.
fn dry_make(project: &Project, text: &str) -> Result<(), String> {
    let make = format!("make -C '{}' --dry-run ", root().display());
    match project.run(&text.replacen("make ", &make, 1), "") {
        0 => Ok(()),
        _ => Err(project.printed()),
    }
}

fn tested(test: &str) -> Result<(), String> {
    if exists(test) {
        Ok(())
    } else {
        Err(format!("there is no test {test}"))
    }
}

/// Reads a page from its first block to its last one, as the table says.
fn read(page: &'static str, entries: &'static [Entry]) {
    let programs = ["bash", "git", "jq", "make", "openssl"];
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    if let Some(missing) = programs.iter().find(|program| !is_there(program)) {
        println!("SKIPPED: {missing} is missing");
        return;
    }
    let mut reader = Reader {
        page,
        entries: entries.iter(),
        project: Project::new(),
        digests: Digests::default(),
        wrong: Vec::new(),
        last: "the beginning",
    };
    for block in blocks(page) {
        reader.read(&block);
    }
    if let Some(Entry::Command(text, _) | Entry::Block(text, _)) = reader.next() {
        reader.wrong.push(format!(
            "{page} no longer has `{text}`: remove it from tests/suite/docs/table.rs"
        ));
    }
    assert!(reader.wrong.is_empty(), "{}", reader.wrong.join("\n"));
}

/// The table of this page has one command less than the page.
#[test]
#[should_panic(expected = "docs/performance.md:189: `make bench-store` is not accounted for")]
fn a_command_that_is_not_in_the_table_fails() {
    const LESS: &[Entry] = &[Entry::Command("make bench", Way::Make)];
    read("docs/performance.md", LESS);
}

#[test]
#[should_panic(expected = "`make bench-store`: there is no test suite docs::none")]
fn a_command_whose_test_is_gone_fails() {
    const GONE: &[Entry] = &[
        Entry::Command("make bench", Way::Make),
        Entry::Command("make bench-store", Way::Tested("suite docs::none")),
    ];
    read("docs/performance.md", GONE);
}

#[test]
fn every_block_has_a_language_and_every_page_with_blocks_a_table() {
    let mut wrong = Vec::new();
    for page in pages() {
        let blocks = blocks(&page);
        let known = |block: &&Block| TAGS.contains(&block.tag.as_str());
        let unknown = blocks.iter().filter(|block| !known(block));
        wrong
            .extend(unknown.map(|block| {
                format!("{page}:{}: `{}` is none of {TAGS:?}", block.line, block.tag)
            }));
        let listed = PAGES.iter().any(|(name, _)| *name == page);
        if listed == blocks.is_empty() {
            wrong.push(format!(
                "{page} has {} blocks: tests/suite/docs/table.rs and tests/suite/docs.rs list the pages that have some",
                blocks.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In a sentence a command may lack arguments, and has names in capital letters for them.
#[test]
fn commands_in_sentences_and_tables_are_parsed() {
    let project = Project::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        for (line, text) in inline_commands(&page) {
            count += 1;
            let parsed = if text.starts_with("make ") {
                dry_make(&project, &text)
            } else {
                parse(&project, &text)
            };
            let lacks = |why: &String| {
                why.contains("required arguments were not provided")
                    || why.contains("Usage: vault-bake trust <")
            };
            let why = parsed.err().filter(|why| !lacks(why));
            wrong.extend(why.map(|why| format!("{page}:{line}: `{text}`: {why}")));
        }
    }
    assert!(count > 20, "only {count} commands were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Declares a test for each page, and checks that each page of the table has one.
macro_rules! read_pages {
    ($($test:ident: $page:literal,)*) => {
        $(
            #[test]
            fn $test() {
                let (_, entries) = PAGES.iter().find(|(page, _)| *page == $page).unwrap();
                read($page, entries);
            }
        )*

        #[test]
        fn every_page_of_the_table_is_read() {
            let named: Vec<&str> = PAGES.iter().map(|(page, _)| *page).collect();
            assert_eq!(named, [$($page),*]);
        }
    };
}

read_pages! {
    readme: "README.md",
    azure: "docs/azure.md",
    build: "docs/build.md",
    clusters: "docs/clusters.md",
    definition: "docs/definition.md",
    deploy: "docs/deploy.md",
    events: "docs/events.md",
    exit_codes: "docs/exit-codes.md",
    gc: "docs/gc.md",
    hardening: "docs/hardening.md",
    identity: "docs/identity.md",
    lint: "docs/lint.md",
    load_balancer: "docs/load-balancer.md",
    nodes: "docs/nodes.md",
    performance: "docs/performance.md",
    project_file: "docs/project.md",
    promises: "docs/promises.md",
    provisioners: "docs/provisioners.md",
    rollout: "docs/rollout.md",
    store: "docs/store.md",
    terraform: "docs/terraform.md",
    troubleshooting: "docs/troubleshooting.md",
    trust: "docs/trust.md",
}
