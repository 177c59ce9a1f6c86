//! Names in place of ids: `user:1042` stands for the id that the map of names has for it. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::build_error::BuildError;
use crate::event::FieldKind;
use crate::ids::{IdMap, NameKind};

/// Most names that are suggested for an unknown one.
const SUGGESTED: usize = 3;

/// A map and the file that it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Names<'m> {
    /// `ids.file`
    pub file: &'m Path,
    /// What it holds.
    pub map: &'m IdMap,
}

/// Whether any value of `words` could be a name: only then is the map read.
pub(super) fn may_be_in(words: &[OsString]) -> bool {
    let values = words.iter().filter_map(|word| {
        let at = word.as_bytes().iter().position(|byte| *byte == b'=')?;
        std::str::from_utf8(&word.as_bytes()[at + 1..]).ok()
    });
    values.into_iter().flat_map(|value| value.split(',')).any(|value| NameKind::split(value.trim()).is_some())
}

/// The id that `value` names; `None` if `value` is not a name or its field takes none.
///
/// # Errors
/// The map does not have the name, there is no map, or the field takes names of another kind.
pub(super) fn find(
    key: &str,
    value: &str,
    kind: Option<FieldKind>,
    names: Option<Names<'_>>,
) -> Result<Option<String>, BuildError> {
    let Some((found, name)) = NameKind::split(value) else { return Ok(None) };
    let is_uuid = matches!(kind, Some(FieldKind::Uuid | FieldKind::Uuid4));
    match taken_by(key) {
        // An id of the producer's own system may look like a name.
        None if !is_uuid => return Ok(None),
        Some(wanted) if wanted != found => {
            return Err(BuildError::OtherKind {
                key: key.to_owned(),
                wanted: wanted.word(),
                found: found.word(),
            });
        }
        _ => {}
    }
    let Some(Names { file, map }) = names else {
        return Err(BuildError::NoNames { key: key.to_owned(), value: value.to_owned() });
    };
    match map.find(found, name) {
        Some(id) => Ok(Some(id.to_string())),
        None => Err(BuildError::UnknownName {
            key: key.to_owned(),
            kind: found.word(),
            name: name.to_owned(),
            map: file.to_owned(),
            near: near(map, found, name),
        }),
    }
}

fn near(map: &IdMap, kind: NameKind, name: &str) -> String {
    match map.nearest(kind, name, SUGGESTED).as_slice() {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(", ")),
    }
}

/// What the field at `key` holds the id of, as far as its name says.
fn taken_by(key: &str) -> Option<NameKind> {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match name.as_str() {
        _ if ends(&["userid", "agentid"]) => Some(NameKind::User),
        _ if ends(&["queueid"]) => Some(NameKind::Queue),
        _ if ends(&["presenceid", "presencedefinitionid"]) => Some(NameKind::Presence),
        "sourceid" => Some(NameKind::Source),
        "code" => Some(NameKind::Wrapup),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::IdMapBuilder;

    #[test]
    fn a_name_is_looked_up_where_its_field_takes_one() {
        let id = Uuid::from_u128(7);
        let mut builder = IdMapBuilder::default();
        builder.add(NameKind::User, "1042", id).unwrap();
        let map = builder.finish().unwrap();
        let names = Some(Names { file: Path::new("/m.csv"), map: &map });
        let text = Some(FieldKind::Text);

        assert_eq!(find("agentId", "user:1042", text, names), Ok(Some(id.to_string())));
        assert_eq!(
            find("destinationUserId", "user:1042", Some(FieldKind::Uuid4), names),
            Ok(Some(id.to_string()))
        );
        assert_eq!(
            find("conversationId", "user:1042", Some(FieldKind::Uuid4), names),
            Ok(Some(id.to_string()))
        );
        assert_eq!(find("sourceConfiguration.interactionId", "queue:42", text, names), Ok(None));
        assert_eq!(find("message", "user:1042", text, names), Ok(None));
        assert_eq!(find("userId", "1042", text, names), Ok(None));
        let said = |key, value| find(key, value, text, names).unwrap_err().to_string();
        assert_eq!(said("queueId", "user:1042"), "queueId takes queue:NAME, not user:NAME");
        assert_eq!(said("userId", "user:1043"), "userId: /m.csv has no user \"1043\"; did you mean 1042?");
        assert!(find("userId", "user:1042", text, None).unwrap_err().to_string().contains("ids.file"));
    }

    #[test]
    fn only_words_with_a_kind_before_a_colon_may_be_names() {
        let words = |word: &str| may_be_in(&[OsString::from("status=Idle"), OsString::from(word)]);

        assert!(words("userId=user:Jo") && words("queueId=queue:Support, German"));
        assert!(!words("userId=uuid:Jo") && !words("message=note: call") && !words("user:Jo"));
    }
}
