//! The configurations in the documents are read by the services' own readers.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{SERVICES, home, say};

/// What a piece of a configuration lacks although it is right: what `signalbox init` writes around it, and secrets.
const LACKING: [&str; 5] = ["is required", "which is not among", "cannot be read", "No such file", "is missing"];

/// All documents below a folder.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<PathBuf> = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    found.extend(folders.iter().flat_map(|folder| documents(folder)));
    found
}

/// The pieces of TOML in a document. A line that is a file's name alone, as a comment, begins a piece for that service.
fn pieces(text: &str) -> Vec<(Option<String>, String)> {
    let mut pieces = Vec::new();
    for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let (mut service, mut piece) = (None, String::new());
        for line in block.lines() {
            let named = line.strip_prefix("# ").and_then(|name| name.strip_suffix(".toml")).filter(|name| SERVICES.contains(name));
            if named.is_some() {
                pieces.push((service, std::mem::take(&mut piece)));
                service = named.map(str::to_owned);
            } else {
                piece.push_str(line);
                piece.push('\n');
            }
        }
        pieces.push((service, piece));
    }
    pieces.retain(|(_, piece)| !piece.trim().is_empty());
    pieces
}

#[tokio::test]
async fn every_piece_of_a_configuration_in_the_documents_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = 0;
    let named = [root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("ARCHITECTURE.md")];
    for document in documents(&root.join("docs")).into_iter().chain(named) {
        for (service, piece) in pieces(&std::fs::read_to_string(&document).expect("readable")) {
            found += 1;
            let home = home();
            let mut wrong = Vec::new();
            for candidate in SERVICES.iter().filter(|name| service.as_ref().is_none_or(|service| service == **name)) {
                let file = format!("{candidate}.toml");
                std::fs::write(home.path().join(&file), &piece).expect("written");
                let said = say(home.path(), &["check-config", &file, "--json"]).await;
                let answer: Value = serde_json::from_str(&said.out).expect("JSON");
                let errors = answer["errors"].as_array().expect("a list").iter();
                let text = |error: &Value| format!("{}: {}", error["key"], error["message"]);
                wrong.push(errors.map(text).filter(|text| !LACKING.iter().any(|lacking| text.contains(lacking))).collect::<Vec<_>>());
            }
            assert!(wrong.iter().any(Vec::is_empty), "{}: no service understands\n{piece}\n{wrong:#?}", document.display());
        }
    }
    assert!(found >= 9, "the pieces are found: {found}");
}
