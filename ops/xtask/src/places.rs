//! What may stand only in certain places: SQL, ssh, git. A dependency alone cannot say that.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Words that only some places may use.
struct Rule {
    /// What it is about, as the subject of a sentence.
    what: &'static str,
    /// What gives it away in a line of code.
    marks: &'static [&'static str],
    /// Beginnings of paths, from the root, where it belongs.
    places: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        what: "SQL",
        marks: &["sqlx::query", "query_as(", "query_scalar(", "\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE ", "\"BEGIN IMMEDIATE"],
        places: &[
            "controller/src/store",
            // The logs have a database of their own, so that a build that prints much never holds up a decision.
            "controller/src/log/book.rs",
            "service/src/ledger",
            "service/src/sqlite.rs",
            "artifact-store/src/catalog",
            "integration/local-executor/src/store.rs",
        ],
    },
    Rule { what: "the crate openssh", marks: &["openssh::"], places: &["deploy-worker/src/ssh"] },
    Rule { what: "starting git", marks: &["Program::new(\"git\")", "Command::new(\"git\")"], places: &["service/src/git"] },
    Rule {
        what: "starting ssh",
        marks: &["Program::new(\"ssh\")", "Command::new(\"ssh\")"],
        places: &["deploy-worker/src/ssh", "integration/adapters/src/forge/gerrit"],
    },
    Rule {
        what: "signing and verifying tokens",
        marks: &["jsonwebtoken::"],
        // Signing is the chassis's alone. A GitLab's own tokens are verified where its words are understood.
        places: &[
            "service/src/auth",
            "integration/adapters/src/executor/gitlab/identity.rs",
            "integration/adapters/src/executor/gitlab/keyring.rs",
        ],
    },
    Rule {
        // How long an ordinary comparison takes tells how much of a guess was right.
        what: "comparing a secret",
        marks: &["expose_secret() ==", "expose_secret() !=", "expose_secret().eq(", "expose_secret().trim() ==", "verify_slices_are_equal"],
        // The fakes have no secret to lose.
        places: &["service/src/auth", "integration/fakes/src"],
    },
    Rule { what: "rustls", marks: &["rustls::", "tokio_rustls::"], places: &["service/src/"] },
];

/// The folders whose crates the rules are for. Scenarios and this crate stand outside of the services.
const CRATES: &[&str] = &[
    "contract/src",
    "service/src",
    "controller/core/src",
    "controller/src",
    "vcs-worker/src",
    "artifact-store/src",
    "deploy-worker/src",
    "integration/adapters/src",
    "integration/fakes/src",
    "integration/local-executor/src",
    "ops/cli/src",
];

/// Every line below `root` that stands in the wrong place, as a sentence.
pub(crate) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for folder in CRATES {
        walk(root, Path::new(folder), &mut faults)?;
    }
    Ok(faults)
}

fn walk(root: &Path, folder: &Path, faults: &mut Vec<String>) -> Result<()> {
    let whole = root.join(folder);
    let mut entries: Vec<_> = std::fs::read_dir(&whole)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("reading {}", whole.display()))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(root, &path, faults)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(entry.path()).with_context(|| format!("reading {}", path.display()))?;
            faults.extend(misplaced(&path.to_string_lossy(), &text));
        }
    }
    Ok(())
}

/// What stands in the file at `path` and does not belong there. Tests may use anything.
fn misplaced(path: &str, text: &str) -> Vec<String> {
    if path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/testing") {
        return Vec::new();
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for rule in RULES {
            let here = rule.places.iter().any(|place| path.starts_with(place));
            if !here && rule.marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{path}:{}: {} belongs into {}", number + 1, rule.what, rule.places.join(", ")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat 12.
    #[test]
    fn the_tree_as_it_is_keeps_everything_in_its_place() {
        let root = crate::cargo::root().expect("cargo answers");
        assert_eq!(faults(&root).expect("the tree is readable"), Vec::<String>::new());
    }

    #[test]
    fn every_place_that_is_named_is_there() {
        let root = crate::cargo::root().expect("cargo answers");
        for place in RULES.iter().flat_map(|rule| rule.places) {
            let found = [String::new(), ".rs".to_owned()].iter().any(|ending| root.join(format!("{place}{ending}")).exists());
            assert!(found, "{place} is not there any more");
        }
    }

    #[test]
    fn sql_outside_of_a_store_is_found_with_its_line() {
        let text = "fn all() {\n    sqlx::query(\"SELECT 1\");\n}\n";
        let found = misplaced("controller/src/api/runs.rs", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("controller/src/api/runs.rs:2: SQL belongs into controller/src/store"), "{found:?}");
        assert!(misplaced("controller/src/store/run.rs", text).is_empty());
    }

    // Threat 12.
    #[test]
    fn a_comparison_whose_time_tells_something_is_found() {
        let guess = "    if said == secret.expose_secret() || secret.expose_secret() == said {\n";
        assert_eq!(misplaced("integration/adapters/src/forge/x.rs", guess).len(), 1);
        let call = "    is_same_secret(&said, &secret) || constant_time_eq(said.as_bytes(), secret.expose_secret().as_bytes())\n";
        assert!(misplaced("integration/adapters/src/forge/x.rs", call).is_empty());
    }

    #[test]
    fn comments_and_tests_may_speak_of_anything() {
        assert!(misplaced("vcs-worker/src/api.rs", "// openssh::Session would be wrong here.\n").is_empty());
        assert!(misplaced("vcs-worker/src/api.rs", "#[cfg(test)]\nmod tests {\n    use openssh::Session;\n}\n").is_empty());
        assert_eq!(misplaced("vcs-worker/src/api.rs", "use openssh::Session;\n").len(), 1);
    }
}
