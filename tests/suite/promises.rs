//! Each promise in `docs/promises.md` has a test in `make test`, and each test that the page names
//! exists.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the words between backquotes of a cell: names of tests.
fn tests(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn is_exhaustive(test: &str) -> bool {
    test.contains("::exhaustive::")
}

/// Returns whether there is a test of this name, such as `suite store::gc::every_kind_of_hold`.
/// A module without its own file is inline, in the file of the parent module.
pub fn exists(test: &str) -> bool {
    let Some((binary, path)) = test.split_once(' ') else {
        return false;
    };
    let parts: Vec<&str> = path.split("::").collect();
    let Some((name, modules)) = parts.split_last() else {
        return false;
    };
    let file = |depth: usize| -> PathBuf {
        let mut path = root().join("tests").join(binary);
        path.extend(&modules[..depth]);
        path.with_extension("rs")
    };
    let nearest = (1..=modules.len()).rev().find_map(|depth| {
        let text = fs::read_to_string(file(depth)).ok()?;
        Some((text, &modules[depth..]))
    });
    nearest.is_some_and(|(text, inline)| {
        let is_there = |module: &&str| text.contains(&format!("mod {module} {{"));
        text.contains(&format!("fn {name}(")) && inline.iter().all(is_there)
    })
}

#[test]
fn every_promise_has_a_test_and_every_test_exists() {
    let page = fs::read_to_string(root().join("docs/promises.md")).expect("the page");
    let rows = page.lines().filter_map(|line| {
        let row = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let is_head = cells[0] == "promise" || cells[0].starts_with("---");
        (!is_head).then_some(cells)
    });
    let mut wrong = Vec::new();
    let mut count = 0;
    for cells in rows {
        count += 1;
        let [promise, default, all] = cells[..] else {
            wrong.push(format!("a row has not three cells: {cells:?}"));
            continue;
        };
        let (default, all) = (tests(default), tests(all));
        if default.is_empty() {
            wrong.push(format!("`make test` does not show: {promise}"));
        }
        for test in &default {
            if is_exhaustive(test) {
                wrong.push(format!("`make test` does not run {test}: {promise}"));
            }
        }
        for test in &all {
            if !is_exhaustive(test) {
                wrong.push(format!("`make test` runs {test} too: {promise}"));
            }
        }
        for test in default.iter().chain(&all) {
            if !exists(test) {
                wrong.push(format!("there is no test {test}: {promise}"));
            }
        }
    }
    assert!(count > 80, "only {count} promises were read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
