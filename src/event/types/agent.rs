//! Fields of the agents' events and of the outcomes.

use super::shape::FieldKind::{Enum, Number, Text, Time, Uuid, Uuid4};
use super::shape::{Field, opt, req};

const ROUTING_STATUS: &[&str] = &["OffQueue", "Idle", "Interacting", "Communicating", "NotResponding"];

pub(super) const USER_PRESENCE: &[Field] = &[
    req("eventId", Uuid4),
    req("eventDateTime", Time),
    req("userId", Text),
    req("sourceId", Uuid4),
    opt("presenceDefinitionId", Uuid),
    opt("message", Text),
];

pub(super) const USER_ROUTING_STATUS: &[Field] = &[
    req("eventId", Uuid),
    req("eventDateTime", Time),
    req("agentId", Text),
    req("status", Enum(ROUTING_STATUS)),
    req("sourceId", Text),
];

/// The ids are documented as UUIDs, `eventId` of no version.
pub(super) const CUSTOM_KPI_ATTRIBUTION: &[Field] = &[
    req("eventId", Uuid),
    req("eventDateTime", Time),
    req("kpiId", Text),
    req("associatedValue", Number),
    opt("externalContactId", Text),
    opt("conversationId", Text),
    opt("agentId", Text),
];
