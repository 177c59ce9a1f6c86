//! The lanes: each an endpoint of the Events API and its own stream of events.

use std::fmt;

/// An endpoint's own stream. The discriminant stands on disk and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Voice and email conversations.
    Conversations = 0,
    /// Agents' presence.
    Presence = 1,
    /// Agents' routing status.
    RoutingStatus = 2,
    /// Outcomes attributed to custom key performance indicators.
    CustomKpi = 3,
}

impl Lane {
    /// All lanes, in the order of their discriminants.
    pub const ALL: [Lane; 4] = [Lane::Conversations, Lane::Presence, Lane::RoutingStatus, Lane::CustomKpi];

    /// Name in configuration, metrics, status and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Conversations => "conversations",
            Lane::Presence => "presence",
            Lane::RoutingStatus => "routingstatus",
            Lane::CustomKpi => "customkpi",
        }
    }

    /// Configuration key of the age at which an event of this lane is dead.
    pub const fn max_age_key(self) -> &'static str {
        match self {
            Lane::Conversations => "relay.event_max_age.conversations",
            Lane::Presence => "relay.event_max_age.presence",
            Lane::RoutingStatus => "relay.event_max_age.routingstatus",
            Lane::CustomKpi => "relay.event_max_age.customkpi",
        }
    }

    /// Path of the lane's endpoint under the API's base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Lane::Conversations => "/api/v2/events/conversations",
            Lane::Presence => "/api/v2/events/users/presence",
            Lane::RoutingStatus => "/api/v2/events/users/routingstatus",
            Lane::CustomKpi => "/api/v2/events/routing/customkpiattributions",
        }
    }

    /// Permission that the OAuth client's role needs; `None` where the vendor has published none.
    pub const fn permission(self) -> Option<&'static str> {
        match self {
            Lane::Conversations => Some("conversation:conversation:inject"),
            Lane::Presence => Some("presence:userPresence:inject"),
            Lane::RoutingStatus => Some("routing:routingstatus:inject"),
            Lane::CustomKpi => None,
        }
    }

    /// What a key of the lane stands for, in the words of status.
    pub const fn key_noun(self) -> &'static str {
        match self {
            Lane::Conversations => "conversation",
            Lane::Presence | Lane::RoutingStatus | Lane::CustomKpi => "user",
        }
    }

    /// The lane called `name`.
    pub fn from_name(name: &str) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.name() == name)
    }

    /// The lane whose endpoint is `path`.
    pub fn from_path(path: &str) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| lane.path() == path)
    }

    /// The lane with this discriminant.
    pub fn from_id(id: u8) -> Option<Lane> {
        Lane::ALL.get(usize::from(id)).copied()
    }

    /// Position in [`Lane::ALL`], for tables with a slot a lane.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
