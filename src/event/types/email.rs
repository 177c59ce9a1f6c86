//! Fields of the email conversations' events.

use super::shape::FieldKind::{Bool, Enum, Object, Text, TextList, TextMap, Uuid, Uuid4};
use super::shape::{Field, opt, req};
use super::shared::{CONVERSATION_ID, EVENT_DATE_TIME, EVENT_ID, SOURCE_CONFIGURATION};

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
