//! The documents tell the truth about files and tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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

#[test]
fn every_test_that_the_crash_matrix_names_exists() {
    let text = fs::read_to_string(root().join("docs/delivery.md")).unwrap();
    let matrix = text.split("## Crash matrix").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut missing = Vec::new();
    let mut named = 0;

    for row in matrix.lines().filter(|row| row.contains("../tests/")) {
        let file = row.split("(../").nth(1).unwrap().split(')').next().unwrap();
        let test = row.rsplit('`').nth(1).unwrap();
        named += 1;
        if !fs::read_to_string(root().join(file)).unwrap().contains(&format!("fn {test}(")) {
            missing.push(format!("{file}: {test}"));
        }
    }

    assert!(named >= 5, "the matrix was not read");
    assert!(missing.is_empty(), "{missing:#?}");
}
