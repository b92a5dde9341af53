//! Whether the table of threats is honest: each case has its row, and each test that a row names is a test in the file that
//! the row names, with the case's number in the comment above it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The document with the table.
const DOCUMENT: &str = "docs/security.md";

/// How many cases there are; they are numbered from 1.
const CASES: u32 = 70;

/// How the last cell of a case begins that has no test; the reason follows.
const WITHOUT: &str = "Not tested:";

/// One row: its case's number, and what its last cell says.
struct Row<'a> {
    number: u32,
    tests: &'a str,
}

/// Everything that the table says and that is not so, as sentences.
pub(crate) fn faults(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("reading {DOCUMENT}"))?;
    judge(&text, |path| std::fs::read_to_string(root.join(path)).ok())
}

fn judge(text: &str, read: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let rows: Vec<Row<'_>> = text.lines().filter_map(row).collect();
    let known: BTreeSet<u32> = rows.iter().map(|row| row.number).collect();
    let mut faults: Vec<String> =
        (1..=CASES).filter(|case| !known.contains(case)).map(|case| format!("threat {case} has no row")).collect();
    for Row { number, tests } in rows {
        let mut file = None;
        let mut named = 0;
        for word in tests.split('`').skip(1).step_by(2) {
            if word.contains('/') {
                file = Some(read(word).with_context(|| format!("threat {number}: there is no {word}"))?);
                continue;
            }
            named += 1;
            match file.as_deref() {
                None => faults.push(format!("threat {number}: {word} stands before its file")),
                Some(code) => faults.extend(fault_of(code, word, number).map(|fault| format!("threat {number}: {word} {fault}"))),
            }
        }
        if named == 0 && !tests.trim_start().starts_with(WITHOUT) {
            faults.push(format!("threat {number} names no test, and does not say `{WITHOUT}` and why"));
        }
    }
    Ok(faults)
}

/// A row of the table: `| NUMBER | … | TESTS |`.
fn row(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect();
    let number = cells.first()?.trim().parse().ok()?;
    Some(Row { number, tests: cells.last()? })
}

/// What is wrong with a test that should be for this case.
fn fault_of(code: &str, test: &str, number: u32) -> Option<&'static str> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let begins = format!("fn {test}(");
    let Some(at) = lines.iter().position(|line| line.contains(&begins)) else { return Some("is not there") };
    let above: Vec<&str> = lines[..at].iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("#[")).copied().collect();
    if !above.iter().any(|line| line.starts_with("#[") && line.contains("test")) {
        return Some("is no test");
    }
    (!above.iter().any(|line| numbers(line).contains(&number))).then_some("does not have the number in its comment")
}

/// The numbers of a comment's line: `Threats 21, 22 and 23: …`.
fn numbers(line: &str) -> Vec<u32> {
    let Some(rest) = line.strip_prefix("//").and_then(|line| line.trim_start_matches('/').trim_start().strip_prefix("Threat")) else {
        return Vec::new();
    };
    let words = rest.trim_start_matches('s').split([' ', ',']).filter(|word| !word.is_empty() && *word != "and");
    words.map_while(|word| word.trim_end_matches(['.', ':']).parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "// Threats 1, 2 and 70: why.\n#[tokio::test]\nasync fn a_test_that_is_there() {}\n\n\
        /// Threat 2.\nfn a_function_that_is_no_test() {}\n";

    fn found(table: &str) -> Vec<String> {
        let all: Vec<String> = (1..=CASES).map(|case| format!("| {case} | x | y | Not tested: it is not sent. |")).collect();
        judge(&format!("{}\n{table}", all.join("\n")), |path| (path == "a/b.rs").then(|| CODE.to_owned())).expect("the files are there")
    }

    #[test]
    fn a_row_is_about_tests_that_are_there_and_carry_its_number() {
        for number in [1, 2, 70] {
            assert_eq!(found(&format!("| {number} | x | y | `a/b.rs`: `a_test_that_is_there` |")), Vec::<String>::new());
        }
        for (row, fault) in [
            ("| 3 | x | y | `a/b.rs`: `a_test_that_is_there` |", "does not have the number in its comment"),
            ("| 2 | x | y | `a/b.rs`: `a_function_that_is_no_test` |", "is no test"),
            ("| 2 | x | y | `a/b.rs`: `a_test_that_was_removed` |", "is not there"),
            ("| 2 | x | y | `a_test_that_is_there` |", "stands before its file"),
            ("| 2 | x | y | |", "names no test"),
        ] {
            let faults = found(row);
            assert!(faults.len() == 1 && faults[0].contains(fault), "{row}: {faults:?}");
        }
    }

    #[test]
    fn the_table_as_it_is_is_honest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert_eq!(super::faults(&root).expect("readable"), Vec::<String>::new());
    }

    #[test]
    fn a_case_without_a_row_is_missed() {
        let faults = judge("| 1 | x | y | Not tested: no. |", |_| None).expect("no file is asked for");
        assert_eq!(faults.len(), 69);
        assert_eq!(faults[0], "threat 2 has no row");
    }
}
