//! Walks over the text of one JSON value that `serde_json` has already found well formed.
//!
//! Knows where each token lies, which is what splicing needs and serde does not tell. Text that is not
//! well formed is not reported as such here; it ends a walk early and never panics.

use std::borrow::Cow;

/// What a value is, by its first byte. Used in messages instead of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    Text,
    Bool,
    Null,
    Number,
}

/// A string token: where its quotes lie and what it says.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    /// Offset of the opening quote.
    pub(super) start: usize,
    /// Offset after the closing quote.
    pub(super) end: usize,
    /// What it says; `None` with lone surrogates.
    pub(super) value: Option<Cow<'a, str>>,
}

/// A place in the text.
#[derive(Debug)]
pub(super) struct JsonCursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonCursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Offset of the next unread byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it is the next token.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// What comes next.
    pub(super) fn shape(&mut self) -> Shape {
        self.skip_space();
        match self.peek() {
            Some(b'{') => Shape::Object,
            Some(b'[') => Shape::Array,
            Some(b'"') => Shape::Text,
            Some(b't' | b'f') => Shape::Bool,
            Some(b'n') => Shape::Null,
            _ => Shape::Number,
        }
    }

    /// Reads a string; `None` if none comes next.
    pub(super) fn text(&mut self) -> Option<Text<'a>> {
        self.skip_space();
        let start = self.at;
        let escaped = self.skip_text()?;
        let token = self.text.get(start..self.at)?;
        let value = if escaped {
            serde_json::from_str::<String>(token).ok().map(Cow::Owned)
        } else {
            token.get(1..token.len() - 1).map(Cow::Borrowed)
        };
        Some(Text { start, end: self.at, value })
    }

    /// The string that comes next, without passing it.
    pub(super) fn peek_text(&self) -> Option<Text<'a>> {
        JsonCursor { text: self.text, at: self.at }.text()
    }

    /// Passes a string; says whether it has escapes.
    fn skip_text(&mut self) -> Option<bool> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Passes a number, `true`, `false` or `null`.
    pub(super) fn skip_word(&mut self) {
        self.skip_space();
        while matches!(self.peek(), Some(b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.')) {
            self.at += 1;
        }
    }

    /// Passes any value without recursion, however deep it is.
    pub(super) fn skip_value(&mut self) {
        let mut depth = 0_usize;
        loop {
            self.skip_space();
            match self.peek() {
                None => return,
                Some(b'"') => {
                    if self.skip_text().is_none() {
                        return;
                    }
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                Some(b',' | b':') => self.at += 1,
                Some(_) => {
                    let before = self.at;
                    self.skip_word();
                    if self.at == before {
                        return;
                    }
                }
            }
            if depth == 0 {
                return;
            }
        }
    }
}
