//! The documents tell the truth about files and tests.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].iter().map(|name| root().join(name)).collect();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        found.push(entry.unwrap().path());
    }
    found
}

/// Targets of `](target)` that are paths of ours.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap().to_owned())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

#[test]
fn every_link_leads_to_a_file() {
    let mut broken = Vec::new();

    for document in documents() {
        for link in links(&fs::read_to_string(&document).unwrap()) {
            if !document.parent().unwrap().join(&link).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }

    assert!(broken.is_empty(), "{broken:#?}");
}

/// The tests that a text names: words in backticks with three underscores or more, which nothing else has but metrics.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_test = |name: &&str| {
        let is_word =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        is_word && name.matches('_').count() >= 3 && !name.starts_with("trunkline_")
    };
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_test)
}

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut text = String::new();
    ["src", "tests"].iter().for_each(|dir| sources(&root().join(dir), &mut text));
    let (mut missing, mut count) = (Vec::new(), 0);

    for document in documents() {
        for test in named(&fs::read_to_string(&document).unwrap()) {
            count += 1;
            if !text.contains(&format!("fn {test}(")) {
                missing.push(format!("{}: {test}", document.display()));
            }
        }
    }

    assert!(count >= 100, "only {count} tests are named");
    assert!(missing.is_empty(), "{missing:#?}");
}
