//! Names in place of ids: `user:1042` stands for the id that the map of names has for it. Pure.

use std::ffi::OsString;
use std::path::Path;

use super::build_error::BuildError;
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

/// Whether any field that takes a name has one: only then is the map read.
pub(super) fn may_be_in(words: &[OsString]) -> bool {
    let mut pairs = words.iter().filter_map(|word| word.to_str()?.split_once('='));
    pairs.any(|(key, value)| taken_by(key).is_some() && NameKind::split(value).is_some())
}

/// The id that `value` names; `None` if `value` is not a name or its field takes none.
///
/// # Errors
/// The map does not have the name, there is no map, or the field takes names of another kind.
pub(super) fn find(key: &str, value: &str, names: Option<Names<'_>>) -> Result<Option<String>, BuildError> {
    let Some((found, name)) = NameKind::split(value) else { return Ok(None) };
    match taken_by(key) {
        // An id of the producer's own system may look like a name.
        None => return Ok(None),
        Some(wanted) if wanted != found => {
            return Err(BuildError::OtherKind {
                key: key.to_owned(),
                wanted: wanted.word(),
                found: found.word(),
            });
        }
        Some(_) => {}
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
pub(super) fn taken_by(key: &str) -> Option<NameKind> {
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

        for key in ["agentId", "destinationUserId"] {
            assert_eq!(find(key, "user:1042", names), Ok(Some(id.to_string())), "{key}");
        }
        for key in ["eventId", "conversationId", "sourceConfiguration.interactionId", "message"] {
            assert_eq!(find(key, "user:1042", names), Ok(None), "{key}");
        }
        assert_eq!(find("userId", "1042", names), Ok(None));
        let said = |key, value| find(key, value, names).unwrap_err().to_string();
        assert_eq!(said("queueId", "user:1042"), "queueId takes queue:NAME, not user:NAME");
        assert_eq!(said("userId", "user:1043"), "userId: /m.csv has no user \"1043\"; did you mean 1042?");
        assert!(find("userId", "user:1042", None).unwrap_err().to_string().contains("ids.file"));
    }

    #[test]
    fn only_fields_that_take_names_may_have_one() {
        let words = |word: &str| may_be_in(&[OsString::from("status=Idle"), OsString::from(word)]);

        assert!(words("userId=user:Jo") && words("queueId=queue:Support, German"));
        assert!(
            !words("aniName=queue:42")
                && !words("userId=uuid:Jo")
                && !words("message=note: call")
                && !words("user:Jo")
        );
    }
}
