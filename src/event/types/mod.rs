//! The table of event types: what the API takes, field by field.
//!
//! One row an array of a request body. `id` stands in queue records on disk: a row keeps its id for
//! ever and a new row takes the next free one. Source: the vendor's API description of July 2026,
//! compared with its Python (269.0.0) and JavaScript (262.0.0) clients.
//!
//! Not here: how an event is held against its row (`check`).

mod agent;
mod email;
mod shared;
mod voice;

use super::catalogue::EventType;
use super::lane::Lane;

/// Every array that the API takes, by on-disk id.
pub(super) const TYPES: &[EventType] = &[
    EventType {
        id: 1,
        array: "endTransferEvents",
        lane: Lane::Conversations,
        fields: voice::END_TRANSFER_EVENTS,
    },
    EventType {
        id: 2,
        array: "phoneTransferEvents",
        lane: Lane::Conversations,
        fields: voice::PHONE_TRANSFER_EVENTS,
    },
    EventType {
        id: 3,
        array: "progressTransferEvents",
        lane: Lane::Conversations,
        fields: voice::PROGRESS_TRANSFER_EVENTS,
    },
    EventType {
        id: 4,
        array: "routingTransferEvents",
        lane: Lane::Conversations,
        fields: voice::ROUTING_TRANSFER_EVENTS,
    },
    EventType {
        id: 5,
        array: "userTransferEvents",
        lane: Lane::Conversations,
        fields: voice::USER_TRANSFER_EVENTS,
    },
    EventType {
        id: 6,
        array: "communicationAnsweredEvents",
        lane: Lane::Conversations,
        fields: voice::COMMUNICATION_ANSWERED_EVENTS,
    },
    EventType {
        id: 7,
        array: "communicationDispositionAppliedEvents",
        lane: Lane::Conversations,
        fields: voice::COMMUNICATION_DISPOSITION_APPLIED_EVENTS,
    },
    EventType {
        id: 8,
        array: "holdUpdatedEvents",
        lane: Lane::Conversations,
        fields: voice::HOLD_UPDATED_EVENTS,
    },
    EventType {
        id: 9,
        array: "externalEstablishedEvents",
        lane: Lane::Conversations,
        fields: voice::EXTERNAL_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 10,
        array: "ivrEstablishedEvents",
        lane: Lane::Conversations,
        fields: voice::IVR_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 11,
        array: "phoneEstablishedEvents",
        lane: Lane::Conversations,
        fields: voice::PHONE_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 12,
        array: "routingEstablishedEvents",
        lane: Lane::Conversations,
        fields: voice::ROUTING_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 13,
        array: "userEstablishedEvents",
        lane: Lane::Conversations,
        fields: voice::USER_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 14,
        array: "audioUpdatedEvents",
        lane: Lane::Conversations,
        fields: voice::AUDIO_UPDATED_EVENTS,
    },
    EventType {
        id: 15,
        array: "communicationEndedEvents",
        lane: Lane::Conversations,
        fields: voice::COMMUNICATION_ENDED_EVENTS,
    },
    EventType {
        id: 16,
        array: "consultTransferEvents",
        lane: Lane::Conversations,
        fields: voice::CONSULT_TRANSFER_EVENTS,
    },
    EventType {
        id: 17,
        array: "progressConsultTransferEvents",
        lane: Lane::Conversations,
        fields: voice::PROGRESS_CONSULT_TRANSFER_EVENTS,
    },
    EventType {
        id: 18,
        array: "endConsultTransferEvents",
        lane: Lane::Conversations,
        fields: voice::END_CONSULT_TRANSFER_EVENTS,
    },
    EventType {
        id: 19,
        array: "emailBeginTransmittingEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_BEGIN_TRANSMITTING_EVENTS,
    },
    EventType {
        id: 20,
        array: "emailCommunicationEndedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_COMMUNICATION_ENDED_EVENTS,
    },
    EventType {
        id: 21,
        array: "emailExternalEstablishedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_EXTERNAL_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 22,
        array: "emailFlowEstablishedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_FLOW_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 23,
        array: "emailRoutingEstablishedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_ROUTING_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 24,
        array: "emailUserEstablishedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_USER_ESTABLISHED_EVENTS,
    },
    EventType {
        id: 25,
        array: "emailCommunicationAnsweredEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_COMMUNICATION_ANSWERED_EVENTS,
    },
    EventType {
        id: 26,
        array: "emailCommunicationDispositionAppliedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_COMMUNICATION_DISPOSITION_APPLIED_EVENTS,
    },
    EventType {
        id: 27,
        array: "emailCommunicationSentMessageEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_COMMUNICATION_SENT_MESSAGE_EVENTS,
    },
    EventType {
        id: 28,
        array: "emailHoldUpdatedEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_HOLD_UPDATED_EVENTS,
    },
    EventType {
        id: 29,
        array: "emailEndTransferEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_END_TRANSFER_EVENTS,
    },
    EventType {
        id: 30,
        array: "emailProgressTransferEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_PROGRESS_TRANSFER_EVENTS,
    },
    EventType {
        id: 31,
        array: "emailRoutingTransferEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_ROUTING_TRANSFER_EVENTS,
    },
    EventType {
        id: 32,
        array: "emailUserTransferEvents",
        lane: Lane::Conversations,
        fields: email::EMAIL_USER_TRANSFER_EVENTS,
    },
    EventType {
        id: 33,
        array: "userPresenceEvents",
        lane: Lane::Presence,
        fields: agent::USER_PRESENCE_EVENTS,
    },
    EventType {
        id: 34,
        array: "userRoutingStatusEvents",
        lane: Lane::RoutingStatus,
        fields: agent::USER_ROUTING_STATUS_EVENTS,
    },
    EventType {
        id: 35,
        array: "customKpiAttributionEvents",
        lane: Lane::CustomKpi,
        fields: agent::CUSTOM_KPI_ATTRIBUTION_EVENTS,
    },
];
