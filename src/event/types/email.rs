//! Fields of the email conversations' events.

use super::super::catalogue::{Field, Kind};
use super::shared::{
    CONVERSATION_ID, EVENT_DATE_TIME, EVENT_ID, FINAL_STATE, SOURCE_CONFIGURATION, TRANSFER_TYPE, opt, req,
};

const EMAIL_DISCONNECT_TYPE: &[&str] =
    &["Unknown", "Self", "Peer", "System", "Error", "Spam", "Transfer", "TransferACD", "TransferUser"];

const EMAIL_INITIAL_CONFIGURATION: &[Field] = &[
    req("to", Kind::Text),
    req("from", Kind::Text),
    opt("cc", Kind::TextList),
    opt("bcc", Kind::TextList),
    opt("subject", Kind::Text),
    opt("previousEmailId", Kind::Uuid),
    opt("held", Kind::Bool),
    opt("alerting", Kind::Bool),
    opt("inbound", Kind::Bool),
    opt("invitedBy", Kind::Text),
    opt("additionalInfo", Kind::TextMap),
];

pub(super) const EMAIL_BEGIN_TRANSMITTING_EVENTS: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Kind::Uuid4)];

pub(super) const EMAIL_COMMUNICATION_ENDED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("disconnectType", Kind::Enum(EMAIL_DISCONNECT_TYPE)),
];

pub(super) const EMAIL_EXTERNAL_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("displayName", Kind::Text),
    opt("includeMessage", Kind::Bool),
    req("initialConfiguration", Kind::Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const EMAIL_FLOW_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("initialConfiguration", Kind::Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const EMAIL_ROUTING_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("queueId", Kind::Text),
    opt("skillIds", Kind::TextList),
    opt("languageId", Kind::Text),
    opt("label", Kind::Text),
    req("initialConfiguration", Kind::Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const EMAIL_USER_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("userId", Kind::Uuid4),
    opt("queueId", Kind::Uuid4),
    opt("afterCallWorkRequired", Kind::Bool),
    req("initialConfiguration", Kind::Object(EMAIL_INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const EMAIL_COMMUNICATION_ANSWERED_EVENTS: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Kind::Uuid4)];

pub(super) const EMAIL_COMMUNICATION_DISPOSITION_APPLIED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("code", Kind::Uuid4),
    opt("notes", Kind::Text),
    opt("tags", Kind::TextList),
];

pub(super) const EMAIL_COMMUNICATION_SENT_MESSAGE_EVENTS: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Kind::Uuid4)];

pub(super) const EMAIL_HOLD_UPDATED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("held", Kind::Bool),
];

pub(super) const EMAIL_END_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("commandId", Kind::Uuid4),
    req("finalState", Kind::Enum(FINAL_STATE)),
    req("objectCommunicationId", Kind::Uuid4),
];

pub(super) const EMAIL_PROGRESS_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("commandId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
    req("destinationCommunicationId", Kind::Uuid4),
];

pub(super) const EMAIL_ROUTING_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("transferType", Kind::Enum(TRANSFER_TYPE)),
    req("commandId", Kind::Uuid4),
    req("initiatingCommunicationId", Kind::Text),
    req("targetCommunicationId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
    req("destinationQueueId", Kind::Uuid4),
    opt("languageId", Kind::Uuid4),
    opt("skillIds", Kind::TextList),
];

pub(super) const EMAIL_USER_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("transferType", Kind::Enum(TRANSFER_TYPE)),
    req("commandId", Kind::Uuid4),
    req("initiatingCommunicationId", Kind::Uuid4),
    req("targetCommunicationId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
    req("destinationUserId", Kind::Uuid4),
];
