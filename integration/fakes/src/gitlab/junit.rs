//! Reports of tests, as `JUnit`'s XML has them: the part of it that GitLab reads.

use serde_json::{Value, json};

/// The most tests of a report.
const MOST: usize = 200_000;

/// A test.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    name: String,
    class: String,
    file: Option<String>,
    time: f64,
    /// `success`, `failed`, `error` or `skipped`.
    status: &'static str,
    output: Option<String>,
}

/// The tests of a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
    /// What is wrong with the report.
    error: Option<String>,
}

impl Suite {
    pub(crate) fn time(&self) -> f64 {
        self.cases.iter().map(|case| case.time).sum()
    }

    pub(crate) fn count(&self, status: &str) -> usize {
        self.cases.iter().filter(|case| case.status == status).count()
    }

    pub(crate) fn shown(&self) -> Value {
        let case = |case: &Case| {
            json!({
                "status": case.status, "name": case.name, "classname": case.class, "file": case.file,
                "execution_time": case.time, "system_output": case.output, "stack_trace": null, "recent_failures": null,
            })
        };
        json!({
            "name": self.name,
            "total_time": self.time(),
            "total_count": self.cases.len(),
            "success_count": self.count("success"),
            "failed_count": self.count("failed"),
            "skipped_count": self.count("skipped"),
            "error_count": self.count("error"),
            "suite_error": self.error,
            "test_cases": self.cases.iter().map(case).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn summary(&self, job: u64) -> Value {
        json!({
            "name": self.name,
            "total_time": self.time(),
            "total_count": self.cases.len(),
            "success_count": self.count("success"),
            "failed_count": self.count("failed"),
            "skipped_count": self.count("skipped"),
            "error_count": self.count("error"),
            "build_ids": [job],
            "suite_error": self.error,
        })
    }
}

/// Reads a report. What is no XML is a suite without tests that says so.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Suite {
    let text = String::from_utf8_lossy(bytes);
    let (mut cases, mut open, mut error) = (Vec::new(), None::<Case>, None);
    let mut rest = text.as_ref();
    if !rest.trim_start().starts_with('<') {
        error = Some("JUnit XML parsing failed: 1:1: FATAL: Document is empty".to_owned());
    }
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("<!--") {
            rest = after.find("-->").map_or("", |end| &after[end + 3..]);
            continue;
        }
        if let Some(after) = rest.strip_prefix("<![CDATA[") {
            let end = after.find("]]>").unwrap_or(after.len());
            add(&mut open, &after[..end]);
            rest = after.get(end + 3..).unwrap_or_default();
            continue;
        }
        let Some(end) = end_of_tag(rest) else {
            error = Some("JUnit XML parsing failed: the document ends in the middle of a tag".to_owned());
            break;
        };
        let (tag, after) = (&rest[1..end], &rest[end + 1..]);
        rest = after;
        let closes = tag.ends_with('/');
        let word = tag.trim_end_matches('/').split_whitespace().next().unwrap_or_default();
        match word {
            "testcase" => {
                let case = Case {
                    name: attribute(tag, "name").unwrap_or_default(),
                    class: attribute(tag, "classname").unwrap_or_default(),
                    file: attribute(tag, "file"),
                    time: attribute(tag, "time").and_then(|time| time.parse().ok()).unwrap_or_default(),
                    status: "success",
                    output: None,
                };
                if closes { cases.push(case) } else { open = Some(case) }
            }
            "/testcase" => cases.extend(open.take()),
            "failure" | "error" | "skipped" => {
                if let Some(case) = &mut open {
                    case.status = match word {
                        "failure" => "failed",
                        "error" => "error",
                        _ => "skipped",
                    };
                    case.output = attribute(tag, "message");
                    let words = after.split('<').next().unwrap_or_default().trim();
                    if !closes && !words.is_empty() {
                        add(&mut open, &plain(words));
                    }
                }
            }
            _ => {}
        }
        if cases.len() >= MOST {
            error = Some("number of test cases exceeded the limit".to_owned());
            break;
        }
    }
    Suite { name: name.to_owned(), cases, error }
}

fn add(open: &mut Option<Case>, words: &str) {
    if let Some(case) = open.as_mut().filter(|case| case.status != "success") {
        let output = case.output.get_or_insert_with(String::new);
        if !output.is_empty() {
            output.push('\n');
        }
        output.push_str(words);
    }
}

/// Where a tag ends; what stands in quotes does not end it.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    while let Some(at) = rest.find(name) {
        let before = rest[..at].chars().next_back();
        let after = rest[at + name.len()..].trim_start();
        if before.is_some_and(char::is_whitespace)
            && let Some(value) = after.strip_prefix('=').map(str::trim_start)
            && let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\''))
        {
            return value[1..].split(quote).next().map(plain);
        }
        rest = &rest[at + name.len()..];
    }
    None
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#10;", "\n")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_read_with_their_ends_and_words() {
        let text = br#"<?xml version="1.0"?><testsuites><testsuite name="s" tests="4"><!-- a <testcase> in a comment -->
            <testcase classname="c" name="passes" time="0.5"/>
            <testcase name="fails &lt;here&gt;" classname="c" time="1"><failure message="1 > 2">at line 3</failure></testcase>
            <testcase name="breaks" classname="c"><error><![CDATA[<boom>]]></error></testcase>
            <testcase name="rests" classname="c"><skipped/></testcase></testsuite></testsuites>"#;
        let suite = read("job", text);
        let seen: Vec<_> = suite.cases.iter().map(|case| (case.name.as_str(), case.status, case.output.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("passes", "success", None),
                ("fails <here>", "failed", Some("1 > 2\nat line 3")),
                ("breaks", "error", Some("<boom>")),
                ("rests", "skipped", None),
            ]
        );
        assert!((suite.time() - 1.5).abs() < 1e-9);
        assert!(read("job", b"no xml").error.is_some());
        for cut in 0..text.len() {
            read("job", &text[..cut]);
        }
    }
}
