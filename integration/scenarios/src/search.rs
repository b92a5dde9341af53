//! Looking for secrets where they do not belong: in texts, in files, and in what programs show of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Between two looks at all programs.
const PAUSE: Duration = Duration::from_millis(4);

/// A secret that was planted, and where it may stand.
#[derive(Debug, Clone)]
pub struct Planted {
    /// What it is.
    pub what: &'static str,
    faces: Vec<String>,
    homes: Vec<PathBuf>,
    git: bool,
}

impl Planted {
    /// A secret: in clear, in JSON, in URLs, and in both kinds of base64 wherever it begins.
    ///
    /// # Panics
    /// When it is too short to be told from other text.
    pub fn new(what: &'static str, secret: &str) -> Self {
        assert!(secret.len() >= 12, "{what} could be anything");
        let quoted = serde_json::Value::from(secret).to_string();
        let mut faces = BTreeSet::from([secret.to_owned(), quoted.trim_matches('"').to_owned()]);
        faces.insert(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        faces.insert(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>().replace('+', "%20"));
        for lead in 0..3 {
            let bytes = [&vec![b'x'; lead][..], secret.as_bytes()].concat();
            for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
                // The first and the last letters depend on what stands beside it.
                faces.insert(text[4..text.len() - 4].to_owned());
            }
        }
        Self { what, faces: faces.into_iter().collect(), homes: Vec::new(), git: false }
    }

    /// The same, which may stand in this file, or in files below this folder.
    #[must_use]
    pub fn at(mut self, home: impl Into<PathBuf>) -> Self {
        self.homes.push(home.into());
        self
    }

    /// The same, which git is given in its environment, where nobody sees it who could not read the file too.
    #[must_use]
    pub const fn given_to_git(mut self) -> Self {
        self.git = true;
        self
    }

    /// Whether it stands in a text.
    pub fn stands_in(&self, text: &str) -> bool {
        self.faces.iter().any(|face| text.contains(face.as_str()))
    }

    fn may_stand_in(&self, path: &Path) -> bool {
        self.homes.iter().any(|home| path.starts_with(home))
    }
}

/// Every file below a folder, with what it holds. The databases' logs are files like others.
pub fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                found.push((entry.path(), String::from_utf8_lossy(&bytes).into_owned()));
            }
            _ => {}
        }
    }
    found
}

/// The files in which a secret stands that may not stand there.
pub fn leaks_in_files(planted: &[Planted], files: &[(PathBuf, String)]) -> Vec<String> {
    let leaks = |(path, text): &(PathBuf, String)| {
        let here = planted.iter().filter(|secret| !secret.may_stand_in(path) && secret.stands_in(text));
        here.map(|secret| format!("{} in {}", secret.what, path.display())).collect::<Vec<_>>()
    };
    files.iter().flat_map(leaks).collect()
}

/// The texts in which a secret stands, or a token that somebody signed.
pub fn leaks_in_texts(planted: &[Planted], texts: &[(String, String)]) -> Vec<String> {
    let leaks = |(name, text): &(String, String)| {
        let here = planted.iter().filter(|secret| secret.stands_in(text)).map(|secret| secret.what);
        here.chain(holds_token(text).then_some("a signed token")).map(|what| format!("{what} in {name}")).collect::<Vec<_>>()
    };
    texts.iter().flat_map(leaks).collect()
}

/// Whether something in a text has the form of a signed token, as all of ours have: act tokens, capabilities, operators'.
pub(crate) fn holds_token(text: &str) -> bool {
    // The beginning of `{"` in base64.
    text.match_indices("eyJ").any(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"-_.".contains(letter)).unwrap_or(rest.len());
        let parts: Vec<&str> = rest[..end].split('.').collect();
        parts.len() >= 3 && parts[..3].iter().all(|part| part.len() >= 16)
    })
}

/// Looks at what all programs below this one show of themselves, until it is ended.
#[derive(Debug)]
pub struct Watch {
    ended: Arc<AtomicBool>,
    looking: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    /// Begins to look for these secrets, and for tokens.
    pub fn begin(planted: Vec<Planted>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let looking = std::thread::spawn(move || {
            let (mut found, mut known) = (BTreeSet::new(), BTreeMap::new());
            while !end.load(Ordering::Relaxed) {
                look(&planted, &mut known, &mut found);
                std::thread::sleep(PAUSE);
            }
            found
        });
        Self { ended, looking }
    }

    /// Ends it, and tells what was seen that should not have been.
    ///
    /// # Panics
    /// When looking has failed.
    #[expect(clippy::expect_used, reason = "a look that failed has proven nothing")]
    pub fn end(self) -> BTreeSet<String> {
        self.ended.store(true, Ordering::Relaxed);
        self.looking.join().expect("it looked")
    }
}

/// Looks at each program once, and again when its command line is another.
fn look(planted: &[Planted], known: &mut BTreeMap<u32, Vec<u8>>, found: &mut BTreeSet<String>) {
    let me = std::process::id();
    let parents: BTreeMap<u32, (u32, String)> =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| program(&entry)).collect();
    for (id, (_, name)) in &parents {
        if *id == me || !descends(*id, me, &parents) {
            continue;
        }
        let read = |what: &str| fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        let line = read("cmdline");
        if known.get(id) == Some(&line) {
            continue;
        }
        let (command, environment) = (String::from_utf8_lossy(&line).into_owned(), String::from_utf8_lossy(&read("environ")).into_owned());
        let git = name.starts_with("git");
        for secret in planted {
            if secret.stands_in(&command) {
                found.insert(format!("{} in the command line of {name}", secret.what));
            }
            if secret.stands_in(&environment) && !(secret.git && git) {
                found.insert(format!("{} in the environment of {name}", secret.what));
            }
        }
        if holds_token(&command) || (holds_token(&environment) && !git) {
            found.insert(format!("a signed token in what {name} shows"));
        }
        known.insert(*id, line);
    }
}

/// A program's id, its parent and its name.
fn program(entry: &fs::DirEntry) -> Option<(u32, (u32, String))> {
    let id = entry.file_name().to_str()?.parse().ok()?;
    let text = fs::read_to_string(entry.path().join("stat")).ok()?;
    // The name may hold anything, brackets too.
    let (name, rest) = (text.split_once('(')?.1, text.rsplit_once(')')?.1);
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some((id, (parent, name.rsplit_once(')')?.0.to_owned())))
}

fn descends(mut id: u32, from: u32, parents: &BTreeMap<u32, (u32, String)>) -> bool {
    // Programs come and go while they are listed, so the way up is bounded.
    for _ in 0..64 {
        match parents.get(&id) {
            Some((parent, _)) if *parent == from => return true,
            Some((parent, _)) if *parent > 1 => id = *parent,
            _ => return false,
        }
    }
    false
}
