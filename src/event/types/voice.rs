//! Fields of the voice conversations' events.

use super::super::catalogue::{Field, Kind};
use super::shared::{
    CONVERSATION_ID, EVENT_DATE_TIME, EVENT_ID, FINAL_STATE, SOURCE_CONFIGURATION, TRANSFER_TYPE, opt, req,
};

const DISCONNECT_TYPE: &[&str] = &[
    "Error",
    "Peer",
    "Self",
    "System",
    "Transfer",
    "TransferACD",
    "TransferConference",
    "TransferConsult",
    "TransferUser",
];

const AUDIO_STATE: &[Field] = &[opt("canHear", Kind::Bool), opt("canSpeak", Kind::Bool)];

const INITIAL_CONFIGURATION: &[Field] = &[
    opt("audioState", Kind::Object(AUDIO_STATE)),
    opt("alerting", Kind::Bool),
    opt("inbound", Kind::Bool),
    opt("invitedBy", Kind::Text),
    opt("recordingActive", Kind::Bool),
    opt("additionalInfo", Kind::TextMap),
];

pub(super) const END_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("commandId", Kind::Uuid4),
    req("finalState", Kind::Enum(FINAL_STATE)),
    req("objectCommunicationId", Kind::Uuid4),
];

pub(super) const PHONE_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("transferType", Kind::Enum(TRANSFER_TYPE)),
    req("commandId", Kind::Uuid4),
    req("initiatingCommunicationId", Kind::Uuid4),
    req("targetCommunicationId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
    req("destinationPhoneNumber", Kind::Text),
];

pub(super) const PROGRESS_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("commandId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
    req("destinationCommunicationId", Kind::Uuid4),
];

pub(super) const ROUTING_TRANSFER_EVENTS: &[Field] = &[
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

pub(super) const USER_TRANSFER_EVENTS: &[Field] = &[
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

pub(super) const COMMUNICATION_ANSWERED_EVENTS: &[Field] =
    &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID, req("communicationId", Kind::Uuid4)];

pub(super) const COMMUNICATION_DISPOSITION_APPLIED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("code", Kind::Uuid4),
    opt("notes", Kind::Text),
    opt("tags", Kind::TextList),
];

pub(super) const HOLD_UPDATED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("held", Kind::Bool),
];

pub(super) const EXTERNAL_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("ani", Kind::Text),
    opt("aniName", Kind::Text),
    opt("dnis", Kind::Text),
    opt("dnisName", Kind::Text),
    req("initialConfiguration", Kind::Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const IVR_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("ivrPhoneNumber", Kind::Text),
    opt("ivrName", Kind::Text),
    opt("ani", Kind::Text),
    opt("dnis", Kind::Text),
    req("initialConfiguration", Kind::Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const PHONE_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("phoneNumber", Kind::Text),
    opt("ani", Kind::Text),
    opt("dnis", Kind::Text),
    req("initialConfiguration", Kind::Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const ROUTING_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("phoneNumber", Kind::Text),
    req("queueId", Kind::Uuid4),
    opt("ani", Kind::Text),
    opt("dnis", Kind::Text),
    opt("skillIds", Kind::TextList),
    opt("languageId", Kind::Uuid4),
    req("initialConfiguration", Kind::Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const USER_ESTABLISHED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    opt("phoneNumber", Kind::Text),
    req("userId", Kind::Uuid4),
    opt("stationId", Kind::Uuid4),
    opt("ani", Kind::Text),
    opt("dnis", Kind::Text),
    opt("afterCallWorkRequired", Kind::Bool),
    opt("queueId", Kind::Uuid4),
    req("initialConfiguration", Kind::Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Kind::Object(SOURCE_CONFIGURATION)),
];

pub(super) const AUDIO_UPDATED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("audioState", Kind::Object(AUDIO_STATE)),
];

pub(super) const COMMUNICATION_ENDED_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Kind::Uuid4),
    req("disconnectType", Kind::Enum(DISCONNECT_TYPE)),
    opt("destinationConversationId", Kind::Uuid4),
];

pub(super) const CONSULT_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("initiatingCommunicationId", Kind::Uuid4),
    req("destinationCommunicationId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
];

pub(super) const PROGRESS_CONSULT_TRANSFER_EVENTS: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("initiatingCommunicationId", Kind::Uuid4),
    req("destinationCommunicationId", Kind::Uuid4),
    req("objectCommunicationId", Kind::Uuid4),
];

pub(super) const END_CONSULT_TRANSFER_EVENTS: &[Field] = &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID];
