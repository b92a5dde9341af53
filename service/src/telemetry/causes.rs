//! An error in a line of the log.

/// An error and its causes, outermost first, in one line. What is logged of an error without it is its outermost words
/// alone.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        let words = this.to_string();
        // An error that shows its cause in its own words is not repeated.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = this.source();
    }
    text
}
