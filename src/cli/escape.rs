//! Escapes text from outside for the terminal. Pure.
//!
//! A message of the API quotes what a caller typed, and an organisation's name may be anything: printed raw, such words
//! could colour, clear or retitle the operator's terminal, forge a line, or turn the reading direction round.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Shows control characters, line breaks, marks of the reading direction and what has no width as escapes. For people
/// only; JSON has [`escaped_json`].
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_where(text, is_hidden)
}

/// The same for a text of several lines.
pub(super) fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_where(text, |c| c != '\n' && is_hidden(c))
}

/// JSON with the same characters as JSON's own escapes: every value stays what it is.
pub(super) fn escaped_json(text: &str) -> Cow<'_, str> {
    // Line breaks outside of strings are the layout; within them JSON escapes them itself.
    let is_meant = |c: char| c != '\n' && is_hidden(c);
    if !text.contains(is_meant) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_meant(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
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
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    // Invisible: joiners, invisible operators, old marks of the direction, byte order marks, tags.
    let has_no_width = matches!(
        c,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || turns || breaks || has_no_width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_an_escape_and_letters_stay() {
        assert_eq!(escaped("Zoë 井 \u{1f600}"), "Zoë 井 \u{1f600}");
        assert_eq!(escaped("a\u{1b}[31m\u{7}\0\r\n"), r"a\u{1b}[31m\u{7}\u{0}\r\n");
        assert_eq!(escaped("\u{9b}31m \u{202e}evil\u{2066}"), r"\u{9b}31m \u{202e}evil\u{2066}");
        assert_eq!(escaped("a\u{200b}b\u{feff}\u{e0041}"), r"a\u{200b}b\u{feff}\u{e0041}");
        assert_eq!(escaped_lines("two\nlines\u{1b}"), "two\nlines\\u{1b}");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{202e}\u{e0041}\u{7f}\n Zoë"});
        let text = serde_json::to_string_pretty(&value).unwrap();

        let shown = escaped_json(&text);

        assert_eq!(shown, "{\n  \"a\": \"\\u009b31m\\u202e\\udb40\\udc41\\u007f\\n Zoë\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
