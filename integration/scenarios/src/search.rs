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
    for id in parents.keys() {
        let above = above(*id, &parents);
        if !above.contains(&me) {
            continue;
        }
        let read = |what: &str| fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        let line = read("cmdline");
        if known.get(id) == Some(&line) {
            continue;
        }
        let (command, environment) = (String::from_utf8_lossy(&line).into_owned(), String::from_utf8_lossy(&read("environ")).into_owned());
        // It is asked for its name last: it may have become another program since it was listed.
        let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
        let is_git = |id: &u32| parents.get(id).is_some_and(|(_, name)| name.starts_with("git"));
        // What git starts gets git's environment.
        let git = name.starts_with("git") || above.iter().any(is_git);
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

/// The programs above one, the nearest first.
fn above(mut id: u32, parents: &BTreeMap<u32, (u32, String)>) -> Vec<u32> {
    let mut above = Vec::new();
    // Programs come and go while they are listed, so the way up is bounded.
    while let Some((parent, _)) = parents.get(&id).filter(|_| above.len() < 64) {
        above.push(*parent);
        id = *parent;
    }
    above
}

#[cfg(test)]
mod tests {
    use signalbox_service::process::{Bounds, Program};

    use super::*;

    const SECRET: &str = "a/secret+with \"many\" faces=";

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let planted = [Planted::new("it", SECRET)];
        let basic = STANDARD_NO_PAD.encode(format!("somebody:{SECRET}"));
        for text in [SECRET, &basic, "?x=a%2Fsecret%2Bwith+%22many%22+faces%3D", "{\"x\":\"a/secret+with \\\"many\\\" faces=\"}"] {
            let found = leaks_in_texts(&planted, &[("here".to_owned(), text.to_owned())]);
            assert_eq!(found, ["it in here"], "{text}");
        }
        let token = "Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9.eyJpc3MiOiJzaWduYWxib3gifQ.c2lnbmF0dXJlLW9mLWl0";
        assert!(holds_token(token) && !holds_token("eyJ is no token, eyJhbGciOiJFZERTQSJ9 alone neither"));
    }

    #[test]
    fn a_secret_in_a_file_is_found_but_at_home() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("below")).expect("made");
        for name in ["home", "below/elsewhere"] {
            fs::write(folder.path().join(name), format!("x{SECRET}x")).expect("written");
        }
        let planted = [Planted::new("it", SECRET).at(folder.path().join("home"))];
        let found = leaks_in_files(&planted, &files(folder.path()));
        assert_eq!(found, [format!("it in {}", folder.path().join("below/elsewhere").display())]);
    }

    #[tokio::test]
    async fn what_a_program_shows_is_seen_while_it_runs() {
        let watch = Watch::begin(vec![Planted::new("it", "shown-by-a-program-7c21")]);
        let shown = Program::new("/bin/sh").args(["-c", "sleep 1; : shown-by-a-program-7c21"]).env("X", "shown-by-a-program-7c21");
        shown.env("PATH", "/usr/bin:/bin").run(Bounds::new(Duration::from_secs(20))).await.expect("it ends");
        let found = watch.end().into_iter().collect::<Vec<_>>();
        assert!(found.contains(&"it in the command line of sh".to_owned()), "{found:?}");
        assert!(found.contains(&"it in the environment of sleep".to_owned()), "{found:?}");
    }
}
