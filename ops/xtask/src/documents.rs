//! Whether what the documents name is there: files and tests in those that are about the code, links in all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The documents that name files and tests of the code.
const MAPS: [&str; 3] = ["ARCHITECTURE.md", "docs/proof.md", "docs/security.md"];

/// Folders of documents beside the root's own.
const DOCUMENTS: &str = "docs";

/// Folders that hold nothing that is written by hand.
const SKIPPED: &[&str] = &["target", ".git", ".signalbox-try"];

/// What a document may name.
#[derive(Debug, Default)]
struct Tree {
    /// Paths from the root, folders among them.
    paths: BTreeSet<String>,
    /// The names of all functions.
    functions: BTreeSet<String>,
}

/// Everything that is named below `root` and does not exist, as sentences.
pub(crate) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut tree = Tree::default();
    walk(root, Path::new(""), &mut tree)?;
    let mut faults = Vec::new();
    let is_document = |path: &&String| {
        Path::new(path).extension().is_some_and(|extension| extension == "md") && (!path.contains('/') || path.starts_with(DOCUMENTS))
    };
    for document in tree.paths.iter().filter(is_document) {
        let text = std::fs::read_to_string(root.join(document)).with_context(|| format!("reading {document}"))?;
        faults.extend(broken_links(document, &text, &tree));
        if MAPS.contains(&document.as_str()) {
            faults.extend(missing(document, &text, &tree));
        }
    }
    for description in tree
        .paths
        .iter()
        .filter(|path| path.strip_prefix("docs/api/").and_then(|name| name.split_once('.')).is_some_and(|(_, kind)| kind == "json"))
    {
        let text = std::fs::read_to_string(root.join(description)).with_context(|| format!("reading {description}"))?;
        let api = serde_json::from_str(&text).with_context(|| format!("reading {description}"))?;
        faults.extend(dangling(&api).into_iter().map(|reference| format!("{description}: {reference} is nowhere")));
    }
    Ok(faults)
}

/// The references of a description that lead nowhere, each once.
fn dangling(api: &serde_json::Value) -> BTreeSet<String> {
    fn collect<'a>(value: &'a serde_json::Value, found: &mut BTreeSet<&'a str>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(serde_json::Value::as_str));
                fields.values().for_each(|value| collect(value, found));
            }
            serde_json::Value::Array(members) => members.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(api, &mut found);
    let leads = |reference: &&str| reference.strip_prefix('#').is_some_and(|pointer| api.pointer(pointer).is_some());
    found.into_iter().filter(|reference| !leads(reference)).map(str::to_owned).collect()
}

fn walk(root: &Path, folder: &Path, tree: &mut Tree) -> Result<()> {
    let whole = root.join(folder);
    for entry in std::fs::read_dir(&whole).with_context(|| format!("reading {}", whole.display()))? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        tree.paths.insert(path.display().to_string());
        if entry.file_type()?.is_dir() {
            walk(root, &path, tree)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(entry.path()).with_context(|| format!("reading {}", path.display()))?;
            tree.functions.extend(text.split("fn ").skip(1).map(|rest| {
                let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
                rest[..end].to_owned()
            }));
        }
    }
    Ok(())
}

/// The links of a document that lead to no file.
fn broken_links(document: &str, text: &str, tree: &Tree) -> Vec<String> {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let files =
        targets.filter(|target| !target.contains("://")).filter_map(|target| target.split('#').next()).filter(|file| !file.is_empty());
    files
        .filter(|file| !tree.paths.contains(&plain(&folder.join(file))))
        .map(|file| format!("{document}: the link to {file} leads nowhere"))
        .collect()
}

/// A path without `..` and without a slash at its end.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain.display().to_string()
}

/// The files and tests between backticks that are not there.
fn missing(document: &str, text: &str, tree: &Tree) -> Vec<String> {
    // What is shown as a block is a picture, and names nothing exactly.
    let prose: String = text.split("```").step_by(2).collect();
    let words = prose.split('`').skip(1).step_by(2);
    words
        .filter(|word| (is_path(word) && !tree.has_path(word)) || (is_sentence(word) && !tree.functions.contains(*word)))
        .map(|word| format!("{document}: there is no {word}"))
        .collect()
}

/// Whether this names a file or a folder of ours: not the path of a request, and not a pattern.
fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter)) && !word.starts_with('/');
    let file =
        Path::new(word).extension().is_some_and(|extension| ["rs", "sh", "toml", "md", "lock"].iter().any(|known| extension == *known));
    plain && (file || word.ends_with('/'))
}

/// Whether this is a name that is a sentence, as tests have.
fn is_sentence(word: &str) -> bool {
    word.matches('_').count() >= 3 && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

impl Tree {
    /// Whether there is such a path, from the root or from a folder that the text speaks of.
    fn has_path(&self, word: &str) -> bool {
        let word = word.trim_end_matches('/');
        let below = format!("/{word}");
        self.paths.contains(word) || self.paths.iter().any(|path| path.ends_with(&below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Tree {
            paths: texts(&["docs", "docs/api.md", "README.md", "controller/src/engine", "controller/src/engine/perform.rs"]),
            functions: texts(&["a_cancelled_build_is_never_deployed"]),
        }
    }

    #[test]
    fn a_file_or_a_test_that_is_named_and_not_there_is_found() {
        let good =
            "`engine/perform.rs` and `engine/`, `a_cancelled_build_is_never_deployed`, `POST /runs/ID`, `refs/heads/cd/KEY`, `/tmp/x.rs`";
        assert_eq!(missing("A.md", good, &tree()), Vec::<String>::new());
        let bad = "`engine/gone.rs`\n```\n`block.rs`\n```\n`a_build_that_is_never_deployed` `orm.rs` `src/lost/`";
        let found = missing("A.md", bad, &tree());
        let expected = ["engine/gone.rs", "a_build_that_is_never_deployed", "orm.rs", "src/lost/"];
        assert_eq!(found, expected.map(|word| format!("A.md: there is no {word}")));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found_from_wherever_it_stands() {
        let text = "[a](api.md#x) [b](../README.md) [c](https://example.org/x.md) [d](#here) [e](gone.md) [f](../docs/)";
        assert_eq!(broken_links("docs/jobs.md", text, &tree()), ["docs/jobs.md: the link to gone.md leads nowhere"]);
    }

    #[test]
    fn a_reference_of_a_description_that_leads_nowhere_is_found() {
        let api = serde_json::json!({
            "paths": [{ "$ref": "#/components/schemas/There" }, { "schema": { "$ref": "#/components/schemas/Gone" } }],
            "components": { "schemas": { "There": {} } },
        });
        assert_eq!(dangling(&api).into_iter().collect::<Vec<_>>(), ["#/components/schemas/Gone"]);
    }

    #[test]
    fn the_documents_as_they_are_name_nothing_that_is_not_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert_eq!(faults(&root).expect("readable"), Vec::<String>::new());
    }
}
