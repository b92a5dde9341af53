//! Words of GitLab's that people see.

/// The longest text of GitLab's that is passed on, in characters.
const LONGEST: usize = 500;

/// A text of GitLab's, bounded, in one line, and without what could deceive a terminal or a reader.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut count = 0;
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if deceives(c) || (c == ' ' && (plain.is_empty() || plain.ends_with(' '))) {
            continue;
        }
        if count == LONGEST {
            plain.push('…');
            break;
        }
        plain.push(c);
        count += 1;
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// Control characters, and the marks that turn the direction of what follows or are not seen at all.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_is_left_out_and_the_rest_is_bounded() {
        assert_eq!(plain("  a\u{1b}[31m\r\n\tb\u{202e}c\0  "), "a[31m bc");
        assert_eq!(plain(&"x".repeat(10_000)).chars().count(), LONGEST + 1);
    }
}
