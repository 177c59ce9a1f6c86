//! The word that was probably meant. Pure.

/// Below this similarity (Jaro-Winkler) a suggestion misleads more than it helps.
const NEAR: f64 = 0.8;

/// The word most like `found`, whatever its case; `None` if none is like it.
pub fn nearest<'a>(found: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    let likeness = |word: &str| strsim::jaro_winkler(&found, &word.to_lowercase());
    let scored = words.into_iter().map(|word| (likeness(word), word)).filter(|(score, _)| *score >= NEAR);
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count_and_what_is_like_nothing_gets_no_suggestion() {
        let levels = ["error", "warn", "info", "debug", "trace"];

        assert_eq!(nearest("INFO", levels), Some("info"));
        assert_eq!(nearest("warning", levels), Some("warn"));
        assert_eq!(nearest("verbose", levels), None);
        assert_eq!(nearest("JSON", ["text", "json", "journald"]), Some("json"));
        assert_eq!(nearest("", levels), None);
    }
}
