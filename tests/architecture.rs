//! Holds `src/` to `docs/files.md` and `docs/architecture.md`: which files there are, in which layer, and who may import whom.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the top; imports go downwards.
const LAYERS: [&str; 9] =
    ["commands", "beside", "wiring", "doors", "core", "motion", "account", "decision", "facts"];
/// The longest file, without its tests.
const LINES_MAX: usize = 300;
/// The longest function, from `fn` to its brace.
const FUNCTION_MAX: usize = 60;
/// The longest drawing that is still read.
const DRAWING_MAX: usize = 80;

/// A source file up to its tests, its comments emptied.
struct Source {
    /// Relative to `src/`.
    path: String,
    code: Vec<String>,
}

/// One heading of the list of files, with what stands below it.
struct Section {
    layer: usize,
    modules: Vec<String>,
    files: Vec<String>,
}

#[test]
fn every_file_is_listed_and_the_list_has_no_other() {
    let listed: Vec<String> = sections().into_iter().flat_map(|section| section.files).collect();
    let mut once = BTreeSet::new();
    for file in &listed {
        assert!(once.insert(file), "docs/files.md lists {file} twice");
    }
    let there: BTreeSet<String> = sources().into_iter().map(|source| source.path).collect();
    for file in &there {
        assert!(once.contains(file), "docs/files.md does not say what src/{file} means");
    }
    for file in once {
        assert!(there.contains(file), "docs/files.md lists src/{file}, which does not exist");
    }
}

#[test]
fn a_file_stands_below_its_module() {
    for section in sections() {
        for file in &section.files {
            let module = top_module(file);
            let is_named = section.modules.iter().any(|named| named == module);
            assert!(is_named, "{file} stands below another module");
        }
    }
}

#[test]
fn the_drawing_names_the_same_layers() {
    let mut drawn = BTreeMap::new();
    for line in drawing().lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, layer, modules, _, _] = cells.as_slice() else { continue };
        let Some(layer) = LAYERS.iter().position(|known| known == layer) else { continue };
        drawn.extend(modules.split(", ").map(|module| (module.to_owned(), layer)));
    }
    assert_eq!(drawn, layers(), "docs/architecture.md and docs/files.md");
}

#[test]
fn lib_rs_names_the_same_layers() {
    let layers = layers();
    let mut current = None;
    for line in read("src/lib.rs").lines() {
        if let Some(comment) = line.strip_prefix("// ") {
            let name = comment.split(':').next().unwrap_or_default();
            current = Some(LAYERS.iter().position(|layer| *layer == name).expect(name));
        } else if let Some(module) = line.strip_prefix("pub mod ") {
            let module = module.trim_end_matches(';');
            assert_eq!(Some(layers[module]), current, "{module} stands in another layer in lib.rs");
        }
    }
}

#[test]
fn imports_go_downwards() {
    let layers = layers();
    for source in sources() {
        let from = top_module(&source.path);
        for to in imports(&source).iter().map(|path| path.split("::").next().unwrap_or_default()) {
            assert!(
                layers[to] >= layers[from],
                "src/{}: {} must not import {to} of the layer above, {}",
                source.path,
                LAYERS[layers[from]],
                LAYERS[layers[to]],
            );
        }
    }
}

#[test]
fn modules_do_not_import_each_other_in_a_circle() {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let from = top_module(&source.path).to_owned();
        let to =
            imports(&source).into_iter().map(|path| path.split("::").next().unwrap_or_default().to_owned());
        graph.entry(from.clone()).or_default().extend(to.filter(|to| *to != from));
    }
    assert_eq!(circle(&graph), None);
}

#[test]
fn files_of_one_module_do_not_import_each_other_in_a_circle() {
    let sources = sources();
    let files: BTreeSet<String> = sources.iter().map(|source| module_path(&source.path)).collect();
    let handed_on: BTreeMap<String, String> = sources.iter().flat_map(handed_on).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let from = module_path(&source.path);
        for import in imports(source) {
            let to = deepest(&files, handed_on.get(&import).unwrap_or(&import));
            // A file and the files below it are one thing told at two depths.
            let holds = |a: &str, b: &str| a == b || b.starts_with(&format!("{a}::"));
            if !holds(&from, &to) && !holds(&to, &from) {
                graph.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    assert_eq!(circle(&graph), None);
}

#[test]
fn files_and_functions_fit_a_head() {
    for source in sources() {
        let lines = source.code.len();
        assert!(lines <= LINES_MAX, "src/{} has {lines} lines without its tests", source.path);
        let mut began = None;
        for (number, line) in source.code.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if began.is_none() && is_function(line) {
                began = Some((number, indent));
            }
            if let Some((start, depth)) = began.filter(|(_, depth)| indent == *depth && ends_function(line)) {
                let length = number + 1 - start;
                let place = format!("src/{}:{}", source.path, start + 1);
                assert!(length <= FUNCTION_MAX, "{place}: a function of {length} lines (depth {depth})");
                began = None;
            }
        }
    }
}

#[test]
fn there_is_no_unsafe_no_mod_rs_and_no_way_around_the_layers() {
    for source in sources() {
        assert!(!source.path.ends_with("mod.rs"), "src/{}: foo.rs and foo/, never mod.rs", source.path);
        for (number, line) in source.code.iter().enumerate() {
            let place = format!("src/{}:{}", source.path, number + 1);
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            assert!(!words.contains(&"unsafe"), "{place}: unsafe");
            assert!(!line.contains("crate::{"), "{place}: one `use` for each module");
            assert!(!line.contains("super::"), "{place}: a module is named from the crate on");
        }
    }
}

#[test]
fn the_drawing_fits_a_head() {
    let lines = drawing().lines().count();
    assert!(lines <= DRAWING_MAX, "docs/architecture.md has {lines} lines");
}

/// Every file of `src/`, less the tests.
fn sources() -> Vec<Source> {
    let root = root().join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let sources = paths.into_iter().filter_map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let is_test = name.split('/').any(|part| part == "tests" || part == "tests.rs");
        (!is_test && name.ends_with(".rs"))
            .then(|| Source { code: code(&fs::read_to_string(path).unwrap()), path: name })
    });
    sources.collect()
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, paths),
            false => paths.push(path),
        }
    }
}

/// The lines of a file up to its tests, with comments emptied.
fn code(text: &str) -> Vec<String> {
    let begins =
        ["mod tests", "pub(super) mod tests"].map(|tests| text.find(&format!("#[cfg(test)]\n{tests}")));
    let end = begins.into_iter().flatten().min().unwrap_or(text.len());
    let line = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.split(" // ").next().unwrap_or_default().to_owned(),
    };
    text[..end].lines().map(line).collect()
}

/// The paths below the crate that a file names.
fn imports(source: &Source) -> BTreeSet<String> {
    let mut imports = BTreeSet::new();
    let code = source.code.join("\n");
    // `$crate` is how a macro names its own crate; `exeat` is how main.rs does.
    for (at, found) in code.match_indices("crate::").chain(code.match_indices("exeat::")) {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        if !before.is_alphanumeric() && before != '_' {
            imports.extend(paths(&code[at + found.len()..]));
        }
    }
    imports
}

/// What a file hands on of those below it: the path by which others import it, and the one that it is defined at.
fn handed_on(source: &Source) -> Vec<(String, String)> {
    let module = module_path(&source.path);
    let code = source.code.join("\n");
    let mut handed_on = Vec::new();
    for (at, found) in code.match_indices("pub use ") {
        let after = &code[at + found.len()..];
        for path in paths(after.strip_prefix("self::").unwrap_or(after)) {
            let name = path.rsplit("::").next().unwrap_or_default();
            handed_on.push((format!("{module}::{name}"), format!("{module}::{path}")));
        }
    }
    handed_on
}

/// The paths that a text begins with: one, or several in braces.
fn paths(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((names, _)) => {
            let names = names.split(',').map(|name| name.split_whitespace().next().unwrap_or_default());
            names.filter(|name| !name.is_empty()).map(|name| format!("{path}{name}")).collect()
        }
        None => vec![path.trim_end_matches(':').to_owned()],
    }
}

/// `policy/document/rule.rs` as `policy::document::rule`.
fn module_path(file: &str) -> String {
    file.trim_end_matches(".rs").replace('/', "::")
}

/// The file that an imported path lies in.
fn deepest(files: &BTreeSet<String>, import: &str) -> String {
    let mut path = import;
    while !files.contains(path) {
        path = path.rsplit_once("::").map(|(before, _)| before).unwrap_or_else(|| panic!("crate::{import}"));
    }
    path.to_owned()
}

fn top_module(file: &str) -> &str {
    file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The layer of each module.
fn layers() -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for section in sections() {
        for module in section.modules {
            let before = layers.insert(module.clone(), section.layer);
            assert!(before.is_none_or(|before| before == section.layer), "{module} stands in two layers");
        }
    }
    layers
}

/// The list of files, from the top.
fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in read("docs/files.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let (layer, modules) = heading.split_once(": ").expect(heading);
            let layer = LAYERS.iter().position(|known| *known == layer).expect(heading);
            assert!(sections.last().is_none_or(|above| above.layer <= layer), "{heading} stands too low");
            let modules = modules.split(", ").map(str::to_owned).collect();
            sections.push(Section { layer, modules, files: Vec::new() });
        } else if let Some(item) = line.strip_prefix("- ") {
            let file = item.strip_prefix('`').and_then(|rest| rest.split_once("`: ")).expect(item).0;
            sections.last_mut().expect("a heading").files.push(file.to_owned());
        }
    }
    let there: BTreeSet<usize> = sections.iter().map(|section| section.layer).collect();
    assert_eq!(there.len(), LAYERS.len(), "a layer is missing");
    sections
}

/// A circle of imports, if there is one.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| circle_from(graph, start, &mut Vec::new(), &mut done))
}

fn circle_from(
    graph: &BTreeMap<String, BTreeSet<String>>,
    at: &str,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(first) = way.iter().position(|before| before == at) {
        return Some(way[first..].to_vec());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at.to_owned());
    let found = graph.get(at).into_iter().flatten().find_map(|next| circle_from(graph, next, way, done));
    way.pop();
    done.insert(at.to_owned());
    found
}

fn is_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.contains('(')).collect();
    let start = line.trim_start();
    (start.starts_with("fn ") || words.contains(&"fn")) && !start.starts_with("//")
}

fn ends_function(line: &str) -> bool {
    let line = line.trim();
    line == "}" || line.ends_with('}') && is_function(line) || line.ends_with(';') && is_function(line)
}

fn drawing() -> String {
    read("docs/architecture.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
