//! Fields and values that several types share.

use super::super::catalogue::{Field, Kind};

pub(super) const fn req(name: &'static str, kind: Kind) -> Field {
    Field { name, required: true, kind }
}

pub(super) const fn opt(name: &'static str, kind: Kind) -> Field {
    Field { name, required: false, kind }
}

pub(super) const EVENT_ID: Field = req("eventId", Kind::Uuid4);

pub(super) const EVENT_DATE_TIME: Field = req("eventDateTime", Kind::Time);

pub(super) const CONVERSATION_ID: Field = req("conversationId", Kind::Uuid4);

pub(super) const FINAL_STATE: &[&str] = &["Completed", "Canceled", "Failed"];

pub(super) const TRANSFER_TYPE: &[&str] = &["Attended", "Unattended"];

pub(super) const SOURCE_CONFIGURATION: &[Field] =
    &[req("sourceId", Kind::Text), req("interactionId", Kind::Text), opt("tagId", Kind::Text)];
