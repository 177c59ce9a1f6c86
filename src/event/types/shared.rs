//! Fields and values that several types share.

use super::shape::FieldKind::{Text, Time, Uuid4};
use super::shape::{Field, opt, req};

pub(super) const EVENT_ID: Field = req("eventId", Uuid4);

pub(super) const EVENT_DATE_TIME: Field = req("eventDateTime", Time);

pub(super) const CONVERSATION_ID: Field = req("conversationId", Uuid4);

pub(super) const FINAL_STATE: &[&str] = &["Completed", "Canceled", "Failed"];

pub(super) const TRANSFER_TYPE: &[&str] = &["Attended", "Unattended"];

pub(super) const SOURCE_CONFIGURATION: &[Field] =
    &[req("sourceId", Text), req("interactionId", Text), opt("tagId", Text)];
