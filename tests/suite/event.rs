//! `docs/events.md` has the kinds, fields and stages of all events, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use vault_bake::event::{Event, Stage};

type Fields = BTreeSet<String>;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    fs::read_to_string(path).unwrap()
}

/// Returns the words between backquotes.
fn quoted(text: &str) -> Fields {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Returns the cells of table rows in `text`, without heads.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells[0].starts_with('`') && cells[0] != "`event`")
}

fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {title}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// Returns one event of each kind, with all fields.
fn events() -> Vec<Event> {
    let text = || "text".to_owned();
    vec![
        Event::RunStarted {
            run: text(),
            subject: text(),
        },
        Event::StageStarted {
            stage: Stage::Fetch,
        },
        Event::StageFinished {
            stage: Stage::Fetch,
            elapsed_ms: 1,
            ok: true,
        },
        Event::StepStarted {
            index: 1,
            count: 1,
            step: text(),
        },
        Event::Output {
            source: text(),
            line: text(),
        },
        Event::StepFinished {
            step: text(),
            elapsed_ms: 1,
            exit: 0,
        },
        Event::CheckFinished {
            check: text(),
            description: text(),
            ok: true,
            diagnostics: vec![text()],
        },
        Event::Progress {
            what: text(),
            done_bytes: 1,
            total_bytes: None,
        },
        Event::Waiting {
            what: text(),
            last_seen: text(),
            elapsed_ms: 1,
            timeout_ms: 1,
        },
        Event::RolloutStep {
            index: 1,
            count: 2,
            step: text(),
            elapsed_ms: 1,
            ok: true,
            requests: 1,
            failed: 0,
            longest_gap_ms: 1,
        },
        Event::Note { message: text() },
        Event::Warning { message: text() },
        Event::Recorded {
            image: text(),
            version: text(),
            manifest: text(),
            artifact: text(),
        },
        Event::TestFinished {
            manifest: text(),
            passed: true,
            checks: 1,
            failed_checks: 0,
            error: Some(text()),
        },
        Event::Removed { resource: text() },
        Event::Leftover {
            resource: text(),
            reason: text(),
        },
    ]
}

/// Does not compile if [`events`] lacks a kind of event: add it there too.
fn is_in_the_list(event: &Event) -> bool {
    match event {
        Event::RunStarted { .. }
        | Event::StageStarted { .. }
        | Event::StageFinished { .. }
        | Event::StepStarted { .. }
        | Event::Output { .. }
        | Event::StepFinished { .. }
        | Event::CheckFinished { .. }
        | Event::Progress { .. }
        | Event::Waiting { .. }
        | Event::Note { .. }
        | Event::Warning { .. }
        | Event::Recorded { .. }
        | Event::TestFinished { .. }
        | Event::Removed { .. }
        | Event::Leftover { .. }
        | Event::RolloutStep { .. } => true,
    }
}

#[test]
fn the_page_has_every_kind_with_its_fields_and_no_other() {
    let page = page();
    let mut documented: BTreeMap<String, Fields> = BTreeMap::new();
    for cells in rows(page.split("\n## ").next().unwrap()) {
        for kind in quoted(cells[0]) {
            documented.insert(kind, quoted(cells[1]));
        }
    }
    // Only the binary emits these two.
    for kind in ["failed", "finished"] {
        assert!(documented.remove(kind).is_some(), "{kind}");
    }
    let events = events();
    assert!(events.iter().all(is_in_the_list));
    let emitted = events.iter().map(|event| {
        let Value::Object(mut fields) = serde_json::to_value(event).unwrap() else {
            panic!("an event is an object");
        };
        let kind = fields.remove("event").unwrap();
        let fields = fields.into_iter().map(|(name, _)| name).collect();
        (kind.as_str().unwrap().to_owned(), fields)
    });
    assert_eq!(documented, emitted.collect());

    let stages = page.split_once("- `stage`: ").unwrap().1;
    let stages = quoted(stages.split("\n- ").next().unwrap());
    for stage in &stages {
        let quoted = Value::from(stage.as_str());
        let stage: Stage = serde_json::from_value(quoted).unwrap();
        assert!(stage <= Stage::Rollout);
    }
    assert_eq!(stages.len(), Stage::Rollout as usize + 1);
}

/// Returns the documented fields of `failed` and `finished`.
pub fn of_the_binary() -> [Fields; 2] {
    let page = page();
    let failed = rows(section(&page, "`failed`")).flat_map(|cells| quoted(cells[0]));
    let example = section(&page, "`finished`").split("```").nth(1).unwrap();
    let example = example.strip_prefix("json").unwrap();
    let example: BTreeMap<String, Value> = serde_json::from_str(example).unwrap();
    [failed.collect(), example.into_keys().collect()]
}
