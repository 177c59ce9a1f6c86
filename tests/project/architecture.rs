//! Holds the map in `ARCHITECTURE.md`: who may use whom, and what each file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of ours that it may name. A module may always name itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("activation", &[]),
    ("clock", &[]),
    ("event", &[]),
    ("files", &[]),
    ("ids", &[]),
    ("memory", &[]),
    ("metrics", &[]),
    ("panic", &[]),
    ("shutdown", &[]),
    ("socket", &["clock", "fault_log", "panic"]),
    ("throttle", &["clock"]),
    ("fault_log", &["clock"]),
    ("config", &["event", "files"]),
    ("queue", &["config", "event", "fault_log", "files", "metrics", "clock", "panic"]),
    ("upstream", &["config", "event", "files", "metrics", "clock"]),
    ("ingest", &["config", "event", "metrics", "clock", "panic", "queue", "socket", "throttle"]),
    (
        "relay",
        &["config", "event", "metrics", "clock", "queue", "upstream", "shutdown", "throttle", "fault_log"],
    ),
    ("sandbox", &["event", "clock", "socket"]),
    (
        "admin",
        &[
            "clock", "config", "event", "files", "ingest", "metrics", "panic", "queue", "relay", "socket",
            "upstream",
        ],
    ),
    (
        "daemon",
        &[
            "activation",
            "admin",
            "clock",
            "config",
            "event",
            "ingest",
            "metrics",
            "panic",
            "queue",
            "relay",
            "shutdown",
            "socket",
            "upstream",
        ],
    ),
    (
        "cli",
        &[
            "activation",
            "admin",
            "clock",
            "config",
            "daemon",
            "event",
            "ids",
            "ingest",
            "memory",
            "metrics",
            "panic",
            "queue",
            "sandbox",
            "shutdown",
        ],
    ),
];

/// Crates that only these files or folders may name.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("sled::", &["queue/log/store.rs"]),
    ("reqwest::", &["upstream/http.rs", "admin/client.rs"]),
    ("clap::", &["cli/args"]),
];

/// Folders and files that only decide or translate: their inputs are arguments, time included.
const PURE: &[&str] =
    &["clock/age.rs", "event", "throttle.rs", "fault_log.rs", "queue/format", "relay/decide"];

/// What a pure file may not name: runtime, files, sockets, threads, clocks.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "nix::",
    "libc::",
    "Clock::system",
    "crate::files",
];

/// Parts of a module that know nothing of the parts around them.
const MUST_NOT_NAME: &[(&str, &[&str])] = &[
    (
        "queue/format",
        &["queue::log", "queue::state", "queue::committer", "queue::handle", "queue::lifecycle"],
    ),
    ("queue/log", &["queue::state", "queue::committer", "queue::handle", "queue::lifecycle", "queue::job"]),
    ("queue/state", &["queue::committer", "queue::handle", "queue::lifecycle", "queue::job"]),
    (
        "relay/decide",
        &["relay::worker", "relay::lane", "relay::deps", "relay::pacer", "relay::command", "relay::settling"],
    ),
];

/// Modules of `std` that [`IMPURE`] has, as they stand in a `use std::{…}`.
const IMPURE_OF_STD: &[&str] = &["fs", "net", "os", "process", "thread"];

/// Longest file, lines. Beyond it a file is probably two things.
const MAX_LINES: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(found.len() > 20, "sources not found");
    found
}

/// Code without comments: what a doc names is no use of it.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Modules of ours that `code` names, as `crate::x` or in `use crate::{x, y}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
            found.insert(name[..end].to_owned());
        }
    }
    found
}

/// Starts of the comma-separated items of a brace group, nested groups passed over.
fn top_level_names(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(group[start..at].trim());
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let mut faults = Vec::new();

    for (path, text) in sources() {
        let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            assert!(["lib", "main"].contains(&module), "{module} is not on the map");
            continue;
        };
        for name in used(&code(&text)) {
            if known.contains(name.as_str()) && name != module && !allowed.contains(&name.as_str()) {
                faults.push(format!("{} uses {name}", path.display()));
            }
        }
    }

    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn crates_with_an_owner_are_named_there_only() {
    let mut faults = Vec::new();

    for (path, text) in sources() {
        for (name, owners) in OWNED_CRATES {
            if code(&text).contains(name) && !owners.iter().any(|owner| path.starts_with(owner)) {
                faults.push(format!("{} names {name}", path.display()));
            }
        }
    }

    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn pure_files_name_no_runtime_and_no_input_or_output() {
    let mut faults = Vec::new();

    for pure in PURE {
        let files: Vec<_> = sources().into_iter().filter(|(path, _)| path.starts_with(pure)).collect();
        assert!(!files.is_empty(), "{pure} is gone");
        for (path, text) in files {
            let code = code(&text);
            let named = IMPURE.iter().filter(|name| code.contains(**name));
            faults.extend(named.map(|name| format!("{} names {name}", path.display())));
            for group in code.split("std::{").skip(1) {
                let named = top_level_names(group)
                    .into_iter()
                    .filter(|name| IMPURE_OF_STD.contains(&name.split("::").next().unwrap_or_default()));
                faults.extend(named.map(|name| format!("{} names std::{name}", path.display())));
            }
        }
    }

    assert!(faults.is_empty(), "{faults:#?}");
}

/// Whether `code` names `module` (`queue::log`), from the crate's root or upwards from a folder beside it.
fn names(code: &str, module: &str) -> bool {
    let (parent, last) = module.split_once("::").unwrap();
    let is_last = |rest: &str| {
        rest.strip_prefix(last)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let direct = [format!("{parent}::"), "super::super::".to_owned()];
    let grouped = [format!("{parent}::{{"), "super::super::{".to_owned()];
    direct.iter().any(|prefix| code.split(prefix.as_str()).skip(1).any(is_last))
        || grouped
            .iter()
            .any(|prefix| code.split(prefix.as_str()).skip(1).flat_map(top_level_names).any(is_last))
}

#[test]
fn parts_of_a_module_do_not_name_what_is_built_on_them() {
    let mut faults = Vec::new();

    for (part, others) in MUST_NOT_NAME {
        let files: Vec<_> = sources().into_iter().filter(|(path, _)| path.starts_with(part)).collect();
        assert!(!files.is_empty(), "{part} is gone");
        for (path, text) in files {
            let code = code(&text);
            let named = others.iter().filter(|other| names(&code, other));
            faults.extend(named.map(|other| format!("{} names {other}", path.display())));
        }
    }

    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_mod_rs_opens_with_its_docs_and_files_stay_short() {
    let mut faults = Vec::new();

    for (path, text) in sources() {
        if path.ends_with("mod.rs") && !text.starts_with("//!") {
            faults.push(format!("{} does not open with its docs", path.display()));
        }
        if text.lines().count() > MAX_LINES {
            faults.push(format!("{} has {} lines", path.display(), text.lines().count()));
        }
    }

    assert!(faults.is_empty(), "{faults:#?}");
}
