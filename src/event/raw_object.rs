//! A JSON object whose values keep their bytes: `1.10`, `1e400` and numbers beyond 64 bits come out as they
//! went in. For those who change a field of an event that they did not make.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// One object, its members in the order that they came.
#[derive(Clone, Debug, Default)]
pub struct RawObject {
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    value: MemberValue,
}

#[derive(Clone, Debug)]
enum MemberValue {
    Raw(Box<RawValue>),
    /// An object that was looked into.
    Object(RawObject),
}

/// Why a text or a path does not lead to an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawObjectError {
    /// The text is not JSON, not an object, or has a key twice. Quotes no value.
    #[error("{0}")]
    NotObject(String),
    /// A part of the path is a value that is not an object.
    #[error("{0}: part of this key is not an object")]
    NoObject(String),
}

impl RawObject {
    /// The object in `text`.
    ///
    /// # Errors
    /// If it is not one JSON object, or has a key twice.
    pub fn parse(text: &str) -> Result<Self, RawObjectError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(MembersVisitor).and_then(|members| json.end().map(|()| members));
        let members = read.map_err(|error| RawObjectError::NotObject(error.to_string()))?;
        Ok(Self { members })
    }

    /// Text of the value at `path`; dots nest. `None` if there is none, or if the way leads through
    /// something that is not an object.
    pub fn get(&self, path: &str) -> Option<String> {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let member = self.members.iter().find(|member| member.name == name)?;
        match (&member.value, rest) {
            (MemberValue::Raw(value), None) => Some(value.get().to_owned()),
            (MemberValue::Object(inner), None) => Some(inner.to_string()),
            (MemberValue::Raw(value), Some(rest)) => Self::parse(value.get()).ok()?.get(rest),
            (MemberValue::Object(inner), Some(rest)) => inner.get(rest),
        }
    }

    /// Sets the value at `path`; dots nest, and objects on the way are made.
    ///
    /// # Errors
    /// If the way leads through something that is not an object.
    pub fn set(&mut self, path: &str, value: Box<RawValue>) -> Result<(), RawObjectError> {
        let mut place = self;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let member = place.member(name);
            if names.peek().is_none() {
                *member = MemberValue::Raw(value);
                break;
            }
            place = member.object().ok_or_else(|| RawObjectError::NoObject(path.to_owned()))?;
        }
        Ok(())
    }

    /// Sets the value at `path` to a string.
    ///
    /// # Errors
    /// As [`RawObject::set`].
    pub fn set_text(&mut self, path: &str, text: &str) -> Result<(), RawObjectError> {
        self.set(path, raw_text(text))
    }

    /// The value of member `name`; an empty object if there was none.
    fn member(&mut self, name: &str) -> &mut MemberValue {
        let at = self.members.iter().position(|member| member.name == name).unwrap_or_else(|| {
            let value = MemberValue::Object(RawObject::default());
            self.members.push(Member { name: name.to_owned(), value });
            self.members.len() - 1
        });
        &mut self.members[at].value
    }
}

impl MemberValue {
    /// The object that it is, read if it was not yet.
    fn object(&mut self) -> Option<&mut RawObject> {
        if let MemberValue::Raw(value) = self {
            *self = MemberValue::Object(RawObject::parse(value.get()).ok()?);
        }
        match self {
            MemberValue::Object(object) => Some(object),
            MemberValue::Raw(_) => None,
        }
    }
}

impl fmt::Display for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, member) in self.members.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}:", raw_text(&member.name).get())?;
            match &member.value {
                MemberValue::Raw(value) => f.write_str(value.get())?,
                MemberValue::Object(inner) => write!(f, "{inner}")?,
            }
        }
        f.write_str("}")
    }
}

/// `text` as a JSON string.
pub fn raw_text(text: &str) -> Box<RawValue> {
    to_raw_value(text).expect("a string always serialises")
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Member>, A::Error> {
        let mut members: Vec<Member> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if members.iter().any(|member| member.name == name) {
                return Err(A::Error::custom(format!("the key {name:?} appears twice")));
            }
            members.push(Member { name, value: MemberValue::Raw(value) });
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_keeps_its_bytes() {
        let text = r#"{"n":1.10,"big":123456789012345678901234567890,"e":1e400,"o":{"a":[ 1.0 ],"b":2.50}}"#;
        let mut object = RawObject::parse(text).unwrap();

        object.set_text("o.a", "x").unwrap();
        object.set("new.deep", RawValue::from_string("0.10".to_owned()).unwrap()).unwrap();

        let wanted = r#"{"n":1.10,"big":123456789012345678901234567890,"e":1e400,"o":{"a":"x","b":2.50},"new":{"deep":0.10}}"#;
        assert_eq!(object.to_string(), wanted);
        assert_eq!(object.get("o.b").as_deref(), Some("2.50"));
        assert_eq!(object.get("n.b"), None);
    }

    #[test]
    fn a_key_that_appears_twice_is_refused_and_so_is_a_way_through_a_value() {
        let twice = RawObject::parse(r#"{"a":1,"a":2}"#).unwrap_err();
        let mut object = RawObject::parse(r#"{"a":1}"#).unwrap();

        assert!(twice.to_string().contains("\"a\" appears twice"), "{twice}");
        assert_eq!(object.set_text("a.b", "x"), Err(RawObjectError::NoObject("a.b".to_owned())));
        assert!(RawObject::parse("[1]").is_err() && RawObject::parse("{} x").is_err());
    }
}
