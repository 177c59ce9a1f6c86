//! Fields of the email conversations' events.

use super::shape::FieldKind::{Bool, Enum, Object, Text, TextList, TextMap, Uuid, Uuid4};
use super::shape::{Field, opt, req};
use super::shared::{
    CONVERSATION_ID, EVENT_DATE_TIME, EVENT_ID, FINAL_STATE, SOURCE_CONFIGURATION, TRANSFER_TYPE,
};

const EMAIL_DISCONNECT_TYPE: &[&str] =
    &["Unknown", "Self", "Peer", "System", "Error", "Spam", "Transfer", "TransferACD", "TransferUser"];

const EMAIL_INITIAL_CONFIGURATION: &[Field] = &[
    req("to", Text),
    req("from", Text),
    opt("cc", TextList),
    opt("bcc", TextList),
    opt("subject", Text),
    opt("previousEmailId", Uuid),
    opt("held", Bool),
    opt("alerting", Bool),
    opt("inbound", Bool),
    opt("invitedBy", Text),
    opt("additionalInfo", TextMap),
];

pub(super) const BEGIN_TRANSMITTING: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Uuid4)];

pub(super) const COMMUNICATION_ENDED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    req("disconnectType", Enum(EMAIL_DISCONNECT_TYPE)),
];

pub(super) const EXTERNAL_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("displayName", Text),
    opt("includeMessage", Bool),
    req("initialConfiguration", Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const FLOW_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    req("initialConfiguration", Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const ROUTING_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    req("queueId", Text),
    opt("skillIds", TextList),
    opt("languageId", Text),
    opt("label", Text),
    req("initialConfiguration", Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const USER_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    req("userId", Uuid4),
    opt("queueId", Uuid4),
    opt("afterCallWorkRequired", Bool),
    req("initialConfiguration", Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const COMMUNICATION_ANSWERED: &[Field] =
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

pub(super) const COMMUNICATION_SENT_MESSAGE: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Uuid4)];

pub(super) const HOLD_UPDATED: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Uuid4), req("held", Bool)];

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
