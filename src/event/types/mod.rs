//! The table of event types: what the API takes, field by field.
//!
//! One row an array of a request body. `id` stands in queue records on disk: a row keeps its id for
//! ever and a new row takes the next free one. Source: the vendor's API description of July 2026,
//! compared with its Python (269.0.0) and JavaScript (262.0.0) clients.
//!
//! Not here: how an event is held against its row (`check`).

mod agent;
mod email;
mod shape;
mod shared;
mod voice;

pub use shape::{EventType, Field, FieldKind};

use super::lane::Lane::{Conversations, CustomKpi, Presence, RoutingStatus};
use shape::row;

/// Every array that the API takes, by on-disk id.
#[rustfmt::skip]
pub(super) const TYPES: &[EventType] = &[
    row(1, Conversations, "endTransferEvents", shared::END_TRANSFER),
    row(2, Conversations, "phoneTransferEvents", voice::PHONE_TRANSFER),
    row(3, Conversations, "progressTransferEvents", shared::PROGRESS_TRANSFER),
    row(4, Conversations, "routingTransferEvents", shared::ROUTING_TRANSFER),
    row(5, Conversations, "userTransferEvents", shared::USER_TRANSFER),
    row(6, Conversations, "communicationAnsweredEvents", shared::COMMUNICATION),
    row(7, Conversations, "communicationDispositionAppliedEvents", shared::COMMUNICATION_DISPOSITION_APPLIED),
    row(8, Conversations, "holdUpdatedEvents", shared::HOLD_UPDATED),
    row(9, Conversations, "externalEstablishedEvents", voice::EXTERNAL_ESTABLISHED),
    row(10, Conversations, "ivrEstablishedEvents", voice::IVR_ESTABLISHED),
    row(11, Conversations, "phoneEstablishedEvents", voice::PHONE_ESTABLISHED),
    row(12, Conversations, "routingEstablishedEvents", voice::ROUTING_ESTABLISHED),
    row(13, Conversations, "userEstablishedEvents", voice::USER_ESTABLISHED),
    row(14, Conversations, "audioUpdatedEvents", voice::AUDIO_UPDATED),
    row(15, Conversations, "communicationEndedEvents", voice::COMMUNICATION_ENDED),
    row(16, Conversations, "consultTransferEvents", voice::CONSULT_TRANSFER),
    row(17, Conversations, "progressConsultTransferEvents", voice::CONSULT_TRANSFER),
    row(18, Conversations, "endConsultTransferEvents", voice::END_CONSULT_TRANSFER),
    row(19, Conversations, "emailBeginTransmittingEvents", shared::COMMUNICATION),
    row(20, Conversations, "emailCommunicationEndedEvents", email::COMMUNICATION_ENDED),
    row(21, Conversations, "emailExternalEstablishedEvents", email::EXTERNAL_ESTABLISHED),
    row(22, Conversations, "emailFlowEstablishedEvents", email::FLOW_ESTABLISHED),
    row(23, Conversations, "emailRoutingEstablishedEvents", email::ROUTING_ESTABLISHED),
    row(24, Conversations, "emailUserEstablishedEvents", email::USER_ESTABLISHED),
    row(25, Conversations, "emailCommunicationAnsweredEvents", shared::COMMUNICATION),
    row(26, Conversations, "emailCommunicationDispositionAppliedEvents", shared::COMMUNICATION_DISPOSITION_APPLIED),
    row(27, Conversations, "emailCommunicationSentMessageEvents", shared::COMMUNICATION),
    row(28, Conversations, "emailHoldUpdatedEvents", shared::HOLD_UPDATED),
    row(29, Conversations, "emailEndTransferEvents", shared::END_TRANSFER),
    row(30, Conversations, "emailProgressTransferEvents", shared::PROGRESS_TRANSFER),
    row(31, Conversations, "emailRoutingTransferEvents", shared::ROUTING_TRANSFER),
    row(32, Conversations, "emailUserTransferEvents", shared::USER_TRANSFER),
    row(33, Presence, "userPresenceEvents", agent::USER_PRESENCE),
    row(34, RoutingStatus, "userRoutingStatusEvents", agent::USER_ROUTING_STATUS),
    row(35, CustomKpi, "customKpiAttributionEvents", agent::CUSTOM_KPI_ATTRIBUTION),
];
