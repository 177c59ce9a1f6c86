//! Fields of the voice conversations' events.

use super::shape::FieldKind::{Bool, Enum, Object, Text, TextList, TextMap, Uuid4};
use super::shape::{Field, opt, req};
use super::shared::{CONVERSATION_ID, EVENT_DATE_TIME, EVENT_ID, SOURCE_CONFIGURATION, TRANSFER_TYPE};

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

const AUDIO_STATE: &[Field] = &[opt("canHear", Bool), opt("canSpeak", Bool)];

const INITIAL_CONFIGURATION: &[Field] = &[
    opt("audioState", Object(AUDIO_STATE)),
    opt("alerting", Bool),
    opt("inbound", Bool),
    opt("invitedBy", Text),
    opt("recordingActive", Bool),
    opt("additionalInfo", TextMap),
];

pub(super) const PHONE_TRANSFER: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("transferType", Enum(TRANSFER_TYPE)),
    req("commandId", Uuid4),
    req("initiatingCommunicationId", Uuid4),
    req("targetCommunicationId", Uuid4),
    req("objectCommunicationId", Uuid4),
    req("destinationPhoneNumber", Text),
];

pub(super) const EXTERNAL_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("ani", Text),
    opt("aniName", Text),
    opt("dnis", Text),
    opt("dnisName", Text),
    req("initialConfiguration", Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const IVR_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("ivrPhoneNumber", Text),
    opt("ivrName", Text),
    opt("ani", Text),
    opt("dnis", Text),
    req("initialConfiguration", Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const PHONE_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("phoneNumber", Text),
    opt("ani", Text),
    opt("dnis", Text),
    req("initialConfiguration", Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const ROUTING_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("phoneNumber", Text),
    req("queueId", Uuid4),
    opt("ani", Text),
    opt("dnis", Text),
    opt("skillIds", TextList),
    opt("languageId", Uuid4),
    req("initialConfiguration", Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const USER_ESTABLISHED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    opt("phoneNumber", Text),
    req("userId", Uuid4),
    opt("stationId", Uuid4),
    opt("ani", Text),
    opt("dnis", Text),
    opt("afterCallWorkRequired", Bool),
    opt("queueId", Uuid4),
    req("initialConfiguration", Object(INITIAL_CONFIGURATION)),
    req("sourceConfiguration", Object(SOURCE_CONFIGURATION)),
];

pub(super) const AUDIO_UPDATED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    req("audioState", Object(AUDIO_STATE)),
];

pub(super) const COMMUNICATION_ENDED: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("communicationId", Uuid4),
    req("disconnectType", Enum(DISCONNECT_TYPE)),
    opt("destinationConversationId", Uuid4),
];

pub(super) const CONSULT_TRANSFER: &[Field] = &[
    EVENT_ID,
    EVENT_DATE_TIME,
    CONVERSATION_ID,
    req("initiatingCommunicationId", Uuid4),
    req("destinationCommunicationId", Uuid4),
    req("objectCommunicationId", Uuid4),
];

pub(super) const END_CONSULT_TRANSFER: &[Field] = &[EVENT_ID, EVENT_DATE_TIME, CONVERSATION_ID];
