//! Reads which files of `src` import which, and finds circles. Re-exports are followed to the file
//! that defines the name. A file and one in its folder are parent and child, and may know each
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

use super::rust_files;

/// The path of a module, which begins with `lib` or `bin`.
type Module = Vec<String>;

/// The modules that each module imports.
pub type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// A module's text, and the paths in its `use` items.
struct Source {
    text: String,
    uses: Vec<String>,
}

/// Returns the imports between the files below `source`, without those of parents and children.
pub fn graph(source: &Path) -> Graph {
    let comment = Regex::new("//[^\n]*").expect("a pattern");
    let item = Regex::new(r"\buse\s+([^;]+);").expect("a pattern");
    let sources: BTreeMap<Module, Source> = rust_files(source)
        .into_iter()
        .map(|file| {
            let all = std::fs::read_to_string(&file).expect("a file");
            let all = comment.replace_all(&all, "").into_owned();
            let uses = item.captures_iter(&all);
            let uses = uses.flat_map(|found| expanded(&found[1])).collect();
            let text = item.replace_all(&all, "").into_owned();
            (module(source, &file), Source { text, uses })
        })
        .collect();
    let inline = Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").expect("a pattern");
    let relative = Regex::new(r"(?:^|[^\w:])(\w+)::\w+").expect("a pattern");
    let mut graph = Graph::new();
    for (module, source) in &sources {
        let own = source.uses.iter().map(String::as_str);
        let inline = inline.find_iter(&source.text).map(|found| found.as_str());
        let named: BTreeSet<&str> = relative
            .captures_iter(&source.text)
            .filter_map(|found| Some(found.get(1)?.as_str()))
            .collect();
        let paths = own.chain(inline).filter_map(|path| absolute(module, path));
        // A name before `::` may be a module that a `use` item brought in.
        let brought = source.uses.iter().filter(|path| {
            let last = path.rsplit("::").next().unwrap_or_default();
            named.contains(last)
        });
        let brought = brought.filter_map(|path| absolute(module, path));
        let imported = paths
            .chain(brought)
            .filter_map(|path| resolved(&sources, &path, 0));
        let strangers = imported.filter(|other| {
            let short = module.len().min(other.len());
            module[..short] != other[..short]
        });
        graph.insert(module.clone(), strangers.collect());
    }
    graph
}

/// Returns the circles, one line each.
pub fn circles(graph: &Graph) -> Vec<String> {
    let reach = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&Module> = graph.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(graph.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        graph.keys().map(|module| (module, reach(module))).collect();
    let mut found = BTreeSet::new();
    for (module, all) in reached
        .iter()
        .filter(|(module, all)| all.contains(**module))
    {
        let back = |other: &&Module| reached.get(*other).is_some_and(|all| all.contains(*module));
        let circle: Vec<String> = all.iter().filter(back).map(|one| one.join("/")).collect();
        found.insert(circle.join(", "));
    }
    found.into_iter().collect()
}

/// Returns the module of a file.
fn module(source: &Path, file: &Path) -> Module {
    let inside = file.strip_prefix(source).expect("below src");
    let (root, inside) = match inside.strip_prefix("bin/vault-bake") {
        Ok(inside) => ("bin", inside),
        Err(_) => ("lib", inside),
    };
    let path = inside.with_extension("");
    let names = path.iter().map(|name| name.to_string_lossy().into_owned());
    let mut module: Module = [root.to_owned()].into_iter().chain(names).collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

/// Returns the paths of a `use` item without braces, each without its new name.
fn expanded(item: &str) -> Vec<String> {
    let Some((start, rest)) = item.split_once('{') else {
        let path = item.split(" as ").next().unwrap_or_default();
        return vec![path.split_whitespace().collect()];
    };
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in rest.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                part.push(c);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expanded(&format!("{start}{part}")))
        .collect()
}

/// Returns a path from the root of its crate. `None` for other crates.
fn absolute(module: &Module, path: &str) -> Option<Module> {
    let mut names: Vec<&str> = path.split("::").collect();
    let mut start = match names.first().copied()? {
        "crate" => vec![module[0].clone()],
        "vault_bake" => vec!["lib".to_owned()],
        "self" => module.clone(),
        "super" => {
            let ups = names.iter().take_while(|name| **name == "super").count();
            names.drain(..ups - 1);
            module[..module.len().checked_sub(ups)?].to_vec()
        }
        _ => {
            names.insert(0, "self");
            module.clone()
        }
    };
    start.extend(names[1..].iter().map(ToString::to_string));
    Some(start)
}

/// Returns the module that defines the end of a path.
fn resolved(sources: &BTreeMap<Module, Source>, path: &[String], depth: u32) -> Option<Module> {
    let length = (1..=path.len()).rev();
    let mut known = length.filter(|length| sources.contains_key(&path[..*length]));
    let length = known.next()?;
    let (module, rest) = (path[..length].to_vec(), &path[length..]);
    let Some((name, rest)) = rest.split_first().filter(|_| depth < 7) else {
        return Some(module);
    };
    let uses = sources[&module].uses.iter();
    let mut brings = uses.filter(|path| path.rsplit("::").next() == Some(name));
    let origin = brings.find_map(|path| absolute(&module, path));
    match origin.filter(|origin| *origin != path[..=length]) {
        Some(origin) => resolved(sources, &[origin, rest.to_vec()].concat(), depth + 1),
        None => Some(module),
    }
}
