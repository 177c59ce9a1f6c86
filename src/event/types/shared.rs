//! Fields, values and whole types that voice and email share.

use super::shape::FieldKind::{Bool, Enum, Text, TextList, Time, Uuid4};
use super::shape::{Field, opt, req};

pub(super) const EVENT_ID: Field = req("eventId", Uuid4);

pub(super) const EVENT_DATE_TIME: Field = req("eventDateTime", Time);

pub(super) const CONVERSATION_ID: Field = req("conversationId", Uuid4);

pub(super) const FINAL_STATE: &[&str] = &["Completed", "Canceled", "Failed"];

pub(super) const TRANSFER_TYPE: &[&str] = &["Attended", "Unattended"];

pub(super) const SOURCE_CONFIGURATION: &[Field] =
    &[req("sourceId", Text), req("interactionId", Text), opt("tagId", Text)];

pub(super) const END_TRANSFER: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("commandId", Uuid4),
    req("finalState", Enum(FINAL_STATE)),
    req("objectCommunicationId", Uuid4),
];

pub(super) const PROGRESS_TRANSFER: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("commandId", Uuid4),
    req("objectCommunicationId", Uuid4),
    req("destinationCommunicationId", Uuid4),
];

pub(super) const ROUTING_TRANSFER: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("transferType", Enum(TRANSFER_TYPE)),
    req("commandId", Uuid4),
    req("initiatingCommunicationId", Text),
    req("targetCommunicationId", Uuid4),
    req("objectCommunicationId", Uuid4),
    req("destinationQueueId", Uuid4),
    opt("languageId", Uuid4),
    opt("skillIds", TextList),
];

pub(super) const USER_TRANSFER: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("transferType", Enum(TRANSFER_TYPE)),
    req("commandId", Uuid4),
    req("initiatingCommunicationId", Uuid4),
    req("targetCommunicationId", Uuid4),
    req("objectCommunicationId", Uuid4),
    req("destinationUserId", Uuid4),
];

/// Nothing but the communication it happened to.
pub(super) const COMMUNICATION: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Uuid4)];

pub(super) const COMMUNICATION_DISPOSITION_APPLIED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("code", Uuid4),
    opt("notes", Text),
    opt("tags", TextList),
];

pub(super) const HOLD_UPDATED: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Uuid4), req("held", Bool)];
