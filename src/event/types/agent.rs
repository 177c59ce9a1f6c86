//! Fields of the agents' events and of the outcomes.

use super::super::catalogue::{Field, Kind};
use super::shared::{opt, req};

const ROUTING_STATUS: &[&str] = &["OffQueue", "Idle", "Interacting", "Communicating", "NotResponding"];

pub(super) const USER_PRESENCE_EVENTS: &[Field] = &[
    req("eventId", Kind::Uuid4),
    req("eventDateTime", Kind::Time),
    req("userId", Kind::Text),
    req("sourceId", Kind::Uuid4),
    opt("presenceDefinitionId", Kind::Uuid),
    opt("message", Kind::Text),
];

pub(super) const USER_ROUTING_STATUS_EVENTS: &[Field] = &[
    req("eventId", Kind::Uuid),
    req("eventDateTime", Kind::Time),
    req("agentId", Kind::Text),
    req("status", Kind::Enum(ROUTING_STATUS)),
    req("sourceId", Kind::Text),
];

pub(super) const CUSTOM_KPI_ATTRIBUTION_EVENTS: &[Field] = &[
    req("eventId", Kind::Uuid4),
    req("eventDateTime", Kind::Time),
    req("kpiId", Kind::Text),
    req("associatedValue", Kind::Number),
    opt("externalContactId", Kind::Text),
    opt("conversationId", Kind::Text),
    opt("agentId", Kind::Text),
];
