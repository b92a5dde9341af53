//! What people ask for in a comment.

/// Whether one of `words` stands in the text, on a line of its own. Case, spaces around and a full stop after it do not
/// matter. What is quoted from somebody else, and what stands in a code block, asks for nothing.
pub(super) fn asks<S: AsRef<str>>(text: &str, words: &[S]) -> bool {
    let mut code = false;
    text.lines().any(|line| {
        let line = line.trim();
        if line.starts_with("```") {
            code = !code;
            return false;
        }
        if code || line.starts_with('>') {
            return false;
        }
        let line = line.trim_end_matches(['.', '!']).trim_end();
        words.iter().any(|word| !word.as_ref().trim().is_empty() && same(line, word.as_ref()))
    })
}

/// Whether both are the same words, whatever their case and however many spaces divide them.
fn same(one: &str, other: &str) -> bool {
    let mut other = other.split_whitespace();
    one.split_whitespace().all(|word| other.next().is_some_and(|expected| expected.eq_ignore_ascii_case(word))) && other.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::asks;

    const WORDS: &[&str] = &["recheck", "Run it again"];

    #[test]
    fn a_word_on_a_line_of_its_own_asks() {
        for text in ["recheck", "Recheck.", "  RECHECK  ", "Flaky again:\n\nrecheck\n", "run  it again!", "recheck\r\nthanks"] {
            assert!(asks(text, WORDS), "{text:?}");
        }
    }

    #[test]
    fn a_word_within_prose_a_quotation_or_code_asks_for_nothing() {
        for text in ["", "please do not recheck", "> recheck", "  > recheck\nno!", "```\nrecheck\n```", "rechecked", "recheck it", "run it"]
        {
            assert!(!asks(text, WORDS), "{text:?}");
        }
        assert!(!asks("\n\n", &["", " "]));
    }
}
