//! Reading `.signalbox.yaml`. The one place that knows of YAML.

mod wrong;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use signalbox_contract::JobName;
use signalbox_contract::job::{JobFile, JobSpec, MAX_DEFINITION};

use self::wrong::Keys;

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
    let file = read(text)?;
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

fn read(text: &str) -> Result<Placed, DefinitionError> {
    // The library's drawing of the lines around is for a terminal, and this is told in one sentence.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: 10_000, max_depth: 16, max_aliases: 100 },
    };
    // What is wrong outside of any key, such as a second document, is wrong at the top.
    let mut keys = Keys::default();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |file| {
        serde_path_to_error::deserialize(file).map_err(|error| {
            keys = Keys::to(error.path());
            error.into_inner()
        })
    })
    .map_err(|error| wrong::wrong(text, &keys, &error))
}

fn wrong_at(place: &Location, detail: &str) -> DefinitionError {
    wrong::wrong_at((place.line(), place.column()), detail)
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
    fn what_is_wrong_is_said_in_one_sentence_that_ends_with_its_place() {
        let job = |lines: &str| format!("version: 1\njobs:\n  cd:\n{lines}");
        let cases = [
            (String::new(), "it is empty: the file must be a mapping with the keys `version` and `jobs`, at line 1, column 1"),
            ("- a\n".to_owned(), "the file must be a mapping with the keys `version` and `jobs`, at line 1, column 1"),
            ("version: 1.0\njobs: {cd: {script: a}}\n".to_owned(), "its version must be 1, at line 1, column 10"),
            ("version: 1\n".to_owned(), "the key `jobs` is missing, at line 1, column 1"),
            ("version: 1\njobs:\n".to_owned(), "`jobs` must be a mapping of jobs by name, at line 2, column 5"),
            ("version: 1\njobs:\n  value:\n".to_owned(), "the job value must be a mapping with a `script`, at line 3, column 8"),
            ("version: 1\njobs: {cd: {}}\n".to_owned(), "the key `script` of the job cd is missing, at line 2, column 12"),
            (job("    script:\n    timeout: 1h\n"), "`script` of the job cd must be a text, and is empty, at line 4, column 11"),
            (job("    script: [1\n"), "`script` of the job cd must be a text, at line 4, column 13"),
            (job("    script: a\n    script: b\n"), "the key `script` is there twice, at line 5, column 5"),
            (
                job("    script: a\n    artefacts: {}\n"),
                "the key `artefacts` of the job cd is unknown; known are script, env, artifacts, timeout, at line 5, column 5",
            ),
            (job("    script: a\n    env: [a]\n"), "`env` of the job cd must be a mapping of names to texts, at line 5, column 10"),
            (
                job("    script: a\n    env:\n      value:\n"),
                "`value` in `env` of the job cd must be a text, and is empty, at line 6, column 12",
            ),
            (
                job("    script: a\n    timeout: [1]\n"),
                "`timeout` of the job cd must be a time such as 90s, 15m or 2h, at line 5, column 14",
            ),
            (job("    script: a\n    timeout: 99999999h\n"), "a timeout must be between 1s and 168h, at line 5, column 14"),
            (job("    script: a\n    timeout: 0s\n"), "a timeout must be between 1s and 168h, at line 5, column 14"),
            (job("    script: a\n---\nx: 1\n"), "it must be one YAML document, and a second one begins, at line 5, column 1"),
            (job("    script: &t a\n    timeout: *t\n"), "a timeout is a whole number and a unit: 90s, 15m, 2h, at line 5, column 14"),
            (job("    script: *t\n"), "an alias must name an anchor that stands before it, at line 4, column 13"),
            (job("    script: 'a\n"), "a quote is not closed, at line 4, column 13"),
            (job("    script: @a\n"), "a text that begins with `@` must stand in quotes, at line 4, column 13"),
            (
                job("    script: a: b\n"),
                "no value may begin here: a text that holds a colon and a space must stand in quotes, at line 4, column 14",
            ),
            ("version: 1\njobs: {\n".to_owned(), "the bracket `{` is not closed, at line 2, column 7"),
        ];
        for (text, told) in cases {
            assert_eq!(parse(&text).expect_err(&text).to_string(), format!(".signalbox.yaml is not valid: {told}"), "{text}");
        }
    }

    #[test]
    fn a_tab_that_indents_is_found_where_it_stands_and_those_of_a_script_are_its_own() {
        for (text, line, column) in [
            ("version: 1\n\tjobs: 2\n", 2, 1),
            ("version: 1\njobs:\n\tcd:\n\t  script: x\n", 3, 1),
            ("version: 1\r\njobs:\r\n  cd:\r\n  \tscript: x\r\n", 4, 3),
            ("version: 1\njobs:\n  cd:\n    script: |\n      cat <<-END\n      \ta\n      END\n    env:\n\tA: b\n", 9, 1),
        ] {
            let told = format!("a tab indents line {line}: YAML is indented with spaces, at line {line}, column {column}");
            assert_eq!(parse(text).expect_err(text).to_string(), format!(".signalbox.yaml is not valid: {told}"), "{text}");
        }
        let script = "version: 1\njobs:\n  cd:\n    script: |\n      cat <<-END\n      \ta\n      END\n";
        parse(script).expect("tabs in a script");
        let error = parse(&format!("{script}    timeout: 0s\n")).expect_err("another error").to_string();
        assert!(error.ends_with("between 1s and 168h, at line 8, column 14"), "{error}");
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
