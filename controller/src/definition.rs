//! Reading `.signalbox.yaml`. The one place that knows of YAML.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use signalbox_contract::JobName;
use signalbox_contract::job::{JobFile, JobSpec, MAX_DEFINITION};

/// How many jobs a file may define.
const MAX_JOBS: usize = 100;

/// A job file that remembers where its parts stand. What it may hold is what [`JobFile`] says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    version: Spanned<u32>,
    jobs: Spanned<BTreeMap<JobName, Spanned<JobSpec>>>,
}

/// What is wrong with a job file, with line and column; a file that is too large has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(".signalbox.yaml is not valid: {0}")]
pub struct DefinitionError(String);

/// Reads a job file. Bounded in size, in nesting and in what aliases may multiply.
///
/// # Errors
/// With the first thing that is wrong, its line and its column.
pub fn parse(text: &str) -> Result<JobFile, DefinitionError> {
    let wrong = |detail: &str| DefinitionError(detail.to_owned());
    if text.len() > MAX_DEFINITION {
        return Err(wrong("it is larger than 64 KiB"));
    }
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_nodes: 10_000, max_depth: 16, max_aliases: 100 } };
    let file: Placed = serde_saphyr::from_str_with_options(text, options).map_err(|error| DefinitionError(plain(&error.to_string())))?;
    if file.version.value != 1 {
        return Err(wrong_at(&file.version.referenced, "its version must be 1"));
    }
    if file.jobs.value.is_empty() || file.jobs.value.len() > MAX_JOBS {
        return Err(wrong_at(&file.jobs.referenced, "it must define between 1 and 100 jobs"));
    }
    for (name, job) in &file.jobs.value {
        if job.value.script.trim().is_empty() {
            return Err(wrong_at(&job.referenced, &format!("the script of the job {name} is empty")));
        }
        if job.value.env.len() > 200 || job.value.artifacts.len() > 100 {
            return Err(wrong_at(&job.referenced, &format!("the job {name} has more than 200 variables or 100 artifacts")));
        }
    }
    let jobs = file.jobs.value.into_iter().map(|(name, job)| (name, job.value)).collect();
    Ok(JobFile { version: file.version.value, jobs })
}

fn wrong_at(place: &Location, detail: &str) -> DefinitionError {
    DefinitionError(format!("{detail}, at line {}, column {}", place.line(), place.column()))
}

/// An error's text without what could mislead a terminal, and not without end.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_read() {
        let file = parse("version: 1\njobs:\n  cd:\n    script: |\n      make\n    artifacts:\n      hello: out/hello\n    timeout: 15m\n")
            .expect("valid");
        let job = file.jobs.values().next().expect("one job");
        assert_eq!(job.timeout.map(signalbox_contract::job::Timeout::as_secs), Some(900));
    }

    #[test]
    fn an_error_says_where() {
        let text = "version: 1\njobs:\n  cd:\n    script: make\n    artefacts: {}\n";
        let error = parse(text).expect_err("an unknown key").to_string();
        assert!(error.contains("artefacts") && error.contains("line 5"), "{error}");
        let error = parse("version: 1\njobs:\n  cd:\n    script: make\n    script: make\n").expect_err("a key twice").to_string();
        assert!(error.contains("line 5"), "{error}");
    }

    #[test]
    fn what_is_wrong_by_our_own_rules_says_where_as_well() {
        let variables = (0..201).fold(String::new(), |all, n| all + &format!("      V{n}: x\n"));
        let cases = [
            ("version: 2\njobs:\n  cd:\n    script: make\n".to_owned(), "line 1, column 10"),
            ("jobs:\n  cd:\n    script: make\nversion: 0\n".to_owned(), "line 4, column 10"),
            ("version: 1\njobs: {}\n".to_owned(), "line 2, column 7"),
            ("version: 1\njobs:\n  one:\n    script: make\n  two:\n    script: ' '\n".to_owned(), "line 6, column 5"),
            (format!("version: 1\njobs:\n  cd:\n    script: make\n    env:\n{variables}"), "line 4, column 5"),
        ];
        for (text, place) in cases {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(error.ends_with(place), "{error}");
        }
        // What the parts of a file are is still told in the words of their types, and with a place.
        for text in [
            "version: one\njobs: {}\n",
            "version: 1\njobs: {cd: {script: x, timeout: 5}}\n",
            "version: 1\njobs: {cd: {script: x, env: {'A B': c}}}\n",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("line "), "{error}");
        }
    }

    #[test]
    fn bombs_do_not_explode() {
        let lines = ('a'..='h').zip('b'..='i').map(|(from, to)| {
            let items = vec![format!("*{from}"); 9].join(", ");
            format!("{to}: &{to} [{items}]\n")
        });
        let bomb: String = std::iter::once("a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()).chain(lines).collect();
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(60_000)).is_err());
        assert!(parse(&format!("version: 1\njobs: {}", "x".repeat(70_000))).is_err());
    }

    #[test]
    fn names_and_paths_in_it_are_checked() {
        for text in [
            "version: 2\njobs: {cd: {script: x}}",
            "version: 1\njobs: {}",
            "version: 1\njobs: {cd: {script: '  '}}",
            "version: 1\njobs: {'../x': {script: x}}",
            "version: 1\njobs: {cd: {script: x, artifacts: {a: ../../etc/passwd}}}",
            "version: 1\njobs: {cd: {script: x, artifacts: {-a: b}}}",
            "version: 1\njobs: {cd: {script: x, env: {'A B': c}}}",
            "version: 1\njobs: {cd: {script: x, timeout: 5}}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
