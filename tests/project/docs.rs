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

/// The tests that a table's row names, each with the files that the row links.
fn named(row: &str) -> (Vec<&str>, Vec<&str>) {
    let files = row.split("(../").skip(1).filter_map(|part| part.split(')').next()).collect();
    let quoted = row.split('`').skip(1).step_by(2);
    let is_test = |name: &&str| {
        let is_word =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        is_word && name.matches('_').count() >= 3
    };
    (files, quoted.filter(is_test).collect())
}

#[test]
fn every_test_that_the_crash_matrix_and_the_answers_name_exists() {
    let (mut missing, mut count) = (Vec::new(), 0);

    for document in ["docs/delivery.md", "docs/answers.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for row in text.lines().filter(|row| row.contains("(../tests/")) {
            let (files, tests) = named(row);
            let sources: String =
                files.iter().map(|file| fs::read_to_string(root().join(file)).unwrap()).collect();
            count += tests.len();
            missing.extend(
                tests
                    .iter()
                    .filter(|test| !sources.contains(&format!("fn {test}(")))
                    .map(|test| format!("{document}: {test}")),
            );
        }
    }

    assert!(count >= 50, "only {count} tests are named");
    assert!(missing.is_empty(), "{missing:#?}");
}
