//! Escapes text from outside for the terminal. Pure.
//!
//! A message of the API quotes what a caller typed, and an organisation's name may be anything: printed raw, such words
//! could colour, clear or retitle the operator's terminal, forge a line, or turn the reading direction round.

use std::borrow::Cow;

/// Shows control characters, line breaks and marks of the reading direction as escapes. For people only: JSON stays
/// as it is.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_where(text, is_hidden)
}

/// The same for a text of several lines.
pub(super) fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_where(text, |c| c != '\n' && is_hidden(c))
}

fn escaped_where(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

fn is_hidden(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || turns || breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_an_escape_and_letters_stay() {
        assert_eq!(escaped("Zoë 井 \u{1f600}"), "Zoë 井 \u{1f600}");
        assert_eq!(escaped("a\u{1b}[31m\u{7}\0\r\n"), r"a\u{1b}[31m\u{7}\u{0}\r\n");
        assert_eq!(escaped("\u{9b}31m \u{202e}evil\u{2066}"), r"\u{9b}31m \u{202e}evil\u{2066}");
        assert_eq!(escaped_lines("two\nlines\u{1b}"), "two\nlines\\u{1b}");
    }
}
