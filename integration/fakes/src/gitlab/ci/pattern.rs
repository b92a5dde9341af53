//! `/regular expressions/` and file globs, as definitions write them.

use regex::{Regex, RegexBuilder};

/// How much memory one compiled pattern may take: the text comes from the repository.
const LARGEST: usize = 1 << 20;
const LONGEST: usize = 10_000;

/// A regular expression between slashes, with flags behind. GitLab reads it with RE2, whose syntax is nearly ours.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    source: String,
    compiled: Regex,
}

impl Pattern {
    /// Whether a text means to be a pattern.
    pub(super) fn is_meant(text: &str) -> bool {
        text.len() > 1 && text.starts_with('/') && split(text).is_some()
    }

    /// Reads `/…/flags`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (body, flags) = split(text)?;
        if body.is_empty() || body.len() > LONGEST {
            return None;
        }
        let compiled = RegexBuilder::new(body)
            .case_insensitive(flags.contains('i'))
            .dot_matches_new_line(flags.contains('s'))
            .multi_line(flags.contains('m'))
            .swap_greed(flags.contains('U'))
            .size_limit(LARGEST)
            .build()
            .ok()?;
        Some(Self { source: text.to_owned(), compiled })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

fn split(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('/')?;
    let (body, flags) = body.rsplit_once('/')?;
    flags.chars().all(|flag| "ismU".contains(flag)).then_some((body, flags))
}

/// A glob of files: `*` and `?` stay within a folder, `**/` crosses folders, `{a,b}` chooses, `[a-z]` is a class; dots are nothing special.
#[derive(Clone, Debug)]
pub(super) struct Glob(Regex);

impl Glob {
    /// Reads a glob; nothing when it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let text = text.strip_prefix("./").unwrap_or(text);
        RegexBuilder::new(&translate(text)).size_limit(LARGEST).build().ok().map(Self)
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

fn translate(glob: &str) -> String {
    let letters: Vec<char> = glob.chars().collect();
    let mut out = String::from("^");
    let (mut at, mut open) = (0, 0_usize);
    while at < letters.len() {
        match letters[at] {
            '*' if letters[at..].starts_with(&['*', '*', '/']) && (at == 0 || letters[at - 1] == '/') => {
                out.push_str("(?:[^/]+/)*");
                at += 2;
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '{' if letters[at..].contains(&'}') => {
                open += 1;
                out.push_str("(?:");
            }
            '}' if open > 0 => {
                open -= 1;
                out.push(')');
            }
            ',' if open > 0 => out.push('|'),
            '[' => match class(&letters[at..]) {
                Some((class, used)) => {
                    out.push_str(&class);
                    at += used - 1;
                }
                None => out.push_str("\\["),
            },
            '\\' if at + 1 < letters.len() => {
                at += 1;
                out.push_str(&regex::escape(&letters[at].to_string()));
            }
            letter => out.push_str(&regex::escape(&letter.to_string())),
        }
        at += 1;
    }
    out.push_str(&")".repeat(open));
    out.push('$');
    out
}

/// `[a-z]` and `[!a-z]`.
fn class(letters: &[char]) -> Option<(String, usize)> {
    let end = letters.iter().skip(2).position(|letter| *letter == ']')? + 2;
    let (negated, inner) = match letters[1] {
        '!' | '^' => ("^", &letters[2..end]),
        _ => ("", &letters[1..end]),
    };
    let mut out = format!("[{negated}");
    for letter in inner {
        match letter {
            '-' => out.push('-'),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push(']');
    Some((out, end + 1))
}
