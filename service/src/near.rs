//! Words that were probably meant where another was written.

/// The longest word that is compared, in bytes: the time that it takes grows with the product of both lengths.
const LONGEST: usize = 128;

/// The known word that was probably meant by `word`; none if none is near.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let close = known.into_iter().filter_map(|candidate| Some((distance(word, candidate)?, candidate)));
    let (steps, candidate) = close.min()?;
    // Of a word in which every letter is another one, nothing is left.
    (steps <= 2.max(candidate.len() / 3) && steps < candidate.len()).then_some(candidate)
}

/// How many letters one must change, add or leave out (Levenshtein). None for words of absurd length.
fn distance(a: &str, b: &str) -> Option<usize> {
    if a.len() > LONGEST || b.len() > LONGEST {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let change = before + usize::from(left != right);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_and_anything_else_finds_none() {
        let known = ["hello", "team/website", "ci"];
        for (word, meant) in [("helo", "hello"), ("hallo", "hello"), ("team/webiste", "team/website"), ("c", "ci")] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
        let endless = "x".repeat(LONGEST + 1);
        for word in ["xy", "goodbye", "website", "", &endless] {
            assert_eq!(nearest(word, known), None, "{word}");
        }
    }
}
