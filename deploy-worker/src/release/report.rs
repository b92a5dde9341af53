//! What the script on the host answers, read strictly: anything else is an error, never a guess.

use jiff::Timestamp;
use signalbox_contract::{Digest, PublishedName, RunId};

/// The line with which an answer begins. What a login prints before it is not ours.
const BEGIN: &str = "signalbox 1";

/// The most names of one host that are taken.
const MAX_NAMES: usize = 4096;

/// A release, as its folder is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReleaseId {
    /// The activation that brought it.
    pub sequence: u64,
    /// Its bytes.
    pub digest: Digest,
}

/// What a host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the name showed when the script looked; none if nothing, or if it did not come to look.
    pub shows: Option<ReleaseId>,
    /// The highest sequence that was asked for before.
    pub high: Option<u64>,
    /// By which run, where the host knows.
    pub high_run: Option<RunId>,
    /// What would be activated.
    pub candidate: Option<Candidate>,
    /// Every name, where that was asked.
    pub names: Vec<NameState>,
    /// What came of it.
    pub end: End,
}

/// What would be activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its bytes.
    pub digest: Digest,
    /// Whether they are there and right.
    pub soundness: Soundness,
}

/// Whether kept bytes can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// They are what they should be.
    Sound,
    /// They are not what they should be.
    Rotten,
    /// They are not there.
    Absent,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The name shows the bytes now.
    Switched,
    /// It showed them already.
    Unchanged,
    /// A later activation was asked for before.
    Superseded,
    /// The bytes are not there.
    Missing,
    /// There is nothing that could be activated.
    Nothing,
    /// There is a candidate.
    Checked,
    /// That is all there is.
    Told,
    /// It did not work.
    Failed(Fault),
}

/// Why a host did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The root is not there.
    NoRoot,
    /// The root is a symbolic link.
    RootIsLink,
    /// The root may not be written to.
    RootNotWritable,
    /// A folder of ours is a link, or belongs to somebody else.
    NotOurs(String),
    /// Under the published name there is something that Signalbox did not put there.
    NameTaken,
    /// Another deployment holds the lock for too long.
    Locked,
    /// A program is not there.
    Tool(String),
    /// Something cannot be written.
    Write,
    /// What was written cannot be read.
    Read,
    /// What was written cannot be made durable.
    Sync,
    /// It was switched, and that cannot be made durable.
    SyncAfter,
    /// The link cannot be switched.
    Switch,
    /// The bytes that came have another digest.
    Digest(Digest),
    /// The kept bytes are not what they should be.
    Rotten,
    /// The sequence was used for other bytes.
    SequenceReused,
}

/// A published name on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameState {
    /// The name.
    pub name: PublishedName,
    /// What it shows.
    pub shows: Option<ReleaseId>,
    /// All releases that are there.
    pub kept: Vec<ReleaseId>,
    /// What was switched to, or was about to be, oldest first.
    pub activations: Vec<Shown>,
}

/// A line of a name's activations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The activation.
    pub sequence: u64,
    /// The bytes.
    pub digest: Digest,
    /// By which run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}

/// The host answered something that the script does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host's answer makes no sense: {0}")]
pub struct Malformed(&'static str);

/// Reads an answer.
///
/// # Errors
/// When it is not one, or not a whole one.
pub fn parse(stdout: &[u8]) -> Result<Report, Malformed> {
    let text = latter_part(stdout).ok_or(Malformed("it does not begin as it should"))?;
    let mut report = Report { shows: None, high: None, high_run: None, candidate: None, names: Vec::new(), end: End::Nothing };
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "end" => {
                report.end = end(rest)?;
                return if lines.next().is_none() && text.ends_with('\n') {
                    Ok(report)
                } else {
                    Err(Malformed("it goes on after its end"))
                };
            }
            "name" => {
                let name = rest.parse().map_err(|_| Malformed("a name is not one"))?;
                if report.names.len() >= MAX_NAMES {
                    return Err(Malformed("it has too many names"));
                }
                report.names.push(NameState { name, shows: None, kept: Vec::new(), activations: Vec::new() });
            }
            "shows" => match report.names.last_mut() {
                Some(name) => name.shows = Some(release(rest)?),
                None => report.shows = if rest == "-" { None } else { Some(release(rest)?) },
            },
            "high" => {
                let (high, run) = rest.split_once(' ').unwrap_or((rest, ""));
                report.high = Some(number(high)?);
                // A word that a fault on the host has spoiled is no run.
                report.high_run = run.parse().ok();
            }
            "candidate" => report.candidate = Some(candidate(rest)?),
            "kept" => last(&mut report)?.kept.push(release(rest)?),
            "asked" | "shown" => {
                // A line that a fault on the host has spoiled is worth nothing; the rest still is.
                if let Ok(shown) = shown(rest) {
                    last(&mut report)?.activations.push(shown);
                }
            }
            _ => return Err(Malformed("it holds a line that is not known")),
        }
    }
    Err(Malformed("it breaks off"))
}

/// The answer without what the login printed before it.
fn latter_part(stdout: &[u8]) -> Option<&str> {
    let line = [BEGIN.as_bytes(), b"\n"].concat();
    let at_start = |at: usize| at == 0 || stdout[at - 1] == b'\n';
    let begin = stdout.windows(line.len()).enumerate().find(|(at, window)| *window == line && at_start(*at))?.0;
    std::str::from_utf8(&stdout[begin + line.len()..]).ok()
}

fn last(report: &mut Report) -> Result<&mut NameState, Malformed> {
    report.names.last_mut().ok_or(Malformed("it tells of releases before it names any"))
}

fn number(text: &str) -> Result<u64, Malformed> {
    const INVALID: Malformed = Malformed("a number is not one");
    if text.starts_with('+') { Err(INVALID) } else { text.parse().map_err(|_| INVALID) }
}

fn digest(text: &str) -> Result<Digest, Malformed> {
    Digest::from_hex(text).map_err(|_| Malformed("a digest is not one"))
}

fn release(text: &str) -> Result<ReleaseId, Malformed> {
    let (sequence, hex) = text.split_once('-').ok_or(Malformed("a release is not one"))?;
    Ok(ReleaseId { sequence: number(sequence)?, digest: digest(hex)? })
}

fn candidate(text: &str) -> Result<Candidate, Malformed> {
    let (hex, word) = text.split_once(' ').ok_or(Malformed("a candidate is not one"))?;
    let soundness = match word {
        "sound" => Soundness::Sound,
        "rotten" => Soundness::Rotten,
        "absent" => Soundness::Absent,
        _ => return Err(Malformed("a candidate is not one")),
    };
    Ok(Candidate { digest: digest(hex)?, soundness })
}

fn shown(text: &str) -> Result<Shown, Malformed> {
    const INVALID: Malformed = Malformed("an activation is not one");
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or(INVALID);
    let (sequence, hex, run, at) = (next()?, next()?, next()?, next()?);
    Ok(Shown {
        sequence: number(sequence)?,
        digest: digest(hex)?,
        run: run.parse().map_err(|_| INVALID)?,
        at: at.parse().map_err(|_| INVALID)?,
    })
}

fn end(text: &str) -> Result<End, Malformed> {
    Ok(match text {
        "switched" => End::Switched,
        "unchanged" => End::Unchanged,
        "superseded" => End::Superseded,
        "missing" => End::Missing,
        "none" => End::Nothing,
        "checked" => End::Checked,
        "state" => End::Told,
        text => End::Failed(fault(text.strip_prefix("failed ").ok_or(Malformed("its end is not known"))?)?),
    })
}

fn fault(text: &str) -> Result<Fault, Malformed> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match word {
        "no-root" => Fault::NoRoot,
        "root-is-link" => Fault::RootIsLink,
        "root-not-writable" => Fault::RootNotWritable,
        "not-ours" => Fault::NotOurs(crate::ssh::escape(rest.as_bytes())),
        "name-taken" => Fault::NameTaken,
        "locked" => Fault::Locked,
        "tool" => Fault::Tool(crate::ssh::escape(rest.as_bytes())),
        "write" => Fault::Write,
        "read" => Fault::Read,
        "sync" => Fault::Sync,
        "sync-after" => Fault::SyncAfter,
        "switch" => Fault::Switch,
        "digest" => Fault::Digest(digest(rest)?),
        "rotten" => Fault::Rotten,
        "sequence-reused" => Fault::SequenceReused,
        _ => return Err(Malformed("its failure is not known")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_past_what_the_login_prints() {
        let hex = "ab".repeat(32);
        let text = format!("Welcome!\x1b[31m\nsignalbox 1\nshows 3-{hex}\nhigh 4\nend switched\n");
        let report = parse(text.as_bytes()).expect("an answer");
        assert_eq!(report.end, End::Switched);
        assert_eq!(report.high, Some(4));
        assert_eq!(report.shows.map(|release| release.sequence), Some(3));
    }

    // Threat 51: what a hostile host says is refused as a whole when any of it makes no sense.
    #[test]
    fn hostile_answers_are_refused() {
        let hex = "ab".repeat(32);
        for text in [
            String::new(),
            "end switched\n".to_owned(),
            "signalbox 1\n".to_owned(),
            "signalbox 1\nend switched".to_owned(),
            "signalbox 1\nend switched\nend switched\n".to_owned(),
            "signalbox 1\nend whatever\n".to_owned(),
            "signalbox 1\nend failed whatever\n".to_owned(),
            "signalbox 1\n\x1b]0;x\x07\nend switched\n".to_owned(),
            format!("signalbox 1\nshows {hex}\nend switched\n"),
            format!("signalbox 1\nshows -1-{hex}\nend switched\n"),
            format!("signalbox 1\nshows +1-{hex}\nend switched\n"),
            format!("signalbox 1\nkept 1-{hex}\nend state\n"),
            "signalbox 1\nname ../x\nend state\n".to_owned(),
            "signalbox 1\nhigh 99999999999999999999999\nend superseded\n".to_owned(),
            "xsignalbox 1\nend switched\n".to_owned(),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"signalbox 1\n\xff\nend switched\n").is_err());
    }
}
