//! What is linked that others wrote: licences, sources, banned crates.
//!
//! The parts of `cargo deny check bans licenses sources` that need no network, without having to build that tool first.
//! `deny.toml` says the same for those who have it. Cargo's tree is asked, not its metadata: metadata also names optional
//! crates that no feature turns on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use crate::cargo;

/// Licences under which a crate may be linked. Each is permissive and asks for a notice at most.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must never be linked, and why.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one crypto library; with two, rustls and jsonwebtoken panic at first use"),
    ("native-tls", "TLS is rustls"),
    ("openssl-sys", "TLS is rustls"),
    ("async-io", "tokio is the one runtime"),
    ("rsa", "tokens are Ed25519, and the crate leaks its key through timing (RUSTSEC-2023-0071)"),
    ("serde_yaml", "it is no longer maintained"),
    ("serde_yml", "it is unsound (RUSTSEC-2025-0068)"),
];

/// A crate that is linked, or run when something is built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    /// Where it comes from when that is neither the workspace nor the crates index.
    elsewhere: Option<String>,
    licence: String,
}

/// Every fault in what is linked, as sentences.
pub(crate) fn check(show_duplicates: bool) -> Result<Vec<String>> {
    let root = cargo::root()?.display().to_string();
    let tree = cargo::run(&[
        "tree",
        "--workspace",
        "--locked",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}\t{l}",
    ])?;
    let linked: BTreeSet<Linked> = tree.lines().filter(|line| !line.is_empty()).map(|line| parse(line, &root)).collect::<Result<_>>()?;
    if show_duplicates {
        for (name, versions) in duplicates(&linked) {
            println!("  {name}: {}", versions.join(", "));
        }
    }
    Ok(faults(&linked))
}

/// Reads a line of Cargo's tree: `name vVERSION [(WHERE)] [(*)]`, a tab, the licence.
fn parse(line: &str, root: &str) -> Result<Linked> {
    let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
    let mut words = package.split(' ');
    let (Some(name), Some(version)) = (words.next(), words.next().and_then(|word| word.strip_prefix('v'))) else {
        bail!("cargo tree printed a line that is not understood: {line}");
    };
    let elsewhere = words
        .map(|word| word.trim_matches(['(', ')']))
        .find(|word| !matches!(*word, "*" | "proc-macro") && !word.starts_with(root))
        .map(str::to_owned);
    let licence = licence.trim_end_matches("(*)").trim().to_owned();
    Ok(Linked { name: name.to_owned(), version: version.to_owned(), elsewhere, licence })
}

fn faults(linked: &BTreeSet<Linked>) -> Vec<String> {
    let mut faults = Vec::new();
    for package in linked {
        let Linked { name, version, elsewhere, licence } = package;
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            faults.push(format!("{name} {version} is banned: {why}; `cargo tree --invert {name}` says who brings it"));
        }
        if let Some(place) = elsewhere {
            faults.push(format!("{name} {version} comes from {place}, not from the crates index"));
        }
        if !permitted(licence) {
            faults.push(format!("{name} {version} is licensed `{licence}`, which is not on the list in ops/xtask/src/dependencies.rs"));
        }
    }
    faults
}

fn duplicates(linked: &BTreeSet<Linked>) -> Vec<(&str, Vec<&str>)> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in linked {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.into_iter().filter(|(_, versions)| versions.len() > 1).collect()
}

/// Whether an SPDX expression can be met by the licences of the list. A slash is the old way to write `OR`.
fn permitted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any_of(&mut rest);
    met == Some(true) && rest.is_empty()
}

/// `A OR B …`. `None` when it is no expression.
fn any_of(words: &mut &[&str]) -> Option<bool> {
    let mut met = all_of(words)?;
    while let [first, rest @ ..] = *words
        && *first == "OR"
    {
        *words = rest;
        met |= all_of(words)?;
    }
    Some(met)
}

/// `A AND B …`, which binds more tightly.
fn all_of(words: &mut &[&str]) -> Option<bool> {
    let mut met = one(words)?;
    while let [first, rest @ ..] = *words
        && *first == "AND"
    {
        *words = rest;
        met &= one(words)?;
    }
    Some(met)
}

/// A licence, a licence with an exception, or an expression in parentheses.
fn one(words: &mut &[&str]) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any_of(words)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(met)
        }
        [licence, "WITH", exception, rest @ ..] => {
            let whole = format!("{licence} WITH {exception}");
            *words = rest;
            Some(LICENCES.contains(&whole.as_str()))
        }
        ["AND" | "OR" | "WITH" | ")", ..] | [] => None,
        [licence, rest @ ..] => {
            *words = rest;
            Some(LICENCES.contains(licence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_sum_needs_all() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-2.0 OR MIT AND ISC",
        ] {
            assert!(permitted(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-2.0 OR AGPL-3.0)", "MIT OR", "(MIT", "MIT)", "MIT WITH", "MIT ISC"] {
            assert!(!permitted(bad), "{bad}");
        }
    }

    #[test]
    fn a_banned_crate_and_a_foreign_source_are_found() {
        let lines = [
            "ring v0.17.14\tApache-2.0 AND ISC",
            "serde v1.0.0\tMIT OR Apache-2.0",
            "serde_derive v1.0.0 (proc-macro)\tMIT OR Apache-2.0 (*)",
            "odd v0.1.0 (https://example.org/odd#1234)\tMIT",
            "signalbox-contract v0.1.0 (/src/signalbox/contract)\tMIT OR Apache-2.0",
        ];
        let linked = lines.iter().map(|line| parse(line, "/src/signalbox").expect("understood")).collect();
        let found = faults(&linked);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|fault| fault.starts_with("ring 0.17.14 is banned")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("comes from https://example.org/odd")), "{found:?}");
    }

    #[test]
    fn the_version_that_is_there_twice_is_named() {
        let linked =
            ["syn v2.0.0\tMIT", "syn v3.0.0\tMIT", "url v2.0.0\tMIT"].iter().map(|line| parse(line, "/").expect("understood")).collect();
        assert_eq!(duplicates(&linked), [("syn", vec!["2.0.0", "3.0.0"])]);
    }
}
